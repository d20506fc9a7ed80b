//! contract.toml: what a model promises. It is part of the model's digest.

use serde::{Deserialize, Serialize};

use crate::tensor::TensorSpec;

pub const FORMAT: &str = "sluicegate.contract/1";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    Onnxruntime,
    /// Gives its inputs back: what a request costs without a model.
    Identity,
    /// Gives its inputs back after a fixed time: a load test's stand-in for a large model.
    Delay,
}

impl EngineKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnxruntime => "onnxruntime",
            Self::Identity => "identity",
            Self::Delay => "delay",
        }
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub format: String,
    pub engine: EngineKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
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
        match (self.engine, &self.graph) {
            (EngineKind::Onnxruntime, None) => {
                return Err("engine onnxruntime needs 'graph'".into());
            }
            (EngineKind::Onnxruntime, Some(_)) => {}
            (engine, Some(_)) => return Err(format!("engine {} takes no 'graph'", engine.name())),
            (_, None) => {
                let row = |s: &TensorSpec| (s.datatype, s.row_elements());
                if !self.inputs.iter().map(row).eq(self.outputs.iter().map(row)) {
                    let engine = self.engine.name();
                    return Err(format!(
                        "engine {engine} gives its inputs back: outputs must match"
                    ));
                }
            }
        }
        if (self.engine == EngineKind::Delay) != self.delay.is_some() {
            return Err("[delay] and engine \"delay\" go together".into());
        }
        match &self.decision {
            Some(decision) => self.check_decision(decision),
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
        if output.datatype != crate::tensor::DataType::Fp32 {
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

    #[test]
    fn each_defect_is_named() {
        let broken = [
            ("/1\"", "/9\"", "format"),
            ("graph = \"model.onnx\"", "", "needs 'graph'"),
            ("[-1, 4]", "[4]", "first dimension"),
            ("[-1, 4]", "[-1, -1]", "fixed size"),
            ("column = 1", "column = 2", "column 2"),
            ("output = \"y\"", "output = \"z\"", "does not exist"),
            ("column = 1", "colum = 1", "colum"),
            ("threshold = 0.5", "threshold = nan", "finite"),
            ("\"onnxruntime\"", "\"delay\"", "takes no 'graph'"),
        ];
        for (from, to, expected) in broken {
            let error = Contract::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
    }
}
