//! Request parameters that the server understands, and the ones that it adds to answers.

use prost::Message;

use super::inference::infer_parameter::ParameterChoice;
use super::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use super::status::Status;
use crate::clock::{MICROS, Ticks};
use crate::sched::queue::Priority;

/// The parameter that carries the digest of the model that answered.
pub const DIGEST: &str = "sluicegate_digest";
/// The parameter that says why the model did not answer itself.
pub const FALLBACK: &str = "sluicegate_fallback";

/// The parameter that tells the id under which the decision log knows a request that brought none.
pub const REQUEST_ID: &str = "sluicegate_request_id";

/// A segment's name is a word, not data.
const SEGMENT_BYTES: usize = 64;
const KEY_BYTES: usize = 256;

fn whole(request: &ModelInferRequest, name: &str) -> Option<Option<u64>> {
    let parameter = request.parameters.get(name)?;
    Some(match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(n)) => u64::try_from(*n).ok(),
        Some(ParameterChoice::Uint64Param(n)) => Some(*n),
        _ => None,
    })
}

/// The `timeout` parameter in ns.
pub fn timeout(request: &ModelInferRequest) -> Result<Option<Ticks>, Status> {
    match whole(request, "timeout") {
        // As in Triton, 0 stands for no time-out of its own.
        None | Some(Some(0)) => Ok(None),
        Some(Some(n)) => Ok(Some(n.saturating_mul(MICROS))),
        Some(None) => Err(Status::invalid(
            "parameter 'timeout' must be a whole number of microseconds, 0 or more (int64_param)",
        )),
    }
}

/// The `priority` parameter: 1 matters most; as in Triton, 0 stands for the default.
pub fn priority(request: &ModelInferRequest) -> Result<Priority, Status> {
    match whole(request, "priority") {
        None => Ok(Priority::DEFAULT),
        Some(Some(level)) => Ok(Priority::new(level)),
        Some(None) => Err(Status::invalid(
            "parameter 'priority' must be a whole number, 1 matters most (uint64_param)",
        )),
    }
}

/// The `segment` parameter: for which group of requests a shadow counts this one.
pub fn segment(request: &mut ModelInferRequest) -> Result<Option<String>, Status> {
    word(request, "segment", SEGMENT_BYTES)
}

/// The `key` parameter: whose request this is; the same key always meets the same side of a canary.
pub fn key(request: &mut ModelInferRequest) -> Result<Option<String>, Status> {
    word(request, "key", KEY_BYTES)
}

fn word(
    request: &mut ModelInferRequest,
    name: &str,
    most: usize,
) -> Result<Option<String>, Status> {
    let Some(parameter) = request.parameters.remove(name) else {
        return Ok(None);
    };
    match parameter.parameter_choice {
        Some(ParameterChoice::StringParam(word)) if word.len() <= most => Ok(Some(word)),
        _ => Err(Status::invalid(format!(
            "parameter '{name}' must be a string of at most {most} bytes (string_param)"
        ))),
    }
}

/// A parameter of an answer, encoded: fields of a message may stand in any order, so it is put
/// behind what was encoded before.
pub fn encoded(name: &str, choice: ParameterChoice) -> Vec<u8> {
    let parameter = InferParameter {
        parameter_choice: Some(choice),
    };
    let only = ModelInferResponse {
        parameters: [(name.to_owned(), parameter)].into(),
        ..Default::default()
    };
    only.encode_to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(name: &str, choice: ParameterChoice) -> ModelInferRequest {
        let parameter = InferParameter {
            parameter_choice: Some(choice),
        };
        ModelInferRequest {
            parameters: [(name.to_owned(), parameter)].into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_timeout_is_microseconds_and_0_is_none() {
        let read = |choice| timeout(&with("timeout", choice));
        assert_eq!(read(ParameterChoice::Int64Param(5)), Ok(Some(5_000)));
        assert_eq!(read(ParameterChoice::Uint64Param(0)), Ok(None));
        assert_eq!(timeout(&ModelInferRequest::default()), Ok(None));
        for wrong in [
            ParameterChoice::Int64Param(-1),
            ParameterChoice::StringParam("5".into()),
            ParameterChoice::DoubleParam(5.0),
        ] {
            assert!(read(wrong).unwrap_err().message.contains("'timeout'"));
        }
    }

    #[test]
    fn the_priority_is_1_to_9_and_0_is_the_default() {
        let read = |n| priority(&with("priority", ParameterChoice::Uint64Param(n))).unwrap();
        assert_eq!(read(0), Priority::DEFAULT);
        assert!(read(1) < read(5) && read(9) == read(1 << 40));
        let wrong = with("priority", ParameterChoice::BoolParam(true));
        assert!(priority(&wrong).is_err());
    }

    #[test]
    fn a_segment_is_a_short_string() {
        let read = |choice| segment(&mut with("segment", choice));
        let word = ParameterChoice::StringParam("de".into());
        assert_eq!(read(word), Ok(Some("de".into())));
        assert_eq!(segment(&mut ModelInferRequest::default()), Ok(None));
        for wrong in [
            ParameterChoice::StringParam("x".repeat(65)),
            ParameterChoice::Int64Param(1),
        ] {
            assert!(read(wrong).unwrap_err().message.contains("'segment'"));
        }
    }

    #[test]
    fn a_parameter_behind_an_answer_is_part_of_it() {
        let mut bytes = ModelInferResponse {
            model_name: "m".into(),
            ..Default::default()
        }
        .encode_to_vec();
        bytes.extend(encoded(
            FALLBACK,
            ParameterChoice::StringParam("shed".into()),
        ));
        let both = ModelInferResponse::decode(&bytes[..]).unwrap();
        assert_eq!(both.model_name, "m");
        assert!(both.parameters.contains_key(FALLBACK));
    }
}
