//! From a ModelInferRequest to rows of bytes in the model's own order, checked against its
//! contract. Every refusal says what was sent and what was expected.

use std::collections::HashMap;

use bytes::Bytes;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::contents::all_finite;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::{InferParameter, ModelInferRequest};
use super::input::{check_shape, content, text_rows};
use super::status::{Code, Status};
use crate::model::contract::{Contract, NonFinite};
use crate::tensor::TensorSpec;

/// A request that fits its model.
#[derive(Debug)]
pub struct Rows {
    /// 1 for a model that is not batched.
    pub rows: usize,
    pub payload: Payload,
    /// What to answer with; `None` for every output as it is.
    pub outputs: Option<Vec<Wanted>>,
}

#[derive(Debug)]
pub enum Payload {
    /// One an input, in the contract's order: little-endian, row-major.
    Rows(Vec<Bytes>),
    /// One a row, of valid UTF-8.
    Texts(Vec<Bytes>),
}

/// An output that the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub index: usize,
    /// So many of its greatest values with their labels, instead of the values; 0 for the values.
    pub classes: usize,
}

/// Entries that one message may hold of each repeated field: a decoded entry takes up to 150 times
/// its bytes on the wire, so a small message could otherwise take all memory.
const MAX_ENTRIES: usize = 1_024;

/// Decodes a message, after a look at how many entries it would take apart.
pub fn decode(message: Bytes) -> Result<ModelInferRequest, Status> {
    let broken = |e: DecodeError| Status::invalid(format!("not a ModelInferRequest: {e}"));
    let mut rest = &message[..];
    let mut entries = 0;
    while !rest.is_empty() {
        let (field, wire_type) = decode_key(&mut rest).map_err(broken)?;
        skip_field(wire_type, field, &mut rest, DecodeContext::default()).map_err(broken)?;
        // Inputs, outputs, raw contents and parameters.
        entries += usize::from((4..=7).contains(&field));
        if entries > MAX_ENTRIES {
            return Err(Status::invalid(format!(
                "the request has more than {MAX_ENTRIES} inputs, outputs and parameters"
            )));
        }
    }
    ModelInferRequest::decode(message).map_err(broken)
}

/// Checks a request against the model's contract and puts its inputs into the contract's order.
/// `message` is the size of the message that it came in.
pub fn rows(
    request: ModelInferRequest,
    message: usize,
    contract: &Contract,
) -> Result<Rows, Status> {
    let inputs = &contract.inputs;
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        return Err(Status::invalid(format!(
            "{} inputs with {} raw_input_contents: send one for each input, or none",
            request.inputs.len(),
            raw.len()
        )));
    }
    if let Some(unknown) = request
        .inputs
        .iter()
        .find(|t| inputs.iter().all(|s| s.name != t.name))
    {
        return Err(Status::invalid(format!(
            "there is no input '{}'; the model takes {}",
            unknown.name,
            names(inputs)
        )));
    }
    if request.inputs.len() > inputs.len() {
        return Err(Status::invalid("an input is sent twice"));
    }
    let mut ordered = Vec::with_capacity(inputs.len());
    let mut texts = None;
    let mut rows = None;
    for spec in inputs {
        let index = request.inputs.iter().position(|t| t.name == spec.name);
        let index = index.ok_or_else(|| {
            Status::invalid(format!(
                "input '{}' is missing; the model takes {}",
                spec.name,
                names(inputs)
            ))
        })?;
        let tensor = &request.inputs[index];
        no_shared_memory(&spec.name, &tensor.parameters)?;
        let count = check_shape(tensor, spec)?;
        if *rows.get_or_insert(count) != count {
            return Err(Status::invalid(format!(
                "input '{}' has {count} rows, another input has {}",
                spec.name,
                rows.unwrap_or(0)
            )));
        }
        if contract.text.is_some() {
            texts = Some(text_rows(tensor, raw.get(index), count)?);
            continue;
        }
        let bytes = content(tensor, raw.get(index), spec, count, message)?;
        if contract.non_finite == NonFinite::Refuse && !all_finite(spec.datatype, &bytes) {
            return Err(Status::invalid(format!(
                "input '{}' holds a NaN or an infinity, which this model's contract refuses",
                spec.name
            )));
        }
        ordered.push(bytes);
    }
    Ok(Rows {
        rows: rows.unwrap_or(1),
        payload: texts.map_or(Payload::Rows(ordered), Payload::Texts),
        outputs: wanted(&request, contract)?,
    })
}

/// The outputs that a request asks for.
fn wanted(request: &ModelInferRequest, contract: &Contract) -> Result<Option<Vec<Wanted>>, Status> {
    if request.outputs.is_empty() {
        return Ok(None);
    }
    let mut wanted: Vec<Wanted> = Vec::with_capacity(request.outputs.len().min(16));
    for output in &request.outputs {
        let index = output_index(&output.name, &contract.outputs)?;
        if wanted.iter().any(|w| w.index == index) {
            return Err(Status::invalid(format!(
                "output '{}' is asked for twice",
                output.name
            )));
        }
        no_shared_memory(&output.name, &output.parameters)?;
        let classes = output.parameters.get("classification");
        let classes = classes.map_or(Ok(0), |p| match p.parameter_choice {
            Some(ParameterChoice::Int64Param(n)) if n >= 0 => Ok(usize::try_from(n).unwrap_or(0)),
            _ => Err(Status::invalid(format!(
                "output '{}': 'classification' must be a number of classes (int64_param)",
                output.name
            ))),
        })?;
        let spec = &contract.outputs[index];
        if classes > 0 && !(spec.datatype.is_number() && spec.is_batched()) {
            return Err(Status::invalid(format!(
                "output '{}' cannot be answered as classes: it is {}",
                output.name,
                spec.datatype.wire_name()
            )));
        }
        wanted.push(Wanted { index, classes });
    }
    Ok(Some(wanted))
}

fn no_shared_memory(
    tensor: &str,
    parameters: &HashMap<String, InferParameter>,
) -> Result<(), Status> {
    if parameters.contains_key("shared_memory_region") {
        return Err(Status::new(
            Code::Unimplemented,
            format!(
                "tensor '{tensor}' is in shared memory, which this server does not use: send it in the message"
            ),
        ));
    }
    Ok(())
}

fn names(specs: &[TensorSpec]) -> String {
    specs
        .iter()
        .map(|s| format!("'{}'", s.name))
        .collect::<Vec<_>>()
        .join(", ")
}

fn output_index(name: &str, outputs: &[TensorSpec]) -> Result<usize, Status> {
    outputs.iter().position(|s| s.name == name).ok_or_else(|| {
        Status::invalid(format!(
            "there is no output '{name}'; the model gives {}",
            names(outputs)
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
