//! contract.toml: what a model promises. It is part of the model's digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Buffer;
use crate::tensor::{DataType, TensorSpec};

pub const FORMAT: &str = "sluicegate.contract/1";

/// What runs a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum EngineKind {
    Onnxruntime,
    /// Gives its inputs back: what a request costs without a model.
    Identity,
    /// Gives its inputs back after a fixed time: a load test's stand-in for a large model.
    Delay,
    /// One of gateway/engines, by its name.
    Python(String),
}

impl EngineKind {
    pub fn name(&self) -> &str {
        match self {
            Self::Onnxruntime => "onnxruntime",
            Self::Identity => "identity",
            Self::Delay => "delay",
            Self::Python(name) => name,
        }
    }
}

impl From<String> for EngineKind {
    fn from(name: String) -> Self {
        match name.as_str() {
            "onnxruntime" => Self::Onnxruntime,
            "identity" => Self::Identity,
            "delay" => Self::Delay,
            _ => Self::Python(name),
        }
    }
}

impl From<EngineKind> for String {
    fn from(kind: EngineKind) -> Self {
        kind.name().to_owned()
    }
}

/// The decision of a row: whether `output[column]` reaches `threshold`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub output: String,
    #[serde(default)]
    pub column: usize,
    pub threshold: f64,
    /// [below the threshold, at or above it].
    pub labels: [String; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    #[serde(default)]
    pub per_batch_us: u64,
    pub per_row_us: u64,
}

/// What to do with a NaN or an infinity in a float input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// The model knows what to do with it.
    #[default]
    Allow,
    /// The request is refused.
    Refuse,
}

/// A text input: callers send BYTES, the graph gets token ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The BYTES input that callers send.
    pub input: String,
    /// The tokenizer's file in the model directory (Hugging Face's tokenizer.json).
    pub tokenizer: String,
    /// Tokens of one row at most, the tokenizer's special ones included.
    pub max_tokens: usize,
    /// A longer text is cut to this many bytes, at a character, before it is tokenised.
    pub max_bytes: usize,
    /// The graph's input of token ids, [rows, tokens].
    pub ids: String,
    /// The graph's input that is 1 for a token and 0 for padding.
    pub mask: String,
    /// The graph's input of token types, all 0, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
    /// INT64 or INT32.
    pub datatype: DataType,
    /// The id that fills a row up to the batch's longest.
    #[serde(default)]
    pub pad: u32,
}

impl Text {
    /// The graph's inputs, token ids first, then the mask.
    fn engine_inputs(&self) -> Vec<TensorSpec> {
        let names = [Some(&self.ids), Some(&self.mask), self.types.as_ref()];
        let spec = |name: &String| TensorSpec::new(name, self.datatype, &[-1, -1]);
        names.into_iter().flatten().map(spec).collect()
    }

    /// Writes one row's tokens into the engine's inputs, filled up to `length`.
    pub fn fill(&self, inputs: &mut [Buffer], row: usize, tokens: &[u32], length: usize) {
        // Ids, mask and, if there is one, types.
        for (input, buffer) in inputs.iter_mut().enumerate() {
            let size = self.datatype.size();
            let bytes = buffer.as_bytes_mut();
            for at in 0..length {
                let token = tokens.get(at).copied();
                let value = match input {
                    0 => token.unwrap_or(self.pad),
                    1 => u32::from(token.is_some()),
                    _ => 0,
                };
                let value = u64::from(value).to_le_bytes();
                bytes[(row * length + at) * size..][..size].copy_from_slice(&value[..size]);
            }
        }
    }
}

/// What is answered in place of an error when a request was shed or came too late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The values of one row, for every output.
    pub outputs: BTreeMap<String, Vec<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub format: String,
    pub engine: EngineKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub non_finite: NonFinite,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Names of the classes along an output's last dimension.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Contract {
    /// Reads and checks a contract; the error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let contract: Self =
            toml::from_str(text).map_err(|e| format!("contract.toml: {}", e.message()))?;
        contract
            .check()
            .map_err(|e| format!("contract.toml: {e}"))?;
        Ok(contract)
    }

    pub fn to_toml(&self) -> Result<String, String> {
        self.check()?;
        toml::to_string(self).map_err(|e| e.to_string())
    }

    /// Whether requests bring rows that may share a batch.
    pub fn is_batched(&self) -> bool {
        self.inputs.iter().all(TensorSpec::is_batched)
    }

    /// The tensors that the engine takes: the callers' own, or the tokens of their text.
    pub fn engine_inputs(&self) -> Vec<TensorSpec> {
        match &self.text {
            Some(text) => text.engine_inputs(),
            None => self.inputs.clone(),
        }
    }

    /// Tokens of a row at most; 1 without text.
    pub fn max_length(&self) -> usize {
        self.text.as_ref().map_or(1, |t| t.max_tokens)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format is '{}', expected '{FORMAT}'", self.format));
        }
        if self.inputs.is_empty() || self.outputs.is_empty() {
            return Err("a model needs at least one input and one output".into());
        }
        for specs in [&self.inputs, &self.outputs] {
            if let Some(defect) = specs.iter().find_map(TensorSpec::defect) {
                return Err(defect);
            }
            for (i, spec) in specs.iter().enumerate() {
                if specs[..i].iter().any(|other| other.name == spec.name) {
                    return Err(format!("tensor '{}' is listed twice", spec.name));
                }
            }
        }
        let mut all = self.inputs.iter().chain(&self.outputs);
        if let Some(odd) = all.find(|s| s.is_batched() != self.inputs[0].is_batched()) {
            return Err(format!(
                "tensor '{}' and '{}' must both begin with the batch (-1), or neither",
                self.inputs[0].name, odd.name
            ));
        }
        self.check_text()?;
        self.check_engine()?;
        if (self.engine == EngineKind::Delay) != self.delay.is_some() {
            return Err("[delay] and engine \"delay\" go together".into());
        }
        self.check_labels()?;
        if let Some(fallback) = &self.fallback {
            self.check_fallback(fallback)?;
        }
        match &self.decision {
            Some(decision) => self.check_decision(decision),
            None => Ok(()),
        }
    }

    fn check_engine(&self) -> Result<(), String> {
        match (&self.engine, &self.graph) {
            (EngineKind::Python(name), _) => {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                if name.is_empty() || !name.bytes().all(plain) {
                    return Err(format!("'{name}' is not an engine's name"));
                }
                Ok(())
            }
            (EngineKind::Onnxruntime, None) => Err("engine onnxruntime needs 'graph'".into()),
            (EngineKind::Onnxruntime, Some(_)) => Ok(()),
            (engine, Some(_)) => Err(format!("engine {} takes no 'graph'", engine.name())),
            (_, None) => {
                let row = |s: &TensorSpec| (s.datatype, s.row_elements(), s.max_bytes);
                if !self.inputs.iter().map(row).eq(self.outputs.iter().map(row)) {
                    let engine = self.engine.name();
                    return Err(format!(
                        "engine {engine} gives its inputs back: outputs must match"
                    ));
                }
                Ok(())
            }
        }
    }

    fn check_text(&self) -> Result<(), String> {
        let is_text = |s: &TensorSpec| s.datatype == DataType::Bytes && !s.is_strings();
        let output = self.outputs.iter().find(|s| is_text(s));
        let input = self.inputs.iter().find(|s| is_text(s));
        if let Some(s) = output.or(input.filter(|_| self.text.is_none())) {
            return Err(format!(
                "tensor '{}' is BYTES: it needs max_bytes, the most bytes of one string, or as an \
                 input that is to be tokenised a table [text]",
                s.name
            ));
        }
        let Some(text) = &self.text else {
            return Ok(());
        };
        let [input] = self.inputs.as_slice() else {
            return Err("a text model takes one input, its text".into());
        };
        if input.name != text.input || !is_text(input) {
            return Err(format!(
                "[text] needs a BYTES input '{}' without max_bytes of its own",
                text.input
            ));
        }
        if !input.is_batched() || input.row_elements() != 1 {
            return Err(format!(
                "text input '{}' has shape {:?}, expected [-1, 1]",
                input.name, input.shape
            ));
        }
        if !matches!(text.datatype, DataType::Int32 | DataType::Int64) {
            return Err("[text] datatype must be INT64 or INT32".into());
        }
        for (key, value, most) in [
            ("max_tokens", text.max_tokens, 8_192),
            ("max_bytes", text.max_bytes, 1 << 20),
        ] {
            if value < 2 || value > most {
                return Err(format!(
                    "[text] {key} is {value}, it must be between 2 and {most}"
                ));
            }
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), String> {
        for (name, labels) in &self.labels {
            let output = self.outputs.iter().find(|o| o.name == *name);
            let output =
                output.ok_or_else(|| format!("[labels] names '{name}', which does not exist"))?;
            let classes = output.row_elements();
            if labels.len() != classes {
                return Err(format!(
                    "[labels] has {} names for '{name}', which has {classes} classes",
                    labels.len()
                ));
            }
        }
        Ok(())
    }

    fn check_fallback(&self, fallback: &Fallback) -> Result<(), String> {
        for output in &self.outputs {
            let values = fallback.outputs.get(&output.name);
            let values =
                values.ok_or_else(|| format!("[fallback] lacks output '{}'", output.name))?;
            let expected = output.row_elements();
            if values.len() != expected {
                return Err(format!(
                    "[fallback] has {} values for '{}', a row has {expected}",
                    values.len(),
                    output.name
                ));
            }
            output.datatype.encode(values).map_err(|value| {
                let kind = output.datatype.wire_name();
                format!(
                    "[fallback] has {value} for '{}', which is {kind}",
                    output.name
                )
            })?;
        }
        let known = |name: &String| self.outputs.iter().any(|o| o.name == *name);
        match fallback.outputs.keys().find(|name| !known(name)) {
            Some(extra) => Err(format!("[fallback] names '{extra}', which does not exist")),
            None => Ok(()),
        }
    }

    fn check_decision(&self, decision: &Decision) -> Result<(), String> {
        let Some(output) = self.outputs.iter().find(|o| o.name == decision.output) else {
            return Err(format!(
                "[decision] names output '{}', which does not exist",
                decision.output
            ));
        };
        if output.datatype != DataType::Fp32 {
            return Err(format!(
                "[decision] needs an FP32 output, '{}' is not",
                output.name
            ));
        }
        if decision.column >= output.row_elements() {
            let (name, n) = (&output.name, output.row_elements());
            return Err(format!(
                "[decision] column {} of '{name}', which has {n}",
                decision.column
            ));
        }
        if !decision.threshold.is_finite() {
            return Err("[decision] threshold must be a finite number".into());
        }
        Ok(())
    }
}

#[cfg(test)]
impl Contract {
    /// An identity without tensors, for tests to fill in.
    pub fn for_tests() -> Self {
        Self {
            format: FORMAT.into(),
            engine: EngineKind::Identity,
            graph: None,
            non_finite: NonFinite::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            labels: BTreeMap::new(),
            text: None,
            decision: None,
            fallback: None,
            delay: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        format = "sluicegate.contract/1"
        engine = "onnxruntime"
        graph = "model.onnx"
        inputs = [{ name = "x", datatype = "FP32", shape = [-1, 4] }]
        outputs = [{ name = "y", datatype = "FP32", shape = [-1, 2] }]
        [decision]
        output = "y"
        column = 1
        threshold = 0.5
        labels = ["no", "yes"]
    "#;

    #[test]
    fn a_contract_survives_being_written_and_read() {
        let contract = Contract::parse(GOOD).unwrap();
        assert_eq!(
            Contract::parse(&contract.to_toml().unwrap()).unwrap(),
            contract
        );
    }

    const TEXT: &str = r#"
        format = "sluicegate.contract/1"
        engine = "onnxruntime"
        graph = "model.onnx"
        inputs = [{ name = "text", datatype = "BYTES", shape = [-1, 1] }]
        outputs = [{ name = "y", datatype = "FP32", shape = [-1, 1] }]
        [text]
        input = "text"
        tokenizer = "tokenizer.json"
        max_tokens = 64
        max_bytes = 2048
        ids = "input_ids"
        mask = "attention_mask"
        datatype = "INT64"
    "#;

    #[test]
    fn a_text_model_takes_bytes_and_gives_its_engine_tokens() {
        let contract = Contract::parse(TEXT).unwrap();
        let names: Vec<_> = contract.engine_inputs();
        assert_eq!(names[0].name, "input_ids");
        assert_eq!(names[1].shape, [-1, -1]);
        assert_eq!(contract.max_length(), 64);
        for (from, to, expected) in [
            (
                "[-1, 1] }]\n        outputs",
                "[-1, 2] }]\n        outputs",
                "expected [-1, 1]",
            ),
            ("INT64", "FP32", "INT64 or INT32"),
            ("max_tokens = 64", "max_tokens = 1", "max_tokens is 1"),
            (
                "input = \"text\"",
                "input = \"txt\"",
                "needs a BYTES input 'txt'",
            ),
        ] {
            let error = Contract::parse(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn each_defect_is_named() {
        let broken = [
            ("/1\"", "/9\"", "format"),
            ("graph = \"model.onnx\"", "", "needs 'graph'"),
            ("[-1, 4]", "[4]", "begin with the batch"),
            ("[-1, 4]", "[0, 4]", "first dimension"),
            ("[-1, 4]", "[-1, -1]", "fixed size"),
            ("column = 1", "column = 2", "column 2"),
            ("output = \"y\"", "output = \"z\"", "does not exist"),
            ("column = 1", "colum = 1", "colum"),
            ("threshold = 0.5", "threshold = nan", "finite"),
            ("\"onnxruntime\"", "\"delay\"", "takes no 'graph'"),
            ("\"FP32\"", "\"BYTES\"", "it needs max_bytes"),
            (
                "[decision]",
                "fallback.outputs.z = [0]\n[decision]",
                "lacks output 'y'",
            ),
            (
                "[decision]",
                "fallback.outputs.y = [0]\n[decision]",
                "1 values for 'y', a row has 2",
            ),
            (
                "[decision]",
                "labels.y = [\"a\"]\n[decision]",
                "1 names for 'y', which has 2",
            ),
        ];
        for (from, to, expected) in broken {
            let error = Contract::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
    }
}
