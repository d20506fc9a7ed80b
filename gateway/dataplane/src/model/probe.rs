//! The row-independence probe: a row's answer must not depend on its neighbours in the batch.
//!
//! Seeded rows are run alone, in a full batch, among rows of NaN and among rows of zeros. A model
//! whose answers differ (dynamic int8 quantisation scales over the whole batch) is served one row
//! at a time and says so.

use crate::clock::{SECONDS, Ticks, now};
use crate::engine::{Buffers, EngineError, Lane};
use crate::model::contract::{Contract, Decision};
use crate::strings;
use crate::tensor::{Bucket, DataType, TensorSpec};

/// Rows whose answers are compared.
const ROWS: usize = 16;
/// Differences up to ABSOLUTE + RELATIVE · |value| are those of another order of summation.
const ABSOLUTE: f64 = 1e-4;
const RELATIVE: f64 = 1e-3;
/// After this time no further row is tried; two always are.
const BUDGET: Ticks = 2 * SECONDS;

/// A small generator with a fixed seed (SplitMix64), so that the verdict is the same every time.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-4, 4): wide enough to reach both sides of most splits of standardised features.
    fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 50) as f64 - 4.0
    }

    fn element(&mut self, spec: &TensorSpec, out: &mut Vec<u8>) {
        // Whole numbers stay small: they may be indexes.
        let whole = (self.next() >> 61) as u8;
        match spec.datatype {
            DataType::Fp32 => out.extend((self.float() as f32).to_le_bytes()),
            DataType::Fp64 => out.extend(self.float().to_le_bytes()),
            DataType::Fp16 => out.extend((0x3c00u16 | (self.next() as u16 & 0x83ff)).to_le_bytes()),
            DataType::Bf16 => {
                out.extend(((self.float() as f32).to_bits() >> 16).to_le_bytes()[..2].iter())
            }
            DataType::Bool => out.push(whole & 1),
            DataType::Bytes => {
                let most = spec.max_bytes.unwrap_or(0);
                let word: Vec<u8> = (0..usize::from(whole).min(most))
                    .map(|_| b'a' + (self.next() % 26) as u8)
                    .collect();
                strings::put(&word, most, out);
            }
            datatype => {
                let start = out.len();
                out.resize(start + datatype.size(), 0);
                out[start] = whole;
            }
        }
    }
}

/// An element that is no number; of other types, zeros.
fn nan(spec: &TensorSpec) -> Vec<u8> {
    match spec.datatype {
        DataType::Fp32 => f32::NAN.to_le_bytes().into(),
        DataType::Fp64 => f64::NAN.to_le_bytes().into(),
        DataType::Fp16 => 0x7e00u16.to_le_bytes().into(),
        DataType::Bf16 => 0x7fc0u16.to_le_bytes().into(),
        _ => vec![0; spec.element_bytes()],
    }
}

/// One input tensor's bytes for one row; of a text, its token ids.
enum Row {
    Fixed(Vec<Vec<u8>>),
    Tokens(Vec<u32>),
}

struct Samples {
    rows: Vec<Row>,
    /// Rows that must not leak into others: what they are, and one of them.
    strangers: Vec<(&'static str, Row)>,
}

fn samples(contract: &Contract) -> Samples {
    let mut generator = Generator(7);
    let inputs = &contract.inputs;
    if let Some(text) = &contract.text {
        // Ids stay small: a vocabulary's size is not known here, and the first are always there.
        let mut tokens = |length: usize| {
            let ids = (0..length).map(|_| (generator.next() % 500) as u32);
            Row::Tokens(ids.collect())
        };
        // Lengths as they share a batch in service, and one far shorter beside the longest.
        let longest = text.max_tokens;
        let rows = (0..ROWS).map(|i| tokens(longest - (i % 8).min(longest - 1)));
        let rows = rows.collect();
        let short = tokens(1);
        return Samples {
            rows,
            strangers: vec![("rows of one token", short)],
        };
    }
    let mut random = |spec: &TensorSpec| {
        let mut bytes = Vec::with_capacity(spec.row_bytes());
        (0..spec.row_elements()).for_each(|_| generator.element(spec, &mut bytes));
        bytes
    };
    let nan = |s: &TensorSpec| nan(s).repeat(s.row_elements());
    Samples {
        rows: (0..ROWS)
            .map(|_| Row::Fixed(inputs.iter().map(&mut random).collect()))
            .collect(),
        strangers: vec![
            ("rows of NaN", Row::Fixed(inputs.iter().map(nan).collect())),
            (
                "rows of zeros",
                Row::Fixed(inputs.iter().map(|s| vec![0; s.row_bytes()]).collect()),
            ),
        ],
    }
}

impl Row {
    fn length(&self) -> usize {
        match self {
            Self::Fixed(_) => 1,
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    fn write(&self, contract: &Contract, buffers: &mut Buffers, index: usize, length: usize) {
        match (self, &contract.text) {
            (Self::Tokens(tokens), Some(text)) => {
                text.fill(&mut buffers.inputs, index, tokens, length);
            }
            (Self::Fixed(inputs), _) => {
                for (buffer, bytes) in buffers.inputs.iter_mut().zip(inputs) {
                    buffer.as_bytes_mut()[index * bytes.len()..][..bytes.len()]
                        .copy_from_slice(bytes);
                }
            }
            (Self::Tokens(_), None) => {}
        }
    }
}

/// The outputs of one row.
type Answer = Vec<Vec<u8>>;

/// Runs a batch and returns the outputs of its rows.
fn run(
    lane: &mut dyn Lane,
    contract: &Contract,
    batch: &[&Row],
) -> Result<Vec<Answer>, EngineError> {
    let bucket = Bucket {
        rows: batch.len(),
        length: batch.iter().map(|r| r.length()).max().unwrap_or(1),
    };
    let buffers = lane.buffers(bucket)?;
    for (index, row) in batch.iter().enumerate() {
        row.write(contract, buffers, index, bucket.length);
    }
    lane.run(bucket, batch.len())?;
    let buffers = lane.buffers(bucket)?;
    let output = |index: usize| {
        let outputs = contract.outputs.iter().zip(&buffers.outputs);
        outputs
            .map(|(s, b)| b.as_bytes()[index * s.row_bytes()..][..s.row_bytes()].to_vec())
            .collect()
    };
    Ok((0..batch.len()).map(output).collect())
}

fn floats(spec: &TensorSpec, bytes: &[u8]) -> Vec<f64> {
    let half = |bits: u16| -> f64 {
        let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, f64::from(bits & 0x3ff));
        let value = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            e => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(e) - 15),
        };
        if sign == 1 { -value } else { value }
    };
    let chunks = bytes.chunks_exact(spec.datatype.size());
    let word = |c: &[u8]| -> u64 { c.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)) };
    chunks
        .map(|c| match spec.datatype {
            DataType::Fp32 => f64::from(f32::from_bits(word(c) as u32)),
            DataType::Fp64 => f64::from_bits(word(c)),
            DataType::Fp16 => half(word(c) as u16),
            DataType::Bf16 => f64::from(f32::from_bits((word(c) as u32) << 16)),
            // All else is compared byte by byte; a decision is never on it.
            _ => 0.0,
        })
        .collect()
}

fn decision(contract: &Contract, decision: &Decision, row: &Answer) -> Option<bool> {
    let index = contract
        .outputs
        .iter()
        .position(|o| o.name == decision.output)?;
    let value = floats(&contract.outputs[index], &row[index])
        .get(decision.column)
        .copied()?;
    Some(value >= decision.threshold)
}

/// Why two answers to the same row differ, if they do.
fn difference(contract: &Contract, alone: &Answer, beside: &Answer) -> Option<String> {
    if let Some(rule) = &contract.decision {
        let (a, b) = (
            decision(contract, rule, alone),
            decision(contract, rule, beside),
        );
        if a != b {
            return Some("the decision flips".into());
        }
    }
    for ((spec, a), b) in contract.outputs.iter().zip(alone).zip(beside) {
        if !spec.datatype.is_float() {
            if a != b {
                let name = &spec.name;
                return Some(format!("output '{name}' has other values than alone"));
            }
            continue;
        }
        for (a, b) in floats(spec, a).into_iter().zip(floats(spec, b)) {
            let exact = a == b || (a.is_nan() && b.is_nan());
            let near = (a - b).abs() <= ABSOLUTE + RELATIVE * a.abs();
            if !exact && !near {
                return Some(format!(
                    "output '{}' is {a} alone and {b} in company",
                    spec.name
                ));
            }
        }
    }
    None
}

/// `Ok(None)` if every row's answer is its own, `Ok(Some(why))` if not.
///
/// # Errors
/// The engine failed a batch.
pub fn row_dependence(
    lane: &mut dyn Lane,
    contract: &Contract,
    largest: Bucket,
) -> Result<Option<String>, EngineError> {
    if largest.rows < 2 {
        return Ok(None);
    }
    let samples = samples(contract);
    let full = largest.rows.min(most_rows(contract));
    let begun = now();
    for (index, row) in samples.rows.iter().enumerate() {
        if index > 1 && now() - begun > BUDGET {
            break;
        }
        let place = index % full;
        let alone = run(lane, contract, &[row])?;
        let among = |stranger: Option<usize>| -> Vec<&Row> {
            let pick = |i: usize| match stranger {
                _ if i == place => row,
                Some(n) => &samples.strangers[n].1,
                None => &samples.rows[i % ROWS],
            };
            (0..full).map(pick).collect()
        };
        let mut companies = vec![("a full batch", among(None))];
        for (n, (what, _)) in samples.strangers.iter().enumerate() {
            companies.push((what, among(Some(n))));
        }
        for (company, batch) in companies {
            let beside = run(lane, contract, &batch)?;
            if let Some(why) = difference(contract, &alone[0], &beside[place]) {
                return Ok(Some(format!("among {company}, {why}")));
            }
        }
    }
    Ok(None)
}

/// Rows of a probed batch. A text's rows cost milliseconds each.
fn most_rows(contract: &Contract) -> usize {
    if contract.text.is_some() {
        ROWS / 2
    } else {
        4 * ROWS
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::Buffer;

    /// Adds to each row's sum a share of the batch's sum: what a batch-wide scale does.
    struct Leaky {
        buffers: Buffers,
        share: f32,
    }

    impl Lane for Leaky {
        fn buffers(&mut self, _bucket: Bucket) -> Result<&mut Buffers, EngineError> {
            Ok(&mut self.buffers)
        }

        fn run(&mut self, _bucket: Bucket, rows: usize) -> Result<(), EngineError> {
            let bytes = self.buffers.inputs[0].as_bytes()[..rows * 8].to_vec();
            let values: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
                .collect();
            let all: f32 = values.iter().filter(|v| v.is_finite()).sum();
            for (i, row) in values.chunks_exact(2).enumerate() {
                let y = row[0] + row[1] + self.share * all;
                self.buffers.outputs[0].as_bytes_mut()[i * 4..][..4]
                    .copy_from_slice(&y.to_le_bytes());
            }
            Ok(())
        }

        fn describe(&self) -> String {
            "leaky".into()
        }
    }

    fn verdict(share: f32) -> Option<String> {
        let contract = Contract::parse(
            r#"
            format = "sluicegate.contract/1"
            engine = "onnxruntime"
            graph = "g"
            inputs = [{ name = "x", datatype = "FP32", shape = [-1, 2] }]
            outputs = [{ name = "y", datatype = "FP32", shape = [-1, 1] }]
            "#,
        )
        .unwrap();
        let buffers = Buffers {
            inputs: vec![Buffer::zeroed(64 * 8)],
            outputs: vec![Buffer::zeroed(64 * 4)],
        };
        row_dependence(&mut Leaky { buffers, share }, &contract, Bucket::of(64)).unwrap()
    }

    #[test]
    fn a_model_whose_rows_are_their_own_passes() {
        assert_eq!(verdict(0.0), None);
        assert_eq!(
            verdict(1e-8),
            None,
            "another order of summation is not a dependence"
        );
    }

    #[test]
    fn a_model_that_lets_neighbours_in_is_found_out() {
        let why = verdict(0.01).unwrap();
        assert!(why.contains("output 'y'"), "{why}");
    }
}
