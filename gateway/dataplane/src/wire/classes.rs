//! Triton's classification extension: of each row the greatest values, as byte strings
//! `value:index` or `value:index:label`, greatest first.

use prost::Message;

use super::framing::framed;
use super::inference::ModelInferResponse;
use super::inference::model_infer_response::InferOutputTensor;
use super::request::Wanted;
use crate::model::contract::Contract;

/// The framed answer to a request that asks for classes in some of its outputs. `head` begins it,
/// `more` ends it, `outputs` are all outputs' bytes.
pub fn respond(
    head: &[u8],
    more: &[u8],
    id: &str,
    contract: &Contract,
    rows: usize,
    wanted: &[Wanted],
    outputs: &[&[u8]],
) -> bytes::Bytes {
    let mut answer = ModelInferResponse {
        id: id.into(),
        ..Default::default()
    };
    for Wanted { index, classes } in wanted {
        let (spec, bytes) = (&contract.outputs[*index], outputs[*index]);
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut tensor = InferOutputTensor {
            name: spec.name.clone(),
            ..Default::default()
        };
        if *classes == 0 {
            tensor.datatype = spec.datatype.wire_name().into();
            let rows = spec.is_batched().then_some(number(rows));
            tensor.shape = rows
                .into_iter()
                .chain(spec.dims().iter().copied())
                .collect();
            answer.raw_output_contents.push(bytes.to_vec().into());
        } else {
            let labels = contract.labels.get(&spec.name);
            let count = (*classes).min(spec.row_elements());
            let mut raw = Vec::new();
            for row in bytes.chunks_exact(spec.row_bytes()) {
                for text in greatest(&spec.datatype.numbers(row), count, labels) {
                    raw.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
                    raw.extend(text.as_bytes());
                }
            }
            tensor.datatype = "BYTES".into();
            tensor.shape = vec![number(rows), number(count)];
            answer.raw_output_contents.push(raw.into());
        }
        answer.outputs.push(tensor);
    }
    let mut bytes = head.to_vec();
    bytes.extend(answer.encode_to_vec());
    bytes.extend(more);
    framed(false, &bytes)
}

/// The `count` greatest values, greatest first, the first of equals first; a NaN is the least.
fn greatest(values: &[f64], count: usize, labels: Option<&Vec<String>>) -> Vec<String> {
    let key = |i: &usize| {
        if values[*i].is_nan() {
            f64::NEG_INFINITY
        } else {
            values[*i]
        }
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let text = |i: usize| match labels.and_then(|l| l.get(i)) {
        Some(label) => format!("{:.6}:{i}:{label}", values[i]),
        None => format!("{:.6}:{i}", values[i]),
    };
    order.into_iter().take(count).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first_with_index_and_label() {
        let labels = vec!["no".to_owned(), "maybe".into(), "yes".into()];
        assert_eq!(
            greatest(&[0.1, f64::NAN, 0.5], 2, Some(&labels)),
            ["0.500000:2:yes", "0.100000:0:no"]
        );
        assert_eq!(greatest(&[1.0, 1.0], 9, None), ["1.000000:0", "1.000000:1"]);
    }
}
