//! A model's life while the server runs: loaded beside the live one, published, kept for a
//! rollback, drained, freed.
//!
//! One thread, the steward, changes the routing table; calls only read it. Loading and freeing are
//! done by threads of their own that give way, which hold no lock that a call could want: an
//! idle thread that is taken off its core while holding one would stop the calls behind it. So
//! adding to the executor and publishing are the steward's.

mod canary;
mod engine;
mod leaving;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::Server;
use super::canary::Canaries;
use super::loading::{add, aside, asked, by_name, executor_settings, permitted, read};
use super::log::event;
use super::shadowing::Shadows;
use super::succession::{Fate, Standing, succeed};
use super::table::{Model, State, Table};
use crate::config::{Config, Versions};
use crate::executor::ModelId;
use crate::model::gate::{Purpose, check};
use crate::model::load::Loaded;
use crate::model::repository::is_name;
use crate::shadow::Wishes;
use crate::wire::status::{Code, Status};
use leaving::Retiring;

/// How often the steward looks whether a replaced model has been let go of.
const RETIRE_EVERY: Duration = Duration::from_millis(20);
/// After a device was lost, how long until its models are opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

type Done = oneshot::Sender<Result<(), Status>>;

/// What the steward is asked to do.
pub enum Command {
    /// Load what the settings ask for, or one version.
    Load {
        name: String,
        version: Option<u64>,
        done: Done,
    },
    Unload {
        name: String,
        done: Done,
    },
    /// Let a version see the model's traffic without answering.
    Shadow {
        name: String,
        version: u64,
        wishes: Wishes,
        done: Done,
    },
    /// End a model's shadow. What it still had to tell is the answer.
    EndShadow {
        name: String,
        done: oneshot::Sender<Result<Value, Status>>,
    },
    /// Let a version answer a share of the callers, and compare what it answers.
    Canary {
        name: String,
        version: u64,
        share: f64,
        salt: String,
        wishes: Wishes,
        done: Done,
    },
    /// End a model's canary. What its comparison still had to tell is the answer.
    EndCanary {
        name: String,
        done: oneshot::Sender<Result<Value, Status>>,
    },
    /// Settings were read anew.
    Configure(Box<Config>),
    /// A model's device is gone.
    Lost(ModelId),
    /// A model's engine says something else of itself.
    Engine(Weak<Model>),
    Stop,
}

/// Asks the steward; anyone may hold one.
#[derive(Default)]
pub struct Lifecycle {
    commands: Arc<OnceLock<Sender<Command>>>,
}

impl Lifecycle {
    pub fn send(&self, command: Command) {
        if let Some(commands) = self.commands.get() {
            // After the steward's end there is nobody to ask.
            let _ = commands.send(command);
        }
    }

    /// Asks, and waits for the answer.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Command,
    ) -> Result<T, Status> {
        let (done, answer) = oneshot::channel();
        self.send(command(done));
        let stopping = || Status::new(Code::Unavailable, "the server is shutting down");
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

struct Steward {
    server: Arc<Server>,
    config: Config,
    commands: Receiver<Command>,
    retiring: Vec<Retiring>,
    /// Models of lost devices, and when to open them again.
    reopen: Vec<(ModelId, Instant)>,
    shadows: Shadows,
    canaries: Canaries,
}

/// Starts the steward.
pub fn start(server: &Arc<Server>) -> std::io::Result<JoinHandle<()>> {
    let (sender, commands) = std::sync::mpsc::channel();
    let lost = sender.clone();
    server.executor.tell_lost(Box::new(move |model| {
        let _ = lost.send(Command::Lost(model));
    }));
    let _ = server.lifecycle.commands.set(sender);
    let steward = Steward {
        server: Arc::clone(server),
        config: server.config.clone(),
        commands,
        retiring: Vec::new(),
        reopen: Vec::new(),
        shadows: Shadows::default(),
        canaries: Canaries::default(),
    };
    let thread = std::thread::Builder::new().name("steward".into());
    thread.spawn(move || steward.work())
}

impl Steward {
    fn work(mut self) {
        engine::tell_all(&self.server);
        let mut watched = Instant::now();
        loop {
            let watch = Duration::from_secs(self.config.watch_seconds);
            let mut pause = Duration::from_secs(3_600);
            if !self.retiring.is_empty() {
                pause = RETIRE_EVERY;
            }
            if !watch.is_zero() {
                pause = pause.min(watch.saturating_sub(watched.elapsed()));
            }
            if let Some(first) = self.reopen.iter().map(|r| r.1).min() {
                pause = pause.min(first.saturating_duration_since(Instant::now()));
            }
            match self.commands.recv_timeout(pause) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => self.carry_out(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !watch.is_zero() && watched.elapsed() >= watch {
                watched = Instant::now();
                self.rescan();
            }
            self.retire();
            self.reopen();
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Load {
                name,
                version,
                done,
            } => {
                let result = self.load_family(&name, version);
                // The caller may have gone; what was loaded stays.
                let _ = done.send(result);
            }
            Command::Unload { name, done } => {
                let _ = done.send(self.unload(&name));
            }
            Command::Shadow {
                name,
                version,
                wishes,
                done,
            } => {
                let _ = done.send(self.shadow(&name, version, wishes));
            }
            Command::EndShadow { name, done } => {
                let _ = done.send(self.shadows.end(&name, "as asked"));
            }
            Command::Canary {
                name,
                version,
                share,
                salt,
                wishes,
                done,
            } => {
                let _ = done.send(self.canary(&name, version, (share, &salt), wishes));
            }
            Command::EndCanary { name, done } => {
                let _ = done.send(self.end_canary(&name));
            }
            Command::Configure(config) => self.configure(*config),
            Command::Lost(id) => {
                if self.reopen.iter().all(|r| r.0 != id) {
                    self.reopen.push((id, Instant::now() + REOPEN_AFTER));
                }
            }
            Command::Engine(model) => engine::tell(&model),
            Command::Stop => {}
        }
    }

    /// Changes the table: the new one is a copy, so that a call sees all of a change or nothing.
    fn publish(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.server.table.load());
        change(&mut table);
        self.server.table.store(Arc::new(table));
        self.server.health.send_modify(|changes| *changes += 1);
    }

    fn set_state(&self, name: &str, version: u64, state: State) {
        self.publish(|table| {
            let family = table.families.entry(name.into()).or_default();
            family.versions.insert(version, state);
        });
    }

    fn state(&self, name: &str, version: u64) -> Option<State> {
        let table = self.server.table.load();
        table.families.get(name)?.versions.get(&version).cloned()
    }

    /// The version that answers for a model.
    fn answering(&self, name: &str) -> Result<Arc<Model>, Status> {
        let table = self.server.table.load();
        let found = table.families.get(name).and_then(|f| f.current.clone());
        found.ok_or_else(|| {
            let text = format!("model '{name}' does not answer: nothing to compare");
            Status::new(Code::Unavailable, text)
        })
    }

    fn shadow(&mut self, name: &str, version: u64, wishes: Wishes) -> Result<(), Status> {
        let incumbent = self.answering(name)?;
        let other = (version, Purpose::Shadow);
        self.shadows
            .start(&self.server, &self.config, &incumbent, other, wishes)
    }

    fn load_family(&mut self, name: &str, version: Option<u64>) -> Result<(), Status> {
        if !is_name(name) {
            return Err(Status::invalid(format!("'{name}' is not a model's name")));
        }
        let names = by_name(&self.config.models);
        let names = names.map_err(|e| Status::new(Code::Internal, e))?;
        let present = names.get(name).cloned().unwrap_or_default();
        if present.is_empty() {
            let text = format!("the repository holds no model '{name}'");
            return Err(Status::new(Code::NotFound, text));
        }
        let asked = match version {
            Some(version) if !present.contains(&version) => {
                let text = format!("the repository holds no version {version} of model '{name}'");
                return Err(Status::new(Code::NotFound, text));
            }
            Some(version) => vec![version],
            None => {
                let asked = asked(&self.server.gate, &self.config, name, &present);
                asked.map_err(|e| Status::new(Code::Unavailable, e))?
            }
        };
        self.note_unloaded(name, &present);
        let mut failure = None;
        for version in &asked {
            if let Err(error) = self.load_version(name, *version) {
                failure.get_or_insert(format!("model '{name}' version {version}: {error}"));
            }
        }
        let loaded: Vec<u64> = asked
            .into_iter()
            .filter(|v| {
                matches!(
                    self.state(name, *v),
                    Some(State::Live(_) | State::Standby(_))
                )
            })
            .collect();
        if let Some(newest) = loaded.last().copied() {
            // One version by name: beside the others, if the settings ask for several.
            let several = self.server.gate.is_none()
                && self.config.settings(name).versions != Versions::Latest(1);
            self.go_live(name, &loaded, newest, version.is_some() && several);
        }
        failure.map_or(Ok(()), |text| Err(Status::new(Code::Internal, text)))
    }

    /// Versions that are in the repository and were not known.
    fn note_unloaded(&self, name: &str, present: &[u64]) {
        let table = self.server.table.load();
        let family = table.families.get(name);
        let known = |v: &u64| family.is_some_and(|f| f.versions.contains_key(v));
        let fresh: Vec<u64> = present.iter().copied().filter(|v| !known(v)).collect();
        drop(table);
        for version in fresh {
            self.set_state(name, version, State::Unloaded);
        }
    }

    /// Makes a version resident; one that is live or on standby is so already.
    fn load_version(&mut self, name: &str, version: u64) -> Result<(), String> {
        let before = self.state(name, version);
        if let Some(State::Live(model) | State::Standby(model)) = before {
            // Permitted when it was loaded; a revocation may have come since.
            let digest = &model.report.digest;
            return check(&self.server.gate, Purpose::Serve, name, digest);
        }
        self.make_resident(name, version, Purpose::Serve).map(drop)
    }

    fn make_resident(
        &mut self,
        name: &str,
        version: u64,
        purpose: Purpose,
    ) -> Result<Arc<Model>, String> {
        self.set_state(name, version, State::Loading);
        let loaded = self.open(name, version, purpose);
        let place = format!("{name}/{version}");
        match loaded {
            Ok(loaded) => {
                let took = loaded.report.load_ms;
                let model = add(&self.server, &self.config, name, version, loaded);
                event(
                    "model_loaded",
                    &[("model", place.into()), ("load_ms", took.into())],
                );
                // Resident, and not yet answering: that is the next step's.
                self.set_state(name, version, State::Standby(Arc::clone(&model)));
                Ok(model)
            }
            Err(error) => {
                event(
                    "model_failed",
                    &[("model", place.into()), ("error", error.as_str().into())],
                );
                self.set_state(name, version, State::Failed(error.clone()));
                Err(error)
            }
        }
    }

    /// Opens a version that may serve, on a thread that gives way to calls.
    fn open(&self, name: &str, version: u64, purpose: Purpose) -> Result<Loaded, String> {
        let (gate, config) = (&self.server.gate, self.config.clone());
        let digest = permitted(gate, &config, purpose, name, version)?;
        let name = name.to_owned();
        aside("load", move || read(&config, &name, version, digest)).and_then(|r| r)
    }

    /// Lets resident versions answer in place of the others, in one step (see `succession`).
    fn go_live(&mut self, name: &str, live: &[u64], current: u64, keep: bool) {
        let table = self.server.table.load();
        let Some(family) = table.families.get(name) else {
            return;
        };
        let mut family = family.clone();
        drop(table);
        let before = family.current.as_ref().map(|m| m.version);
        let standing = |state: &State| match state {
            State::Live(_) => Standing::Live,
            State::Standby(_) => Standing::Standby,
            _ => Standing::Absent,
        };
        let versions = family.versions.iter().map(|(v, s)| (*v, standing(s)));
        let fates = succeed(&versions.collect(), before, live, current, keep);
        let mut retire = Vec::new();
        for (version, state) in &mut family.versions {
            let (State::Live(model) | State::Standby(model)) = &*state else {
                continue;
            };
            let model = Arc::clone(model);
            match fates.get(version).copied().unwrap_or(Fate::Same) {
                Fate::Live => *state = State::Live(model),
                Fate::Standby => *state = State::Standby(model),
                Fate::Retire => {
                    retire.push(model);
                    *state = State::Draining;
                }
                Fate::Same => {}
            }
        }
        let Some(State::Live(model)) = family.versions.get(&current) else {
            return;
        };
        family.current = Some(Arc::clone(model));
        self.publish(|table| {
            table.families.insert(name.into(), family);
        });
        if before != Some(current) {
            // Its version was resident only for this; `succeed` has said what becomes of it.
            drop(self.canaries.end(name, "another version answers"));
            self.shadows.forget(name, "another version answers");
            let before = before.map_or("none".to_owned(), |v| v.to_string());
            event(
                "model_live",
                &[
                    ("model", name.into()),
                    ("version", current.to_string().into()),
                    ("before", before.into()),
                ],
            );
        }
        self.let_go(retire, true);
    }

    fn rescan(&mut self) {
        let names = match by_name(&self.config.models) {
            Ok(names) => names,
            Err(error) => return event("repository_unreadable", &[("error", error.into())]),
        };
        for (name, present) in names {
            let table = self.server.table.load();
            let family = table.families.get(&name);
            let known = |v: &u64| family.is_some_and(|f| f.versions.contains_key(v));
            // Governance tells what it swaps; a folder that appears changes nothing.
            let settings = self.config.settings(&name);
            let asked = match self.server.gate {
                None => settings.versions.pick(&present),
                Some(_) => Vec::new(),
            };
            // Only what was not there before: a version that was rolled back stays so.
            let fresh = asked.iter().any(|v| !known(v));
            drop(table);
            if fresh {
                // The error is in the index and in the log.
                let _ = self.load_family(&name, None);
            }
        }
    }

    fn configure(&mut self, config: Config) {
        let changed = self.server.config.fixed_keys_changed(&config);
        if !changed.is_empty() {
            let keys = changed.join(", ");
            event("restart_needed", &[("keys", keys.into())]);
        }
        if let Err(error) = self.server.admit_by(&config) {
            return event("configuration_refused", &[("error", error.into())]);
        }
        self.config = config;
        let table = self.server.table.load_full();
        for model in table.families.values().flat_map(|f| f.versions.values()) {
            if let State::Live(model) | State::Standby(model) = model {
                let settings = executor_settings(&self.config, &model.name, model.max_batch);
                let objective = settings.objective;
                self.server.executor.set(model.id, settings);
                let relaxed = std::sync::atomic::Ordering::Relaxed;
                model.objective.store(objective, relaxed);
            }
        }
        event("configured", &[]);
        self.rescan();
    }
}
