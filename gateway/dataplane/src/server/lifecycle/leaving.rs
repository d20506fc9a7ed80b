//! Models on their way out: unloaded, replaced and drained, freed, or opened again because their
//! device was lost.

use std::sync::Arc;
use std::time::Instant;

use super::{REOPEN_AFTER, Steward};
use crate::executor::ModelId;
use crate::model::gate::Purpose;
use crate::server::loading::{add, aside};
use crate::server::log::event;
use crate::server::table::{Model, State};
use crate::wire::status::{Code, Status};

/// A model that was replaced and may still be computing.
pub struct Retiring {
    model: Arc<Model>,
    /// It is still in the table as draining.
    listed: bool,
}

impl Steward {
    pub(super) fn unload(&mut self, name: &str) -> Result<(), Status> {
        let table = self.server.table.load();
        let Some(family) = table.families.get(name) else {
            let text = format!("there is no model '{name}'");
            return Err(Status::new(Code::NotFound, text));
        };
        let mut family = family.clone();
        drop(table);
        // All its versions go, the canary's too.
        drop(self.canaries.end(name, "the model was unloaded"));
        let mut retire = Vec::new();
        for state in family.versions.values_mut() {
            match state {
                State::Live(model) | State::Standby(model) => {
                    retire.push(Arc::clone(model));
                    *state = State::Draining;
                }
                State::Failed(_) => *state = State::Unloaded,
                State::Loading | State::Draining | State::Unloaded => {}
            }
        }
        family.current = None;
        self.publish(|table| {
            table.families.insert(name.into(), family);
        });
        self.shadows.forget(name, "the model was unloaded");
        event("model_unloaded", &[("model", name.into())]);
        self.let_go(retire, true);
        Ok(())
    }

    pub(super) fn let_go(&mut self, models: Vec<Arc<Model>>, listed: bool) {
        let retiring = models.into_iter().map(|model| Retiring { model, listed });
        self.retiring.extend(retiring);
    }

    /// Frees what nobody holds any more.
    pub(super) fn retire(&mut self) {
        let mut held = Vec::new();
        for retiring in std::mem::take(&mut self.retiring) {
            // Only this one is left, so no call can send to it any more.
            let unused = Arc::strong_count(&retiring.model) == 1;
            let freed = unused
                .then(|| self.server.executor.remove(retiring.model.id))
                .flatten();
            let Some(engines) = freed else {
                held.push(retiring);
                continue;
            };
            let Retiring { model, listed } = retiring;
            let (name, version) = (model.name.clone(), model.version);
            // The same version may have been loaded anew meanwhile: that one stays as it is.
            if listed && matches!(self.state(&name, version), Some(State::Draining)) {
                self.set_state(&name, version, State::Unloaded);
            }
            // A version that came back meanwhile has the same labels.
            if !matches!(
                self.state(&name, version),
                Some(State::Live(_) | State::Standby(_))
            ) {
                self.server.metrics.forget(&name, &version.to_string());
            }
            if let Err(error) = aside("free", move || drop((engines, model))) {
                event("free_failed", &[("error", error.into())]);
            }
        }
        self.retiring = held;
    }

    /// Opens models of lost devices again, each as a new instance of the same version.
    pub(super) fn reopen(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.reopen)
            .into_iter()
            .partition(|(_, at)| *at <= now);
        self.reopen = later;
        let due: Vec<(ModelId, Instant)> = due;
        for (id, _) in due {
            let table = self.server.table.load();
            let model = table.live().find(|m| m.id == id).cloned();
            drop(table);
            let Some(model) = model else { continue };
            let (name, version) = (model.name.clone(), model.version);
            match self.open(&name, version, Purpose::Serve) {
                Ok(loaded) => {
                    let fresh = add(&self.server, &self.config, &name, version, loaded);
                    self.publish(|table| {
                        let Some(family) = table.families.get_mut(&name) else {
                            return;
                        };
                        let state = State::Live(Arc::clone(&fresh));
                        family.versions.insert(version, state);
                        if family
                            .current
                            .as_ref()
                            .is_some_and(|c| c.version == version)
                        {
                            family.current = Some(fresh);
                        }
                    });
                    self.forget_canary(&name, "the model was opened again");
                    self.shadows.forget(&name, "the model was opened again");
                    event("model_reopened", &[("model", name.into())]);
                    self.let_go(vec![model], false);
                }
                Err(error) => {
                    let place = format!("{name}/{version}");
                    event(
                        "reopen_failed",
                        &[("model", place.into()), ("error", error.into())],
                    );
                    self.reopen.push((id, now + REOPEN_AFTER));
                }
            }
        }
    }
}
