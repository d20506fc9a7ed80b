//! From a ModelInferRequest to rows of bytes in the model's own order, checked against its
//! contract. Every refusal says what was sent and what was expected.

use std::collections::HashMap;

use bytes::Bytes;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::contents::{all_finite, bytes_of, elements};
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::{InferParameter, ModelInferRequest};
use super::status::{Code, Status};
use crate::model::contract::{Contract, NonFinite};
use crate::tensor::{DataType, TensorSpec};

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

/// Slack that a slice may keep alive beside itself.
const SMALL: usize = 16 << 10;
/// Entries that one message may hold of each repeated field: a decoded entry takes up to 150 times
/// its bytes on the wire, so a small message could otherwise take all memory.
const MAX_ENTRIES: usize = 1_024;
/// Rows of one request; a batch may take fewer, then it is run in parts.
const MAX_ROWS: usize = 16_384;

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

/// The rows that a tensor's shape says; 1 for a model that is not batched.
fn check_shape(tensor: &InferInputTensor, spec: &TensorSpec) -> Result<usize, Status> {
    let name = &spec.name;
    let expected = spec.datatype.wire_name();
    if tensor.datatype != expected {
        return Err(Status::invalid(format!(
            "input '{name}' is sent as '{}', the model takes {expected}",
            tensor.datatype
        )));
    }
    let batch = if spec.is_batched() {
        " (-1 is the number of rows)"
    } else {
        " (this model takes no batch)"
    };
    if tensor.shape.len() != spec.shape.len() {
        return Err(Status::invalid(format!(
            "input '{name}' has {} dimensions, the model takes {:?}{batch}",
            tensor.shape.len(),
            spec.shape
        )));
    }
    let given = &tensor.shape[spec.shape.len() - spec.dims().len()..];
    if given != spec.dims() {
        return Err(Status::invalid(format!(
            "input '{name}' has shape {:?}, the model takes {:?}{batch}",
            tensor.shape, spec.shape
        )));
    }
    if !spec.is_batched() {
        return Ok(1);
    }
    match usize::try_from(tensor.shape[0]) {
        Ok(0) => Err(Status::invalid(format!(
            "input '{name}' has no rows; send at least one"
        ))),
        Ok(rows) if rows <= MAX_ROWS => Ok(rows),
        Ok(rows) => Err(Status::invalid(format!(
            "input '{name}' has {rows} rows, one request takes at most {MAX_ROWS}"
        ))),
        Err(_) => Err(Status::invalid(format!(
            "input '{name}' has shape {:?}",
            tensor.shape
        ))),
    }
}

/// The texts of a BYTES input, one a row.
fn text_rows(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    rows: usize,
) -> Result<Vec<Bytes>, Status> {
    let name = &tensor.name;
    let texts = match (raw, &tensor.contents) {
        (Some(_), Some(_)) => return Err(sent_twice(name)),
        (None, None) => return Err(sent_not(name)),
        (Some(raw), None) => elements(raw, name)?,
        (None, Some(contents)) => contents.bytes_contents.clone(),
    };
    if texts.len() != rows {
        return Err(Status::invalid(format!(
            "input '{name}' holds {} byte strings, its shape takes {rows}",
            texts.len()
        )));
    }
    for (row, text) in texts.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(text) {
            let at = error.valid_up_to();
            return Err(Status::invalid(format!(
                "input '{name}', row {row}: not UTF-8 from byte {at} on"
            )));
        }
    }
    Ok(texts)
}

fn sent_twice(name: &str) -> Status {
    Status::invalid(format!(
        "input '{name}' is sent twice: in contents and in raw_input_contents"
    ))
}

fn sent_not(name: &str) -> Status {
    Status::invalid(format!(
        "input '{name}' has neither contents nor raw_input_contents"
    ))
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
        (Some(_), Some(_)) => Err(sent_twice(name)),
        (None, None) => Err(sent_not(name)),
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

    fn contract() -> Contract {
        Contract {
            inputs: vec![spec("x", DataType::Fp32, 2), spec("k", DataType::Int8, 1)],
            outputs: vec![spec("y", DataType::Fp32, 1)],
            ..Contract::for_tests()
        }
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
        rows(request, 100, &contract())
    }

    fn inputs(rows: Rows) -> Vec<Bytes> {
        match rows.payload {
            Payload::Rows(inputs) => inputs,
            Payload::Texts(_) => panic!("no text was sent"),
        }
    }

    #[test]
    fn inputs_come_out_in_the_contracts_order() {
        let rows = read(good()).unwrap();
        assert_eq!(rows.rows, 2);
        assert!(rows.outputs.is_none());
        assert_eq!(
            inputs(rows),
            [Bytes::from(vec![1; 16]), Bytes::from_static(&[7, 8])]
        );
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
        let inputs = inputs(rows);
        assert_eq!(inputs[0], floats);
        assert_eq!(inputs[1], [7u8, 248].as_slice());
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
                |r| r.inputs[1].shape = vec![16_385, 2],
                "16385 rows, one request takes at most 16384",
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
        let y = Wanted {
            index: 0,
            classes: 0,
        };
        assert_eq!(read(request.clone()).unwrap().outputs, Some(vec![y]));
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
        let kept = |message, request| inputs(rows(request, message, &contract()).unwrap());
        assert_eq!(kept(1_000, request.clone())[1].as_ptr(), raw.as_ptr());
        assert_ne!(kept(1 << 20, request.clone())[1].as_ptr(), raw.as_ptr());
        request.raw_input_contents[0] = Bytes::from_static(&[2, 0]);
        let flags = [spec("x", DataType::Fp32, 2), spec("k", DataType::Bool, 1)];
        request.inputs[0].datatype = "BOOL".into();
        let flags = Contract {
            inputs: flags.to_vec(),
            ..contract()
        };
        let status = rows(request, 100, &flags).unwrap_err();
        assert!(status.message.contains("neither 0 nor 1"), "{status}");
    }

    #[test]
    fn a_model_without_a_batch_takes_the_very_shape_of_its_contract() {
        let contract = Contract {
            inputs: vec![TensorSpec {
                name: "x".into(),
                datatype: DataType::Uint8,
                shape: vec![2, 2],
            }],
            outputs: vec![spec("y", DataType::Fp32, 1)],
            ..Contract::for_tests()
        };
        let mut request = ModelInferRequest {
            inputs: vec![tensor("x", "UINT8", &[2, 2])],
            raw_input_contents: vec![Bytes::from_static(&[1, 2, 3, 4])],
            ..Default::default()
        };
        assert_eq!(rows(request.clone(), 100, &contract).unwrap().rows, 1);
        request.inputs[0].shape = vec![1, 2, 2];
        let status = rows(request, 100, &contract).unwrap_err();
        assert!(
            status
                .message
                .contains("takes [2, 2] (this model takes no batch)"),
            "{status}"
        );
    }

    #[test]
    fn a_contract_that_refuses_nan_does_so_by_name() {
        let contract = Contract {
            non_finite: NonFinite::Refuse,
            ..contract()
        };
        let mut request = good();
        assert!(rows(request.clone(), 100, &contract).is_ok());
        request.raw_input_contents[1] = Bytes::from(vec![0xff; 16]);
        let status = rows(request.clone(), 100, &contract).unwrap_err();
        assert!(status.message.contains("input 'x' holds a NaN"), "{status}");
        assert!(read(request).is_ok(), "others leave it to the model");
    }

    fn text_contract() -> Contract {
        let text = toml::from_str(
            r#"
            input = "text"
            tokenizer = "t"
            max_tokens = 8
            max_bytes = 100
            ids = "i"
            mask = "m"
            datatype = "INT64"
            "#,
        );
        Contract {
            inputs: vec![spec("text", DataType::Bytes, 1)],
            outputs: vec![spec("y", DataType::Fp32, 1)],
            text: Some(text.unwrap()),
            ..Contract::for_tests()
        }
    }

    #[test]
    fn texts_come_raw_or_typed_and_must_be_utf8() {
        let raw = |raw: &'static [u8]| ModelInferRequest {
            inputs: vec![tensor("text", "BYTES", &[2, 1])],
            raw_input_contents: vec![Bytes::from_static(raw)],
            ..Default::default()
        };
        let texts = |request| match rows(request, 100, &text_contract())?.payload {
            Payload::Texts(texts) => Ok::<_, Status>(texts),
            Payload::Rows(_) => panic!("no tensors were sent"),
        };
        let good = raw(b"\x02\0\0\0ab\0\0\0\0");
        assert_eq!(texts(good).unwrap(), ["ab", ""]);
        let mut typed = raw(b"");
        typed.raw_input_contents.clear();
        typed.inputs[0].contents = Some(InferTensorContents {
            bytes_contents: vec!["a".into(), "b".into()],
            ..Default::default()
        });
        assert_eq!(texts(typed).unwrap(), ["a", "b"]);
        for (bad, expected) in [
            (
                &b"\x01\0\0\0a"[..],
                "holds 1 byte strings, its shape takes 2",
            ),
            (
                b"\x01\0\0\0a\x02\0\0\0a\xff",
                "row 1: not UTF-8 from byte 1 on",
            ),
            (b"\t\0\0\0a", "end within element 0"),
        ] {
            let status = texts(raw(bad)).unwrap_err();
            assert!(status.message.contains(expected), "{status}");
        }
    }

    #[test]
    fn classes_are_a_number_and_shared_memory_is_not_here() {
        let with = |name: &str, choice| {
            let value = InferParameter {
                parameter_choice: Some(choice),
            };
            let mut request = good();
            request.outputs = vec![InferRequestedOutputTensor {
                name: "y".into(),
                parameters: [(name.to_owned(), value)].into(),
            }];
            request
        };
        let three = read(with("classification", ParameterChoice::Int64Param(3))).unwrap();
        let wanted = Wanted {
            index: 0,
            classes: 3,
        };
        assert_eq!(three.outputs, Some(vec![wanted]));
        assert!(read(with("classification", ParameterChoice::BoolParam(true))).is_err());
        let shared = with(
            "shared_memory_region",
            ParameterChoice::StringParam("r".into()),
        );
        assert_eq!(read(shared).unwrap_err().code, Code::Unimplemented);
    }
}
