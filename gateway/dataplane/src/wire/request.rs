//! From a ModelInferRequest to rows of bytes in the model's own order, checked against its
//! contract. Every refusal says what was sent and what was expected.

use bytes::Bytes;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::contents::bytes_of;
use super::inference::ModelInferRequest;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::status::Status;
use crate::clock::{MICROS, Ticks};
use crate::tensor::{DataType, TensorSpec};

/// A request that fits its model.
#[derive(Debug)]
pub struct Rows {
    pub rows: usize,
    /// One an input, in the contract's order: little-endian, row-major.
    pub inputs: Vec<Bytes>,
    /// Indexes of the outputs to answer with; `None` for all.
    pub outputs: Option<Vec<usize>>,
}

/// Slack that a slice may keep alive beside itself.
const SMALL: usize = 16 << 10;
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

/// The `timeout` parameter in ns.
pub fn timeout_parameter(request: &ModelInferRequest) -> Result<Option<Ticks>, Status> {
    let Some(parameter) = request.parameters.get("timeout") else {
        return Ok(None);
    };
    let micros = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(n)) => u64::try_from(*n).ok(),
        Some(ParameterChoice::Uint64Param(n)) => Some(*n),
        _ => None,
    };
    match micros {
        // As in Triton, 0 stands for no time-out of its own.
        Some(0) => Ok(None),
        Some(n) => Ok(Some(n.saturating_mul(MICROS))),
        None => Err(Status::invalid(
            "parameter 'timeout' must be a whole number of microseconds, 0 or more (int64_param)",
        )),
    }
}

/// Checks a request against the model's tensors and puts its inputs into the contract's order.
/// `message` is the size of the message that it came in.
pub fn rows(
    request: ModelInferRequest,
    message: usize,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    max_rows: usize,
) -> Result<Rows, Status> {
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
        let count = check_shape(tensor, spec, max_rows)?;
        if *rows.get_or_insert(count) != count {
            return Err(Status::invalid(format!(
                "input '{}' has {count} rows, another input has {}",
                spec.name,
                rows.unwrap_or(0)
            )));
        }
        ordered.push(content(tensor, raw.get(index), spec, count, message)?);
    }
    for (index, output) in request.outputs.iter().enumerate() {
        if request.outputs[..index]
            .iter()
            .any(|o| o.name == output.name)
        {
            return Err(Status::invalid(format!(
                "output '{}' is asked for twice",
                output.name
            )));
        }
        output_index(&output.name, outputs)?;
    }
    let wanted = match request.outputs.len() {
        0 => None,
        _ => Some(
            request
                .outputs
                .iter()
                .map(|o| output_index(&o.name, outputs))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Rows {
        rows: rows.unwrap_or(0),
        inputs: ordered,
        outputs: wanted,
    })
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

fn check_shape(
    tensor: &InferInputTensor,
    spec: &TensorSpec,
    max_rows: usize,
) -> Result<usize, Status> {
    let name = &spec.name;
    let expected = spec.datatype.wire_name();
    if tensor.datatype != expected {
        return Err(Status::invalid(format!(
            "input '{name}' is sent as '{}', the model takes {expected}",
            tensor.datatype
        )));
    }
    if tensor.shape.len() != spec.shape.len() {
        return Err(Status::invalid(format!(
            "input '{name}' has {} dimensions, the model takes {:?} (-1 is the number of rows)",
            tensor.shape.len(),
            spec.shape
        )));
    }
    let fits = tensor.shape[1..] == spec.shape[1..];
    if !fits {
        return Err(Status::invalid(format!(
            "input '{name}' has shape {:?}, the model takes {:?} (-1 is the number of rows)",
            tensor.shape, spec.shape
        )));
    }
    match usize::try_from(tensor.shape[0]) {
        Ok(0) => Err(Status::invalid(format!(
            "input '{name}' has no rows; send at least one"
        ))),
        Ok(rows) if rows <= max_rows => Ok(rows),
        Ok(rows) => Err(Status::invalid(format!(
            "input '{name}' has {rows} rows, the model takes at most {max_rows} in one request"
        ))),
        Err(_) => Err(Status::invalid(format!(
            "input '{name}' has shape {:?}",
            tensor.shape
        ))),
    }
}

fn content(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    spec: &TensorSpec,
    rows: usize,
    message: usize,
) -> Result<Bytes, Status> {
    let name = &spec.name;
    match (raw, &tensor.contents) {
        (Some(_), Some(_)) => Err(Status::invalid(format!(
            "input '{name}' is sent twice: in contents and in raw_input_contents"
        ))),
        (None, None) => Err(Status::invalid(format!(
            "input '{name}' has neither contents nor raw_input_contents"
        ))),
        (Some(raw), None) => {
            let expected = rows * spec.row_bytes();
            if raw.len() != expected {
                return Err(Status::invalid(format!(
                    "input '{name}' has {} raw bytes, {rows} rows of {} take {expected}",
                    raw.len(),
                    spec.datatype.wire_name()
                )));
            }
            if spec.datatype == DataType::Bool && raw.iter().any(|b| *b > 1) {
                return Err(Status::invalid(format!(
                    "input '{name}' holds a byte that is neither 0 nor 1"
                )));
            }
            // A small slice must not keep a large message alive in the queue.
            let wasteful = message > 2 * raw.len() + SMALL;
            Ok(if wasteful {
                Bytes::copy_from_slice(raw)
            } else {
                raw.clone()
            })
        }
        (None, Some(contents)) => bytes_of(contents, spec, rows * spec.row_elements()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::inference::model_infer_request::InferRequestedOutputTensor;
    use super::super::inference::{InferParameter, InferTensorContents};
    use super::*;

    fn spec(name: &str, datatype: DataType, columns: i64) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            datatype,
            shape: vec![-1, columns],
        }
    }

    fn specs() -> Vec<TensorSpec> {
        vec![spec("x", DataType::Fp32, 2), spec("k", DataType::Int8, 1)]
    }

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
        let (name, datatype, shape) = (name.into(), datatype.into(), shape.to_vec());
        InferInputTensor {
            name,
            datatype,
            shape,
            ..Default::default()
        }
    }

    /// Two rows, sent raw and in another order than the contract's.
    fn good() -> ModelInferRequest {
        ModelInferRequest {
            inputs: vec![tensor("k", "INT8", &[2, 1]), tensor("x", "FP32", &[2, 2])],
            raw_input_contents: vec![Bytes::from_static(&[7, 8]), Bytes::from(vec![1; 16])],
            ..Default::default()
        }
    }

    fn read(request: ModelInferRequest) -> Result<Rows, Status> {
        rows(request, 100, &specs(), &[spec("y", DataType::Fp32, 1)], 4)
    }

    #[test]
    fn inputs_come_out_in_the_contracts_order() {
        let rows = read(good()).unwrap();
        assert_eq!(rows.rows, 2);
        assert_eq!(
            rows.inputs,
            [Bytes::from(vec![1; 16]), Bytes::from_static(&[7, 8])]
        );
        assert!(rows.outputs.is_none());
    }

    #[test]
    fn typed_contents_become_the_same_bytes_as_raw_ones() {
        let mut request = good();
        request.raw_input_contents.clear();
        request.inputs[0].contents = Some(InferTensorContents {
            int_contents: vec![7, -8],
            ..Default::default()
        });
        request.inputs[1].contents = Some(InferTensorContents {
            fp32_contents: vec![0.5, -1.0, 2.0, f32::NAN],
            ..Default::default()
        });
        let rows = read(request).unwrap();
        let floats: Vec<u8> = [0.5, -1.0, 2.0, f32::NAN]
            .iter()
            .flat_map(|v: &f32| v.to_le_bytes())
            .collect();
        assert_eq!(rows.inputs[0], floats);
        assert_eq!(rows.inputs[1], [7u8, 248].as_slice());
    }

    #[test]
    fn every_misfit_is_refused_with_what_was_sent_and_what_was_expected() {
        type Break = fn(&mut ModelInferRequest);
        let cases: [(Break, &str); 13] = [
            (
                |r| r.inputs[0].name = "z".into(),
                "no input 'z'; the model takes 'x', 'k'",
            ),
            (
                |r| {
                    r.inputs.remove(0);
                    r.raw_input_contents.remove(0);
                },
                "input 'k' is missing; the model takes 'x', 'k'",
            ),
            (
                |r| r.inputs[1].datatype = "FP64".into(),
                "sent as 'FP64', the model takes FP32",
            ),
            (
                |r| r.inputs[1].shape = vec![2],
                "1 dimensions, the model takes [-1, 2]",
            ),
            (
                |r| r.inputs[1].shape = vec![2, 3],
                "shape [2, 3], the model takes [-1, 2]",
            ),
            (|r| r.inputs[1].shape = vec![0, 2], "no rows"),
            (|r| r.inputs[1].shape = vec![-5, 2], "shape [-5, 2]"),
            (
                |r| r.inputs[1].shape = vec![5, 2],
                "5 rows, the model takes at most 4",
            ),
            (|r| r.inputs[1].shape = vec![3, 2], "24"),
            (
                |r| r.raw_input_contents[1] = Bytes::from(vec![0; 15]),
                "15 raw bytes, 2 rows of FP32 take 16",
            ),
            (
                |r| drop(r.raw_input_contents.pop()),
                "2 inputs with 1 raw_input_contents",
            ),
            (|r| r.raw_input_contents.clear(), "neither contents nor raw"),
            (
                |r| r.inputs[0].contents = Some(Default::default()),
                "sent twice",
            ),
        ];
        for (break_it, expected) in cases {
            let mut request = good();
            break_it(&mut request);
            let status = read(request).unwrap_err();
            assert!(
                status.message.contains(expected),
                "{status} lacks {expected:?}"
            );
        }
    }

    #[test]
    fn a_value_that_does_not_fit_its_type_is_refused() {
        let mut request = good();
        request.raw_input_contents.clear();
        request.inputs[0].contents = Some(InferTensorContents {
            int_contents: vec![7, 128],
            ..Default::default()
        });
        request.inputs[1].contents = Some(InferTensorContents {
            fp32_contents: vec![0.0; 4],
            ..Default::default()
        });
        assert!(
            read(request)
                .unwrap_err()
                .message
                .contains("128, which does not fit INT8")
        );
    }

    #[test]
    fn outputs_are_looked_up_by_name() {
        let mut request = good();
        request.outputs = vec![InferRequestedOutputTensor {
            name: "y".into(),
            ..Default::default()
        }];
        assert_eq!(read(request.clone()).unwrap().outputs, Some(vec![0]));
        request.outputs[0].name = "q".into();
        assert!(
            read(request)
                .unwrap_err()
                .message
                .contains("no output 'q'; the model gives 'y'")
        );
    }

    #[test]
    fn an_output_asked_for_twice_is_refused() {
        let mut request = good();
        let y = InferRequestedOutputTensor {
            name: "y".into(),
            ..Default::default()
        };
        request.outputs = vec![y; 400_000];
        assert!(
            read(request)
                .unwrap_err()
                .message
                .contains("'y' is asked for twice")
        );
    }

    #[test]
    fn a_message_of_millions_of_empty_entries_is_refused_before_it_is_taken_apart() {
        for tag in [0x22u8, 0x2a, 0x32, 0x3a] {
            let message = Bytes::from([tag, 0].repeat(1 << 21));
            assert!(
                decode(message)
                    .unwrap_err()
                    .message
                    .contains("more than 1024")
            );
        }
        let good = good();
        assert_eq!(decode(good.encode_to_vec().into()).unwrap(), good);
        assert!(decode(Bytes::from_static(b"\x0a\x7ftoo short")).is_err());
    }

    #[test]
    fn a_small_tensor_does_not_keep_a_large_message_alive() {
        let mut request = good();
        let raw = request.raw_input_contents[0].clone();
        let kept = |message, request| {
            rows(
                request,
                message,
                &specs(),
                &[spec("y", DataType::Fp32, 1)],
                4,
            )
            .unwrap()
            .inputs
        };
        assert_eq!(kept(1_000, request.clone())[1].as_ptr(), raw.as_ptr());
        assert_ne!(kept(1 << 20, request.clone())[1].as_ptr(), raw.as_ptr());
        request.raw_input_contents[0] = Bytes::from_static(&[2, 0]);
        let flags = [spec("x", DataType::Fp32, 2), spec("k", DataType::Bool, 1)];
        request.inputs[0].datatype = "BOOL".into();
        let status = rows(request, 100, &flags, &flags, 4).unwrap_err();
        assert!(status.message.contains("neither 0 nor 1"), "{status}");
    }

    #[test]
    fn the_timeout_parameter_is_microseconds_and_never_negative() {
        let with = |choice| {
            let mut request = good();
            request.parameters.insert(
                "timeout".into(),
                InferParameter {
                    parameter_choice: choice,
                },
            );
            timeout_parameter(&request)
        };
        assert_eq!(with(Some(ParameterChoice::Int64Param(5))), Ok(Some(5_000)));
        assert_eq!(with(Some(ParameterChoice::Int64Param(0))), Ok(None));
        assert_eq!(
            with(Some(ParameterChoice::Int64Param(i64::MAX))),
            Ok(Some(u64::MAX))
        );
        assert!(with(Some(ParameterChoice::Int64Param(-1))).is_err());
        assert!(with(Some(ParameterChoice::StringParam("5".into()))).is_err());
        assert_eq!(timeout_parameter(&good()), Ok(None));
    }
}
