//! The routing table: name and version to a model. A request reads it once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::canary::Canary;
use crate::clock::Ticks;
use crate::decisions::Logged;
use crate::engine::{Said, Standing, together};
use crate::executor::ModelId;
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::model::load::LoadReport;
use crate::model::text::TextStage;
use crate::shadow::{Door, Route};
use crate::wire::response::Template;
use crate::wire::status::{Code, Status};

/// A model that answers.
pub struct Model {
    pub id: ModelId,
    pub name: String,
    pub version: u64,
    pub contract: Contract,
    pub template: Template,
    /// Rows in one batch at most.
    pub max_batch: usize,
    /// The longest row of each class of lengths, in tokens.
    pub classes: Vec<usize>,
    pub text: Option<Arc<TextStage>>,
    /// For each output one row of the fallback decision, if there is one.
    pub fallback: Option<Vec<Vec<u8>>>,
    /// The deadline of callers who name none, in ns; settings may change it.
    pub objective: AtomicU64,
    pub metrics: Arc<ModelMetrics>,
    /// What the decision log has to know, if there is one.
    pub logged: Option<Arc<Logged>>,
    pub shadow: Door,
    /// Answers a share of the requests that are routed here.
    pub canary: ArcSwapOption<Canary>,
    pub report: LoadReport,
    /// What each lane's engine says of itself.
    pub standings: Vec<Arc<Standing>>,
}

impl Model {
    pub fn objective(&self) -> Ticks {
        self.objective.load(Ordering::Relaxed)
    }

    /// What runs it now, and one sentence if that is not what was asked for.
    pub fn said(&self) -> Said {
        together(&self.standings)
    }
}

/// What a version of a model is doing.
#[derive(Clone)]
pub enum State {
    /// It answers.
    Live(Arc<Model>),
    /// It was live before and is kept, so that a rollback takes no time.
    Standby(Arc<Model>),
    Loading,
    /// It answers what was asked of it before it was replaced.
    Draining,
    /// It could not be loaded, and says why for as long as that is so.
    Failed(String),
    /// It is in the repository, and not asked for.
    Unloaded,
}

impl State {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Live(_) => "live",
            Self::Standby(_) => "standby",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Failed(_) => "failed",
            Self::Unloaded => "unloaded",
        }
    }

    /// The state's name in the repository index.
    pub fn index_word(&self) -> &'static str {
        match self {
            Self::Live(_) => "READY",
            Self::Loading => "LOADING",
            Self::Draining => "UNLOADING",
            Self::Standby(_) | Self::Failed(_) | Self::Unloaded => "UNAVAILABLE",
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Live(_) | Self::Loading | Self::Draining => "",
            Self::Standby(_) => "standby: the version before, kept for a rollback",
            Self::Failed(error) => error,
            Self::Unloaded => "unloaded",
        }
    }
}

/// All versions of one model that the server knows of.
#[derive(Clone, Default)]
pub struct Family {
    pub versions: BTreeMap<u64, State>,
    /// The version that answers requests which name none.
    pub current: Option<Arc<Model>>,
}

impl Family {
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Arc<Model>> {
        self.versions.values().filter_map(|state| match state {
            State::Live(model) => Some(model),
            _ => None,
        })
    }

    /// The newest version that failed to load, and why.
    fn failure(&self) -> Option<(u64, &str)> {
        self.versions
            .iter()
            .rev()
            .find_map(|(v, state)| match state {
                State::Failed(error) => Some((*v, error.as_str())),
                _ => None,
            })
    }
}

#[derive(Clone, Default)]
pub struct Table {
    pub families: BTreeMap<String, Family>,
}

impl Table {
    /// The model for a request.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown name or version, UNAVAILABLE for a model that is not loaded.
    pub fn find(&self, name: &str, version: &str) -> Result<&Arc<Model>, Status> {
        let Some(family) = self.families.get(name) else {
            return Err(self.no_model(name));
        };
        if version.is_empty() {
            return family.current.as_ref().ok_or_else(|| {
                let why = family.failure().map_or_else(
                    || "no version of it is loaded".to_owned(),
                    |(version, error)| format!("version {version}: {error}"),
                );
                Status::new(
                    Code::Unavailable,
                    format!("model '{name}' is not loaded: {why}"),
                )
            });
        }
        let number = version.parse().ok();
        let state = number.and_then(|number: u64| family.versions.get(&number));
        let live: Vec<String> = family.live().map(|m| m.version.to_string()).collect();
        let live = match live.as_slice() {
            [] => "none is".into(),
            [one] => format!("version {one} is"),
            several => format!("versions {} are", several.join(", ")),
        };
        match state {
            Some(State::Live(model)) => Ok(model),
            Some(State::Failed(error)) => Err(Status::new(
                Code::Unavailable,
                format!("model '{name}' version {version} is not loaded: {error}"),
            )),
            Some(state) => Err(Status::new(
                Code::Unavailable,
                format!(
                    "model '{name}' version {version} is not live ({}); {live}",
                    state.word()
                ),
            )),
            None => Err(Status::new(
                Code::NotFound,
                format!("model '{name}' has no version '{version}'; {live} live"),
            )),
        }
    }

    fn no_model(&self, name: &str) -> Status {
        if name.is_empty() {
            return Status::invalid("model_name is empty");
        }
        let mut names: Vec<String> = self.live().map(|m| format!("'{}'", m.name)).collect();
        names.dedup();
        let names = if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        };
        Status::new(
            Code::NotFound,
            format!("there is no model '{name}'; this server serves {names}"),
        )
    }

    pub fn live(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.families.values().flat_map(Family::live)
    }

    /// Name, shadow, and whether it is a canary's, of every model that has one. That of a canary sees
    /// the canary's own answers: it is the incumbent there.
    pub fn shadows(&self) -> impl Iterator<Item = (&str, Arc<Route>, bool)> {
        self.families.iter().filter_map(|(name, family)| {
            let current = family.current.as_ref()?;
            let canary = current.canary.load();
            let answering = canary.as_ref().map_or(current, |c| &c.model);
            let route = answering.shadow.load_full()?;
            Some((name.as_str(), route, canary.is_some()))
        })
    }

    /// (name, error) of every model of which no version answers because one failed to load.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let dead = self.families.iter().filter(|(_, f)| f.current.is_none());
        dead.filter_map(|(name, f)| f.failure().map(|(_, error)| (name.as_str(), error)))
    }
}
