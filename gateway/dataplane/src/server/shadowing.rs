//! Which models have a shadow: started, told of and ended by the steward.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Server;
use super::loading::{aside, logged, permitted};
use super::log::event;
use super::table::Model;
use crate::config::Config;
use crate::model::gate::Purpose;
use crate::model::load::{How, load};
use crate::priority::{AtWork, step_back};
use crate::shadow::{Decider, Running, Side, Wishes, Written, start};
use crate::wire::status::{Code, Status};

/// The shadows that run, by the model's name.
#[derive(Default)]
pub struct Shadows {
    running: BTreeMap<String, (Arc<Model>, Running)>,
}

impl Shadows {
    /// Opens another version, and `answering` once more for the comparison, and lets it see what
    /// `answering` answers.
    ///
    /// # Errors
    /// UNAVAILABLE or INVALID_ARGUMENT with a sentence; nothing has changed then.
    pub fn start(
        &mut self,
        server: &Server,
        config: &Config,
        answering: &Arc<Model>,
        (version, purpose): (u64, Purpose),
        wishes: Wishes,
    ) -> Result<(), Status> {
        let refuse = |text: String| Err(Status::new(Code::Unavailable, text));
        wishes.check().map_err(Status::invalid)?;
        let name = answering.name.as_str();
        if answering.version == version {
            return refuse(format!(
                "version {version} of model '{name}' answers itself"
            ));
        }
        if let Some((_, running)) = self.running.get(name) {
            let other = &running.route.wishes.run;
            return refuse(format!(
                "model '{name}' has a shadow already, run '{other}'"
            ));
        }
        let candidate = permitted(&server.gate, config, purpose, name, version);
        let candidate = candidate.map_err(|e| {
            let text = format!("model '{name}' version {version}: {e}");
            Status::new(Code::Unavailable, text)
        })?;
        let open = |version: u64, permitted: Option<String>| {
            let (path, settings) = (config.models.clone(), config.settings(name));
            let path = path.join(name).join(version.to_string());
            let (model, engines) = (name.to_owned(), config.engines.clone());
            aside("load", move || {
                let how = How {
                    name: &model,
                    lanes: 1,
                    settings: &settings,
                    engines: &engines,
                    permitted: permitted.as_deref(),
                };
                let loaded = load(&path, how)?;
                let text = loaded.verified.contract.text.clone();
                let tokenizer =
                    text.map(|t| loaded.verified.file(&t.tokenizer).map(<[u8]>::to_vec));
                let tokenizer = tokenizer.transpose()?;
                let decider = Decider::of(&loaded.verified.contract)?;
                let lane = loaded
                    .lanes
                    .into_iter()
                    .next()
                    .ok_or("no lane was opened")?;
                let side = Side {
                    contract: loaded.verified.contract,
                    lane,
                    max_batch: loaded.max_batch,
                    decider,
                    digest: loaded.report.digest,
                    version,
                };
                Ok((side, tokenizer))
            })
            .and_then(|r| r)
            .map_err(|e: String| format!("model '{name}' version {version}: {e}"))
        };
        // What answers was permitted when it was loaded: the same bytes are once more.
        let own = server
            .gate
            .as_ref()
            .map(|_| answering.report.digest.clone());
        let opened = open(version, candidate)
            .and_then(|candidate| Ok((candidate, open(answering.version, own)?)));
        let started = opened.and_then(|((candidate, its), (own, tokenizer))| {
            if its != tokenizer {
                return Err("the candidate's tokenizer is another one".into());
            }
            let model = logged(config, name, &candidate.digest, &candidate.contract);
            let written = server.decisions.clone().zip(model);
            let written = written.map(|(log, model)| Written {
                log,
                model: Arc::new(model),
            });
            let backlog = server.executor.backlog();
            start(wishes, own, candidate, backlog, written)
        });
        match started {
            Ok(running) => {
                answering.shadow.store(Some(Arc::clone(&running.route)));
                let place = format!("{name}/{version}");
                let run = running.route.wishes.run.as_str().into();
                event("shadow_started", &[("model", place.into()), ("run", run)]);
                let answering = Arc::clone(answering);
                self.running
                    .insert(answering.name.clone(), (answering, running));
                Ok(())
            }
            Err(text) => refuse(text),
        }
    }

    /// Ends a shadow; what it still had to tell is returned.
    ///
    /// # Errors
    /// UNAVAILABLE if there is none.
    pub fn end(&mut self, name: &str, why: &str) -> Result<Value, Status> {
        let Some((model, running)) = self.running.remove(name) else {
            let text = format!("model '{name}' has no shadow");
            return Err(Status::new(Code::Unavailable, text));
        };
        model.shadow.store(None);
        let told = running.route.told();
        let run = running.route.wishes.run.as_str().into();
        event(
            "shadow_ended",
            &[("model", name.into()), ("run", run), ("why", why.into())],
        );
        // Its thread may be in the middle of a batch, and get a core when nobody else wants it.
        let thread = std::thread::Builder::new().name("free".into());
        let freed = thread.spawn(move || {
            step_back();
            let _at_work = AtWork::begin();
            running.stop();
        });
        if let Err(error) = freed {
            event("free_failed", &[("error", error.to_string().into())]);
        }
        Ok(told)
    }

    /// Ends a shadow, if there is one, because what it is compared with changes.
    pub fn forget(&mut self, name: &str, why: &str) {
        if self.running.contains_key(name) {
            // It is there, so this cannot fail; what it had to tell is of no use to anybody.
            drop(self.end(name, why));
        }
    }
}
