//! From an ONNX graph to its contract: what the graph says of itself, and what its owner wishes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::contract::{Contract, Decision, EngineKind, FORMAT, Fallback, NonFinite, Text};
use crate::engine::onnx::{Graph, probe_shapes, tensors_of};
use crate::tensor::{DataType, TensorSpec};

/// What a graph does not say.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wishes {
    pub decision: Option<Decision>,
    pub fallback: Option<Fallback>,
    pub labels: BTreeMap<String, Vec<String>>,
    pub non_finite: NonFinite,
    /// Requests do not share batches: every shape is that of one request.
    pub unbatched: bool,
    /// The graph takes tokens; callers send text.
    pub text: Option<TextWishes>,
    /// Bytes of one string at most, for tensors of strings.
    pub string_bytes: usize,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            decision: None,
            fallback: None,
            labels: BTreeMap::new(),
            non_finite: NonFinite::default(),
            unbatched: false,
            text: None,
            string_bytes: 256,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextWishes {
    /// The BYTES input's name on the wire.
    pub input: String,
    /// The tokenizer's file name in the model directory.
    pub tokenizer: String,
    pub max_tokens: usize,
    pub max_bytes: usize,
    #[serde(default)]
    pub pad: u32,
}

/// The contract of a graph. Output dimensions that the graph leaves open are found by running two
/// rows of zeros.
///
/// # Errors
/// A sentence: the graph cannot be loaded or served, or does not fit the wishes.
pub fn describe(graph: &Graph, graph_name: &str, wishes: Wishes) -> Result<Contract, String> {
    let (mut graph_inputs, mut outputs) = tensors_of(graph)?;
    for spec in graph_inputs.iter_mut().chain(&mut outputs) {
        spec.max_bytes = (spec.datatype == DataType::Bytes).then_some(wishes.string_bytes);
    }
    let text = wishes.text.map(|t| text_of(t, &graph_inputs)).transpose()?;
    if text.is_none() {
        for input in &graph_inputs {
            fits_batching(input, wishes.unbatched)?;
        }
    }
    let length = text.as_ref().map_or(1, |t| t.max_tokens.min(8));
    let open = |o: &TensorSpec| o.defect().is_some() || o.is_batched() == wishes.unbatched;
    if outputs.iter().any(open) {
        let shapes = probe_shapes(graph, &graph_inputs, length)?;
        for (output, shape) in outputs.iter_mut().zip(shapes) {
            output.shape = shape;
        }
    }
    for output in &outputs {
        fits_batching(output, wishes.unbatched)?;
    }
    let inputs = match &text {
        None => graph_inputs,
        Some(text) => vec![TensorSpec::new(&text.input, DataType::Bytes, &[-1, 1])],
    };
    Ok(Contract {
        format: FORMAT.into(),
        engine: EngineKind::Onnxruntime,
        graph: Some(graph_name.into()),
        non_finite: wishes.non_finite,
        inputs,
        outputs,
        labels: wishes.labels,
        text,
        decision: wishes.decision,
        fallback: wishes.fallback,
        delay: None,
    })
}

fn fits_batching(spec: &TensorSpec, unbatched: bool) -> Result<(), String> {
    if let Some(defect) = spec.defect() {
        return Err(defect);
    }
    let TensorSpec { name, shape, .. } = spec;
    match (spec.is_batched(), unbatched) {
        (false, false) => Err(format!(
            "tensor '{name}' has shape {shape:?}: the first dimension must be the batch, of variable size (-1); or pack the model as unbatched, to run it one request at a time"
        )),
        (true, true) => Err(format!(
            "tensor '{name}' has shape {shape:?}, whose first dimension is of variable size: pack the model as batched"
        )),
        _ => Ok(()),
    }
}

/// Finds the graph's token inputs by their usual names.
fn text_of(wishes: TextWishes, inputs: &[TensorSpec]) -> Result<Text, String> {
    let find = |names: [&str; 2]| inputs.iter().find(|i| names.contains(&i.name.as_str()));
    let names = || {
        let names: Vec<String> = inputs.iter().map(|i| format!("'{}'", i.name)).collect();
        names.join(", ")
    };
    let need = |what: [&str; 2]| {
        find(what).ok_or_else(|| {
            format!(
                "a text graph needs an input '{}'; it has {}",
                what[0],
                names()
            )
        })
    };
    let (ids, mask) = (
        need(["input_ids", "ids"])?,
        need(["attention_mask", "mask"])?,
    );
    let types = find(["token_type_ids", "type_ids"]);
    let used = [Some(ids), Some(mask), types];
    let used = used.into_iter().flatten();
    if let Some(odd) = used
        .clone()
        .find(|s| s.shape != [-1, -1] || s.datatype != ids.datatype)
    {
        return Err(format!(
            "input '{}' is {} of shape {:?}; token inputs must be alike, of shape [-1, -1] (rows, tokens)",
            odd.name,
            odd.datatype.wire_name(),
            odd.shape
        ));
    }
    if inputs.len() != used.count() {
        return Err(format!(
            "a text graph takes token ids, a mask and perhaps token types; this one takes {}",
            names()
        ));
    }
    Ok(Text {
        input: wishes.input,
        tokenizer: wishes.tokenizer,
        max_tokens: wishes.max_tokens,
        max_bytes: wishes.max_bytes,
        ids: ids.name.clone(),
        mask: mask.name.clone(),
        types: types.map(|t| t.name.clone()),
        datatype: ids.datatype,
        pad: wishes.pad,
    })
}
