//! A canary's beginning and end.

use std::sync::Arc;

use serde_json::Value;

use super::Steward;
use crate::model::gate::{Purpose, check};
use crate::server::canary::Canary;
use crate::server::table::State;
use crate::shadow::Wishes;
use crate::wire::status::{Code, Status};

impl Steward {
    /// Makes a version resident and gives it a share of the callers; the version that answers the
    /// others sees what it answers.
    ///
    /// # Errors
    /// UNAVAILABLE or INVALID_ARGUMENT with a sentence; nobody gets its answers then.
    pub(super) fn canary(
        &mut self,
        name: &str,
        version: u64,
        (share, salt): (f64, &str),
        wishes: Wishes,
    ) -> Result<(), Status> {
        let refuse = |text: String| Status::new(Code::Unavailable, text);
        let incumbent = self.answering(name)?;
        if incumbent.version == version {
            return Err(refuse(format!(
                "version {version} of model '{name}' answers everybody"
            )));
        }
        if self.canaries.is_running(name) {
            return Err(refuse(format!("model '{name}' has a canary already")));
        }
        let (model, kept) = match self.state(name, version) {
            Some(State::Standby(model)) => {
                let digest = &model.report.digest;
                check(&self.server.gate, Purpose::Canary, name, digest).map_err(refuse)?;
                (model, true)
            }
            Some(State::Live(_)) => {
                let text = format!("version {version} of model '{name}' answers who asks for it");
                return Err(refuse(text));
            }
            _ => {
                let loaded = self.make_resident(name, version, Purpose::Canary);
                let loaded =
                    loaded.map_err(|e| refuse(format!("model '{name}' version {version}: {e}")))?;
                (loaded, false)
            }
        };
        let begun = Canary::new(Arc::clone(&model), share, salt)
            .map_err(Status::invalid)
            .and_then(|canary| {
                let (server, config) = (&self.server, &self.config);
                let other = (incumbent.version, Purpose::Serve);
                self.shadows.start(server, config, &model, other, wishes)?;
                Ok(canary)
            });
        match begun {
            Ok(canary) => {
                self.canaries.begin(incumbent, canary, kept);
                Ok(())
            }
            Err(status) => {
                if !kept {
                    self.put_away(name, model);
                }
                Err(status)
            }
        }
    }

    /// # Errors
    /// UNAVAILABLE if there is none.
    pub(super) fn end_canary(&mut self, name: &str) -> Result<Value, Status> {
        if !self.canaries.is_running(name) {
            let text = format!("model '{name}' has no canary");
            return Err(Status::new(Code::Unavailable, text));
        }
        let candidate = self.canaries.end(name, "as asked");
        let told = self.shadows.end(name, "the canary has ended");
        if let Some(model) = candidate {
            self.put_away(name, model);
        }
        told
    }

    /// Ends a canary, if there is one, because the model that it stands beside goes.
    pub(super) fn forget_canary(&mut self, name: &str, why: &str) {
        if let Some(model) = self.canaries.end(name, why) {
            self.put_away(name, model);
        }
    }

    /// Drains and frees a version that nothing else wants resident.
    fn put_away(&mut self, name: &str, model: Arc<crate::server::table::Model>) {
        if matches!(self.state(name, model.version), Some(State::Standby(_))) {
            self.set_state(name, model.version, State::Draining);
            self.let_go(vec![model], true);
        }
    }
}
