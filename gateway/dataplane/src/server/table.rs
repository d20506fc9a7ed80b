//! The routing table: name and version to a model. A request reads it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Ticks;
use crate::executor::ModelId;
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::model::load::LoadReport;
use crate::wire::response::Template;
use crate::wire::status::{Code, Status};

/// A model that answers.
pub struct Model {
    pub id: ModelId,
    pub name: String,
    pub version: String,
    pub contract: Contract,
    pub template: Template,
    /// Rows in one batch and in one request at most.
    pub max_batch: usize,
    pub objective: Ticks,
    pub metrics: Arc<ModelMetrics>,
    pub report: LoadReport,
}

/// A model of the repository: it answers, or it failed to load and says why for as long as it does.
pub enum Entry {
    Live(Arc<Model>),
    Failed { version: String, error: String },
}

#[derive(Default)]
pub struct Table {
    pub entries: BTreeMap<String, Entry>,
}

impl Table {
    /// The model for a request.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown name or version, UNAVAILABLE for a model that failed to load.
    pub fn find(&self, name: &str, version: &str) -> Result<&Arc<Model>, Status> {
        match self.entries.get(name) {
            None if name.is_empty() => Err(Status::invalid("model_name is empty")),
            None => Err(Status::new(
                Code::NotFound,
                format!(
                    "there is no model '{name}'; this server serves {}",
                    self.names()
                ),
            )),
            Some(Entry::Live(model)) if version.is_empty() || version == model.version => Ok(model),
            Some(Entry::Failed { version: v, error }) if version.is_empty() || version == v => {
                let text = format!("model '{name}' version {v} is not loaded: {error}");
                Err(Status::new(Code::Unavailable, text))
            }
            Some(Entry::Live(model)) => Err(no_version(name, version, &model.version)),
            Some(Entry::Failed { version: v, .. }) => Err(no_version(name, version, v)),
        }
    }

    pub fn live(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.entries.values().filter_map(|e| match e {
            Entry::Live(model) => Some(model),
            Entry::Failed { .. } => None,
        })
    }

    /// (name, error) of every model that failed to load.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|(name, e)| match e {
            Entry::Live(_) => None,
            Entry::Failed { error, .. } => Some((name.as_str(), error.as_str())),
        })
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.live().map(|m| format!("'{}'", m.name)).collect();
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    }
}

fn no_version(name: &str, asked: &str, there: &str) -> Status {
    let text = format!("model '{name}' has no version '{asked}'; version {there} is live");
    Status::new(Code::NotFound, text)
}
