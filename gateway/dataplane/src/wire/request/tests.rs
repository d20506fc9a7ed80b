use prost::Message;

use super::super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::super::inference::{InferParameter, InferTensorContents};
use super::*;
use crate::tensor::DataType;

fn spec(name: &str, datatype: DataType, columns: i64) -> TensorSpec {
    TensorSpec::new(name, datatype, &[-1, columns])
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
        inputs: vec![TensorSpec::new("x", DataType::Uint8, &[2, 2])],
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

fn strings_contract() -> Contract {
    let names = TensorSpec {
        max_bytes: Some(4),
        ..spec("names", DataType::Bytes, 2)
    };
    Contract {
        inputs: vec![names.clone()],
        outputs: vec![names],
        ..Contract::for_tests()
    }
}

#[test]
fn strings_become_cells_of_one_size_or_are_refused() {
    let raw = |raw: Vec<u8>| ModelInferRequest {
        inputs: vec![tensor("names", "BYTES", &[1, 2])],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    };
    let cells = |request| {
        let rows = rows(request, 100, &strings_contract())?;
        Ok::<_, Status>(inputs(rows)[0].to_vec())
    };
    let expected = b"\x02\0\0\0ab\0\0\0\0\0\0\0\0\0\0".to_vec();
    let good = raw(b"\x02\0\0\0ab\0\0\0\0".to_vec());
    assert_eq!(cells(good.clone()).unwrap(), expected);
    let mut typed = good;
    typed.raw_input_contents.clear();
    typed.inputs[0].contents = Some(InferTensorContents {
        bytes_contents: vec!["ab".into(), "".into()],
        ..Default::default()
    });
    assert_eq!(cells(typed).unwrap(), expected);
    for (bad, expected) in [
        (
            &b"\x01\0\0\0a"[..],
            "holds 1 byte strings, its shape takes 2",
        ),
        (
            b"\x01\0\0\0a\x05\0\0\0abcde",
            "element 1 has 5 bytes, the model takes 4 at most",
        ),
        (
            b"\x01\0\0\0a\x02\0\0\0a\xff",
            "element 1: not UTF-8 from byte 1 on",
        ),
        (b"\t\0\0\0a", "end within element 0"),
    ] {
        let status = cells(raw(bad.to_vec())).unwrap_err();
        assert!(status.message.contains(expected), "{status}");
    }
}

#[test]
fn a_small_message_of_empty_strings_does_not_become_gigabytes_of_cells() {
    let wide = TensorSpec {
        max_bytes: Some(65_536),
        ..spec("names", DataType::Bytes, 1)
    };
    let contract = Contract {
        inputs: vec![wide],
        ..strings_contract()
    };
    let request = ModelInferRequest {
        inputs: vec![tensor("names", "BYTES", &[16_384, 1])],
        raw_input_contents: vec![vec![0; 4 * 16_384].into()],
        ..Default::default()
    };
    let status = rows(request, 65_536, &contract).unwrap_err();
    assert!(status.message.contains("send fewer rows"), "{status}");
}
