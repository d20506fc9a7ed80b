//! From a batch's outputs to one caller's ModelInferResponse, written straight into its frame:
//! the parts that never change are encoded once, when the model is loaded.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::framing::PREFIX;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::{InferParameter, ModelInferResponse};
use super::parameters;
use crate::tensor::TensorSpec;

// Field numbers of ModelInferResponse and of its InferOutputTensor.
const ID: u32 = 3;
const OUTPUTS: u32 = 5;
const RAW: u32 = 6;
const SHAPE: u32 = 3;

/// What stays the same in all of a model's responses.
#[derive(Debug)]
pub struct Template {
    /// Name, version and parameters, encoded.
    head: Vec<u8>,
    outputs: Vec<OutputTemplate>,
}

#[derive(Debug)]
struct OutputTemplate {
    /// Name and datatype, encoded as fields of InferOutputTensor.
    head: Vec<u8>,
    /// Whether the shape begins with the number of rows.
    batched: bool,
    /// The other dimensions, encoded as varints.
    tail: Vec<u8>,
}

impl Template {
    pub fn new(name: &str, version: &str, digest: &str, outputs: &[TensorSpec]) -> Self {
        let digest = InferParameter {
            parameter_choice: Some(ParameterChoice::StringParam(digest.into())),
        };
        let head = ModelInferResponse {
            model_name: name.into(),
            model_version: version.into(),
            parameters: [(parameters::DIGEST.to_owned(), digest)].into(),
            ..Default::default()
        };
        let outputs = outputs.iter().map(|spec| {
            let tensor = super::inference::model_infer_response::InferOutputTensor {
                name: spec.name.clone(),
                datatype: spec.datatype.wire_name().into(),
                ..Default::default()
            };
            let mut tail = Vec::new();
            spec.dims()
                .iter()
                .for_each(|&d| encode_varint(d.cast_unsigned(), &mut tail));
            OutputTemplate {
                head: tensor.encode_to_vec(),
                batched: spec.is_batched(),
                tail,
            }
        });
        Self {
            head: head.encode_to_vec(),
            outputs: outputs.collect(),
        }
    }

    /// Name, version and parameters, encoded: what every answer begins with.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The framed response of a request of `rows` rows: `outputs` are indexes and their bytes,
    /// `more` is put behind it, encoded.
    pub fn respond<'a>(
        &self,
        id: &str,
        rows: usize,
        outputs: impl Iterator<Item = (usize, &'a [u8])> + Clone,
        more: &[u8],
    ) -> Bytes {
        let rows = rows as u64;
        let rows_len = |o: &OutputTemplate| {
            if o.batched {
                encoded_len_varint(rows)
            } else {
                0
            }
        };
        let shape_len = |o: &OutputTemplate| rows_len(o) + o.tail.len();
        let tensor_len = |o: &OutputTemplate| o.head.len() + delimited(SHAPE, shape_len(o));
        let id_len = if id.is_empty() {
            0
        } else {
            delimited(ID, id.len())
        };
        let outputs_len: usize = outputs
            .clone()
            .map(|(i, raw)| {
                delimited(OUTPUTS, tensor_len(&self.outputs[i])) + delimited(RAW, raw.len())
            })
            .sum();
        let len = self.head.len() + id_len + outputs_len + more.len();

        let mut out = BytesMut::with_capacity(PREFIX + len);
        out.put_u8(0);
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        out.put_slice(&self.head);
        if !id.is_empty() {
            put_delimited(ID, id.len(), &mut out);
            out.put_slice(id.as_bytes());
        }
        for (index, _) in outputs.clone() {
            let output = &self.outputs[index];
            put_delimited(OUTPUTS, tensor_len(output), &mut out);
            out.put_slice(&output.head);
            put_delimited(SHAPE, shape_len(output), &mut out);
            if output.batched {
                encode_varint(rows, &mut out);
            }
            out.put_slice(&output.tail);
        }
        for (_, raw) in outputs {
            put_delimited(RAW, raw.len(), &mut out);
            out.put_slice(raw);
        }
        out.put_slice(more);
        out.freeze()
    }
}

fn delimited(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

fn put_delimited(field: u32, len: usize, out: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tensor::DataType;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_response_decodes_to_what_was_put_in(
            id in "[a-zäß ]{0,20}",
            rows in 1usize..300,
            second in any::<bool>(),
        ) {
            let spec = |name: &str, columns| TensorSpec::new(name, DataType::Fp32, &[-1, columns]);
            let template = Template::new("m", "7", "sha256:ab", &[spec("y", 1), spec("z", 3)]);
            let (y, z) = (vec![1u8; rows * 4], vec![2u8; rows * 12]);
            let all = [(0, y.as_slice()), (1, z.as_slice())];
            let wanted = if second { &all[1..] } else { &all[..] };
            let framed = template.respond(&id, rows, wanted.iter().copied(), &[]);
            prop_assert_eq!(framed.len() - 5, u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize);

            let response = ModelInferResponse::decode(framed.slice(5..)).unwrap();
            prop_assert_eq!(&response.model_name, "m");
            prop_assert_eq!(&response.model_version, "7");
            prop_assert_eq!(&response.id, &id);
            let digest = response.parameters[parameters::DIGEST].parameter_choice.clone();
            prop_assert_eq!(digest, Some(ParameterChoice::StringParam("sha256:ab".into())));
            prop_assert_eq!(response.outputs.len(), wanted.len());
            let last = response.outputs.last().unwrap();
            prop_assert_eq!(&last.name, "z");
            prop_assert_eq!(&last.datatype, "FP32");
            prop_assert_eq!(&last.shape, &vec![i64::try_from(rows).unwrap(), 3]);
            prop_assert_eq!(&response.raw_output_contents.last().unwrap()[..], &z[..]);
        }
    }
}
