//! From a repository to models that answer: what the settings ask for is read, warmed beside the
//! traffic, and given to the executor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Server;
use super::table::{Family, Model, State, Table};
use crate::config::Config;
use crate::courtesy::{Courtesy, GiveWay};
use crate::decisions::Logged;
use crate::executor::{NewModel, Settings};
use crate::model::contract::Contract;
use crate::model::directory::claimed_digest;
use crate::model::gate::{MaybeGate, Purpose};
use crate::model::load::{How, Loaded, load};
use crate::model::repository::scan;
use crate::priority::{AtWork, step_aside};
use crate::sched::admission::Limits;
use crate::shadow::Door;
use crate::wire::response::Template;

/// Loads what the repository and the settings say, for a server that is starting.
pub fn load_all(server: &Server) -> Result<Table, String> {
    let mut table = Table::default();
    for (name, present) in by_name(&server.config.models)? {
        let (gate, config) = (&server.gate, &server.config);
        let (asked, refusal) = match asked(gate, config, &name, &present) {
            Ok(asked) => (asked, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let newest = present.last().copied();
        let mut family = Family::default();
        for version in present {
            let state = if asked.contains(&version) {
                let permitted = permitted(gate, config, Purpose::Serve, &name, version);
                let loaded = permitted.and_then(|digest| read(config, &name, version, digest));
                match loaded.map(|l| add(server, &server.config, &name, version, l)) {
                    Ok(model) => State::Live(model),
                    Err(error) => State::Failed(error),
                }
            } else if let Some(error) = refusal.clone().filter(|_| Some(version) == newest) {
                State::Failed(error)
            } else {
                State::Unloaded
            };
            family.versions.insert(version, state);
        }
        let newest = family.live().next_back().cloned();
        family.current = newest;
        table.families.insert(name, family);
    }
    Ok(table)
}

pub fn by_name(root: &Path) -> Result<BTreeMap<String, Vec<u64>>, String> {
    let mut names: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for found in scan(root)? {
        names.entry(found.name).or_default().push(found.version);
    }
    Ok(names)
}

/// Which versions are to answer: what governance says is live, or else what the settings pick.
///
/// # Errors
/// A sentence: governance cannot say, or what is live is not in the repository.
pub fn asked(
    gate: &MaybeGate,
    config: &Config,
    name: &str,
    present: &[u64],
) -> Result<Vec<u64>, String> {
    let Some(gate) = gate else {
        return Ok(config.settings(name).versions.pick(present));
    };
    let Some(live) = gate.live(name)? else {
        return Ok(Vec::new());
    };
    let is_live = |v: &&u64| claimed_digest(&place(config, name, **v)).is_ok_and(|d| d == live);
    match present.iter().find(is_live) {
        Some(version) => Ok(vec![*version]),
        None => Err(format!(
            "{live} is live, and the repository does not hold it"
        )),
    }
}

/// The digest of a version, if somebody has to permit it and does; `None` if nobody has to.
///
/// Asked on a thread of ordinary priority: the answer takes Python's lock, and a thread at idle
/// priority that is taken off its core must not hold it.
///
/// # Errors
/// A sentence that says why not.
pub fn permitted(
    gate: &MaybeGate,
    config: &Config,
    purpose: Purpose,
    name: &str,
    version: u64,
) -> Result<Option<String>, String> {
    let Some(gate) = gate else {
        return Ok(None);
    };
    let digest = claimed_digest(&place(config, name, version))?;
    gate.may(purpose, name, &digest)?;
    Ok(Some(digest))
}

fn place(config: &Config, name: &str, version: u64) -> PathBuf {
    config.models.join(name).join(version.to_string())
}

/// Verifies, opens, probes and warms a version. Touches nothing that calls use.
pub fn read(
    config: &Config,
    name: &str,
    version: u64,
    permitted: Option<String>,
) -> Result<Loaded, String> {
    let how = How {
        name,
        lanes: config.lanes,
        settings: &config.settings(name),
        engines: &config.engines,
        permitted: permitted.as_deref(),
    };
    load(&place(config, name, version), how)
}

/// Gives a loaded version to the executor.
pub fn add(
    server: &Server,
    config: &Config,
    name: &str,
    version: u64,
    loaded: Loaded,
) -> Arc<Model> {
    let settings = config.settings(name);
    let contract = loaded.verified.contract;
    let number = version.to_string();
    let digest = &loaded.report.digest;
    let template = Template::new(name, &number, digest, &contract.outputs);
    let metrics = server.metrics.model(name, &number, loaded.max_batch);
    let shadow = Door::default();
    let classes = loaded.costs.iter().map(|(longest, _)| *longest).collect();
    let id = server.executor.add(NewModel {
        contract: contract.clone(),
        lanes: loaded.lanes,
        costs: loaded.costs,
        settings: executor_settings(config, name, loaded.max_batch),
        metrics: Arc::clone(&metrics),
        shadow: Arc::clone(&shadow),
    });
    // The contract was checked: every output has its values.
    let row = |f: &crate::model::contract::Fallback| {
        let outputs = contract.outputs.iter();
        let row = outputs.map(|o| {
            o.datatype
                .encode(f.outputs.get(&o.name).map_or(&[], Vec::as_slice))
        });
        row.collect::<Result<Vec<_>, _>>().ok()
    };
    let logged = logged(config, name, digest, &contract).map(Arc::new);
    let model = Arc::new(Model {
        id,
        name: name.into(),
        version,
        template,
        max_batch: loaded.max_batch,
        classes,
        text: loaded.text.map(Arc::new),
        fallback: contract.fallback.as_ref().and_then(row),
        contract,
        objective: settings.objective().into(),
        metrics,
        logged,
        shadow,
        canary: ArcSwapOption::empty(),
        report: loaded.report,
        standings: loaded.standings,
    });
    server.lifecycle.watch(&model);
    model
}

/// What the decision log has to know of a version; `None` without a log.
pub fn logged(config: &Config, name: &str, digest: &str, contract: &Contract) -> Option<Logged> {
    let log = config.decision_log.as_ref()?;
    Some(Logged {
        model: name.into(),
        digest: digest.into(),
        inputs: contract.inputs.clone(),
        outputs: contract.outputs.clone(),
        keep: config.settings(name).log_inputs.unwrap_or(log.inputs),
    })
}

pub fn executor_settings(config: &Config, name: &str, max_batch: usize) -> Settings {
    let settings = config.settings(name);
    Settings {
        limits: Limits {
            max_batch,
            queue_rows: settings.queue_rows,
        },
        wait: settings.wait(),
        objective: settings.objective(),
    }
}

/// Runs something on a thread that gives way to those that serve: by its priority, and by looking up
/// in between.
pub fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let thread = std::thread::Builder::new().name(name.into());
    let thread = thread.spawn(move || {
        step_aside();
        let _at_work = AtWork::begin();
        let _courtesy = Courtesy::begin(GiveWay::Always);
        work()
    });
    let thread = thread.map_err(|e| format!("no thread: {e}"))?;
    thread.join().map_err(|_| "loading panicked".to_owned())
}
