//! What engines say of themselves while models run, told on the log by the steward.

use std::sync::{Arc, Weak};

use super::{Command, Lifecycle};
use crate::server::Server;
use crate::server::log::event;
use crate::server::table::Model;

impl Lifecycle {
    /// Has the steward told what a model's engine says of itself, now and when that changes.
    pub fn watch(&self, model: &Arc<Model>) {
        for standing in &model.standings {
            let (commands, model) = (Arc::clone(&self.commands), Arc::downgrade(model));
            standing.on_change(Box::new(move || {
                if let Some(commands) = commands.get() {
                    let _ = commands.send(Command::Engine(Weak::clone(&model)));
                }
            }));
        }
        if model.said().note.is_some() {
            self.send(Command::Engine(Arc::downgrade(model)));
        }
    }
}

/// What was loaded before there was a steward.
pub(super) fn tell_all(server: &Server) {
    let table = server.table.load_full();
    for model in table.live().filter(|m| m.said().note.is_some()) {
        tell_one(model);
    }
}

/// One that was freed meanwhile has nothing to tell.
pub(super) fn tell(model: &Weak<Model>) {
    if let Some(model) = model.upgrade() {
        tell_one(&model);
    }
}

/// Says on the log what runs a model, and why that is not what was asked for.
fn tell_one(model: &Model) {
    let said = model.said();
    let place = format!("{}/{}", model.name, model.version);
    event(
        "model_engine",
        &[
            ("model", place.into()),
            ("engine", said.engine.into()),
            ("note", said.note.into()),
        ],
    );
}
