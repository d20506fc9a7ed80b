//! Whether a graph keeps weights in other files. ONNX Runtime would open those by itself, past the
//! verification, so such a graph is refused. Only the few fields on the way to a tensor are read;
//! their numbers are those of onnx.proto.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "15")]
    sparse: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    sparse: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparses: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external: Vec<Empty>,
    #[prost(int32, tag = "14")]
    location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

/// Name of a tensor whose data lies in another file, if there is one.
///
/// # Errors
/// The graph is not protobuf: truncated or something else.
pub fn external_tensor(graph: &[u8]) -> Result<Option<String>, String> {
    let model = Model::decode(graph).map_err(|e| format!("the graph is not ONNX: {e}"))?;
    let main = model
        .graph
        .ok_or("the graph is not ONNX: it holds no graph")?;
    let functions = model.functions.iter().find_map(|f| in_nodes(&f.nodes));
    Ok(in_graph(&main).or(functions))
}

fn in_graph(graph: &Graph) -> Option<String> {
    let dense = graph.initializers.iter().find_map(in_tensor);
    let sparse = || graph.sparse.iter().find_map(in_sparse);
    dense.or_else(sparse).or_else(|| in_nodes(&graph.nodes))
}

fn in_nodes(nodes: &[Node]) -> Option<String> {
    nodes.iter().flat_map(|n| &n.attributes).find_map(|a| {
        let tensors = a.tensor.iter().chain(&a.tensors);
        let sparses = a.sparse.iter().chain(&a.sparses);
        let graphs = a.graph.iter().chain(&a.graphs);
        let tensor = tensors.into_iter().find_map(in_tensor);
        let sparse = || sparses.into_iter().find_map(in_sparse);
        tensor
            .or_else(sparse)
            .or_else(|| graphs.into_iter().find_map(in_graph))
    })
}

fn in_sparse(sparse: &SparseTensor) -> Option<String> {
    sparse
        .values
        .iter()
        .chain(&sparse.indices)
        .find_map(in_tensor)
}

fn in_tensor(tensor: &Tensor) -> Option<String> {
    (tensor.location == 1 || !tensor.external.is_empty()).then(|| tensor.name.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn external(name: &str) -> Tensor {
        Tensor {
            name: name.into(),
            external: vec![],
            location: 1,
        }
    }

    #[test]
    fn external_weights_are_found_however_deep_they_lie() {
        let inner = Graph {
            initializers: vec![external("w")],
            ..Default::default()
        };
        let branch = Attribute {
            graphs: vec![inner],
            ..Default::default()
        };
        let node = Node {
            attributes: vec![branch],
        };
        let model = Model {
            graph: Some(Graph {
                nodes: vec![node.clone()],
                ..Default::default()
            }),
            functions: vec![],
        };
        assert_eq!(
            external_tensor(&model.encode_to_vec()).unwrap(),
            Some("w".into())
        );
        let model = Model {
            graph: Some(Graph::default()),
            functions: vec![Function { nodes: vec![node] }],
        };
        assert_eq!(
            external_tensor(&model.encode_to_vec()).unwrap(),
            Some("w".into())
        );
    }

    #[test]
    fn a_plain_graph_is_let_through_and_garbage_is_named() {
        let model = Model {
            graph: Some(Graph::default()),
            functions: vec![],
        };
        assert_eq!(external_tensor(&model.encode_to_vec()).unwrap(), None);
        assert!(
            external_tensor(b"not a graph at all")
                .unwrap_err()
                .contains("not ONNX")
        );
        assert!(external_tensor(b"").unwrap_err().contains("no graph"));
    }
}
