//! Which weights a graph keeps in other files. ONNX Runtime would open those by itself, past the
//! verification; it is given the verified bytes instead. Only the few fields on the way to a tensor
//! are read; their numbers are those of onnx.proto.

use std::collections::BTreeSet;

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
    external: Vec<Entry>,
    #[prost(int32, tag = "14")]
    location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Files that the graph's weights lie in, as the graph names them: relative to its own folder.
///
/// # Errors
/// The graph is not protobuf (truncated or something else), or weights lie in another file where
/// ONNX Runtime takes none from memory: in a branch, a function or an attribute.
pub fn weight_files(graph: &[u8]) -> Result<BTreeSet<String>, String> {
    let model = Model::decode(graph).map_err(|e| format!("the graph is not ONNX: {e}"))?;
    let main = model
        .graph
        .ok_or("the graph is not ONNX: it holds no graph")?;
    let functions = || model.functions.iter().find_map(|f| in_nodes(&f.nodes));
    let sparse = main.sparse.iter().find_map(in_sparse);
    if let Some(name) = sparse.or_else(|| in_nodes(&main.nodes)).or_else(functions) {
        return Err(format!(
            "tensor '{name}' of a part of the graph keeps its data in another file; \
             only the graph's own weights may"
        ));
    }
    main.initializers
        .iter()
        .filter(|t| is_external(t))
        .map(location)
        .collect()
}

fn location(tensor: &Tensor) -> Result<String, String> {
    let named = tensor.external.iter().find(|e| e.key == "location");
    named.map(|e| e.value.clone()).ok_or_else(|| {
        let name = &tensor.name;
        format!("tensor '{name}' keeps its data in another file and does not say in which")
    })
}

fn is_external(tensor: &Tensor) -> bool {
    tensor.location == 1 || !tensor.external.is_empty()
}

fn in_tensor(tensor: &Tensor) -> Option<String> {
    is_external(tensor).then(|| tensor.name.clone())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn external(name: &str, location: Option<&str>) -> Tensor {
        let entry = |value: &str| Entry {
            key: "location".into(),
            value: value.into(),
        };
        Tensor {
            name: name.into(),
            external: location.map(entry).into_iter().collect(),
            location: 1,
        }
    }

    fn files(graph: Graph, functions: Vec<Function>) -> Result<BTreeSet<String>, String> {
        let model = Model {
            graph: Some(graph),
            functions,
        };
        weight_files(&model.encode_to_vec())
    }

    #[test]
    fn the_files_of_the_graphs_own_weights_are_named_once() {
        let initializers = vec![
            external("a", Some("w.bin")),
            Tensor::default(),
            external("b", Some("w.bin")),
            external("c", Some("more/v.bin")),
        ];
        let graph = Graph {
            initializers,
            ..Default::default()
        };
        let found = files(graph, vec![]).unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["more/v.bin", "w.bin"]
        );
        assert!(files(Graph::default(), vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_tensor_that_does_not_say_where_is_refused() {
        let graph = Graph {
            initializers: vec![external("a", None)],
            ..Default::default()
        };
        let said = files(graph, vec![]).unwrap_err();
        assert!(
            said.contains("'a'") && said.contains("does not say"),
            "{said}"
        );
    }

    #[test]
    fn weights_of_a_part_of_the_graph_are_refused_however_deep_they_lie() {
        let inner = Graph {
            initializers: vec![external("w", Some("w.bin"))],
            ..Default::default()
        };
        let branch = Attribute {
            graphs: vec![inner],
            ..Default::default()
        };
        let node = Node {
            attributes: vec![branch],
        };
        let graph = Graph {
            nodes: vec![node.clone()],
            ..Default::default()
        };
        for found in [
            files(graph, vec![]),
            files(Graph::default(), vec![Function { nodes: vec![node] }]),
        ] {
            assert!(found.unwrap_err().contains("'w' of a part"));
        }
    }

    #[test]
    fn garbage_is_named() {
        let said = weight_files(b"not a graph at all").unwrap_err();
        assert!(said.contains("not ONNX"));
        assert!(weight_files(b"").unwrap_err().contains("no graph"));
    }
}
