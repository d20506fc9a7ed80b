//! A request of the decision log's sample, from its rows to its answer. It keeps what the log needs
//! by reference; bytes are copied once the answer is sent.

use std::sync::Arc;

use super::Server;
use super::answer::Done;
use super::table::Model;
use crate::config::LoggedInputs;
use crate::decisions::{Decision, Held, Logged, Sampled};
use crate::record::Record;
use crate::wire::inference::infer_parameter::ParameterChoice;
use crate::wire::parameters;
use crate::wire::request::Payload;

pub struct Draft {
    sampled: Sampled,
    key: Option<String>,
    model: Arc<Logged>,
    rows: usize,
    inputs: Held,
    port: usize,
    /// Once it is computed.
    done: Option<Done>,
}

impl Draft {
    pub fn new(
        sampled: Sampled,
        key: Option<String>,
        model: &Arc<Logged>,
        rows: usize,
        payload: &Payload,
        port: usize,
    ) -> Self {
        let inputs = match (model.keep, payload) {
            (LoggedInputs::None, _) => Held::Nothing,
            (_, Payload::Rows(inputs)) => Held::Rows(inputs.clone()),
            (_, Payload::Texts(texts)) => Held::Texts(texts.clone()),
        };
        Self {
            sampled,
            key,
            model: Arc::clone(model),
            rows,
            inputs,
            port,
            done: None,
        }
    }

    /// What the answer tells beside the outputs: the id that the request was given.
    pub fn told(&self) -> Vec<u8> {
        if !self.sampled.made {
            return Vec::new();
        }
        let id = ParameterChoice::StringParam(self.sampled.id.clone());
        parameters::encoded(parameters::REQUEST_ID, id)
    }

    pub fn answered(&mut self, done: Done) {
        self.done = Some(done);
    }

    /// Writes it down; nothing if the model did not answer.
    pub fn write(&self, server: &Server, model: &Model, record: &Record) {
        let (Some(log), Some(done)) = (&server.decisions, &self.done) else {
            return;
        };
        let took = record.written.saturating_sub(record.arrived);
        done.with_rows(model, |outputs| {
            let decision = Decision {
                model: &self.model,
                id: &self.sampled.id,
                key: self.key.as_deref(),
                rows: self.rows,
                latency_us: took as f64 / 1e3,
                inputs: &self.inputs,
                outputs,
            };
            log.decided(self.port, &decision);
        });
    }
}
