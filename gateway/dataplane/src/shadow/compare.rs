//! What two models say of the same row: each one's score and its own decision.

use crate::model::contract::Contract;
use crate::tensor::DataType;

/// Reads a row's score out of an output and decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decider {
    /// Which output, and which of a row's elements in it.
    pub output: usize,
    column: usize,
    elements: usize,
    datatype: DataType,
    threshold: f64,
}

impl Decider {
    /// # Errors
    /// The contract has no decision: there is nothing to compare.
    pub fn of(contract: &Contract) -> Result<Self, String> {
        let Some(decision) = &contract.decision else {
            let text = "its contract has no [decision], so there is nothing to compare";
            return Err(text.into());
        };
        let output = contract
            .outputs
            .iter()
            .position(|o| o.name == decision.output);
        // The contract was checked: the output is there.
        let output = output.ok_or("its contract's [decision] names no output")?;
        let spec = &contract.outputs[output];
        Ok(Self {
            output,
            column: decision.column,
            elements: spec.row_elements(),
            datatype: spec.datatype,
            threshold: decision.threshold,
        })
    }

    /// The score of one row of that output's bytes.
    pub fn score(&self, bytes: &[u8], row: usize) -> f64 {
        let size = self.datatype.size();
        let at = (row * self.elements + self.column) * size;
        let element = bytes.get(at..at + size);
        let number = element.and_then(|b| self.datatype.numbers(b).first().copied());
        number.unwrap_or(f64::NAN)
    }

    /// Whether a score reaches the threshold; one that is no number does not.
    pub fn decide(&self, score: f64) -> bool {
        score >= self.threshold
    }
}

/// Whether one request can be put to both.
///
/// # Errors
/// A sentence that says what differs.
pub fn comparable(incumbent: &Contract, candidate: &Contract) -> Result<(), String> {
    if incumbent.inputs != candidate.inputs {
        return Err("the candidate takes other inputs than the model that answers".into());
    }
    let tokens = |c: &Contract| {
        let text = c.text.as_ref();
        text.map(|t| (t.max_tokens, t.max_bytes))
    };
    if tokens(incumbent) != tokens(candidate) {
        return Err("the candidate cuts its text otherwise than the model that answers".into());
    }
    if incumbent.is_batched() != candidate.is_batched() {
        return Err("only one of the two takes batches".into());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"
        format = "sluicegate.contract/1"
        engine = "identity"
        inputs = [{ name = "x", datatype = "FP32", shape = [-1, 2] }]
        outputs = [{ name = "y", datatype = "FP32", shape = [-1, 2] }]
        [decision]
        output = "y"
        column = 1
        threshold = 0.5
        labels = ["no", "yes"]
    "#;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn a_score_is_the_decisions_column_of_its_row() {
        let decider = Decider::of(&Contract::parse(CONTRACT).unwrap()).unwrap();
        let rows = bytes(&[9.0, 0.25, 9.0, 0.5, 9.0, f32::NAN]);
        let scores: Vec<f64> = (0..3).map(|row| decider.score(&rows, row)).collect();
        assert_eq!(scores[..2], [0.25, 0.5]);
        let decided: Vec<bool> = scores.iter().map(|s| decider.decide(*s)).collect();
        assert_eq!(decided, [false, true, false]);
        assert!(decider.score(&rows, 3).is_nan(), "there is no such row");
    }

    #[test]
    fn a_contract_without_a_decision_cannot_be_compared() {
        let plain: String = CONTRACT.lines().take(5).collect::<Vec<_>>().join("\n");
        let error = Decider::of(&Contract::parse(&plain).unwrap()).unwrap_err();
        assert!(error.contains("[decision]"), "{error}");
    }

    #[test]
    fn a_candidate_with_other_inputs_is_refused() {
        let one = Contract::parse(CONTRACT).unwrap();
        let other = CONTRACT.replace("[-1, 2]", "[-1, 3]");
        assert_eq!(comparable(&one, &one), Ok(()));
        let error = comparable(&one, &Contract::parse(&other).unwrap()).unwrap_err();
        assert!(error.contains("inputs"), "{error}");
    }
}
