//! A canary: a candidate answers a share of the callers, always the same ones, in place of the model
//! that answers the others. A shadow of its own compares its answers with that model's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::log::event;
use super::table::Model;
use crate::keyed::{Keyed, key};

/// The candidate, and who gets its answers.
pub struct Canary {
    pub model: Arc<Model>,
    pub share: f64,
    keyed: Keyed,
}

impl Canary {
    /// `share` of all keys, 0 to 1; `salt` is 32 hexadecimal digits.
    ///
    /// # Errors
    /// A sentence that names the value.
    pub fn new(model: Arc<Model>, share: f64, salt: &str) -> Result<Self, String> {
        Ok(Self {
            model,
            share: checked(share)?,
            keyed: keyed(salt)?,
        })
    }

    /// Whether the caller with this key gets its answers. Who has no key does not; who is in a share
    /// is in every larger one.
    pub fn takes(&self, key: &str) -> bool {
        !key.is_empty() && is_within(self.share, self.keyed.hash(&[key.as_bytes()]))
    }

    pub fn told(&self) -> Value {
        json!({
            "version": self.model.version,
            "digest": self.model.report.digest,
            "share": self.share,
        })
    }
}

fn checked(share: f64) -> Result<f64, String> {
    if (0.0..=0.5).contains(&share) && share > 0.0 {
        return Ok(share);
    }
    Err(format!(
        "share is {share}, must be more than 0 and at most 0.5"
    ))
}

fn keyed(salt: &str) -> Result<Keyed, String> {
    let salt = key(salt).ok_or("salt must be 32 hexadecimal digits")?;
    Ok(Keyed::new(salt))
}

fn is_within(share: f64, hash: u64) -> bool {
    (hash as f64) < share * u64::MAX as f64
}

/// What answers a share of its callers' requests otherwise, by the model's name.
#[derive(Default)]
pub struct Canaries {
    running: BTreeMap<String, Running>,
}

struct Running {
    incumbent: Arc<Model>,
    candidate: Arc<Model>,
    /// It was resident before, as what a rollback goes back to.
    kept: bool,
}

impl Canaries {
    pub fn is_running(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    pub fn begin(&mut self, incumbent: Arc<Model>, canary: Canary, kept: bool) {
        let name = incumbent.name.clone();
        event(
            "canary_started",
            &[
                ("model", name.as_str().into()),
                ("version", canary.model.version.to_string().into()),
                ("share", canary.share.to_string().into()),
            ],
        );
        let candidate = Arc::clone(&canary.model);
        incumbent.canary.store(Some(Arc::new(canary)));
        let running = Running {
            incumbent,
            candidate,
            kept,
        };
        self.running.insert(name, running);
    }

    /// Nobody gets its answers any more. Returns the candidate if nothing else wants it resident.
    pub fn end(&mut self, name: &str, why: &str) -> Option<Arc<Model>> {
        let running = self.running.remove(name)?;
        running.incumbent.canary.store(None);
        event(
            "canary_ended",
            &[("model", name.into()), ("why", why.into())],
        );
        (!running.kept).then_some(running.candidate)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_or_out_for_good_and_in_every_larger_share() {
        let keyed = keyed("000102030405060708090a0b0c0d0e0f").unwrap();
        let within = |share: f64| -> Vec<bool> {
            let keys = (0..10_000).map(|n| format!("user-{n}"));
            keys.map(|k| is_within(share, keyed.hash(&[k.as_bytes()])))
                .collect()
        };
        let (few, more) = (within(0.05), within(0.2));
        let count = |found: &[bool]| found.iter().filter(|f| **f).count();
        assert!((400..600).contains(&count(&few)), "{}", count(&few));
        assert!((1_850..2_150).contains(&count(&more)), "{}", count(&more));
        assert!(few.iter().zip(&more).all(|(f, m)| *m || !*f));
        assert_eq!(few, within(0.05));
    }

    #[test]
    fn what_is_no_share_or_no_salt_is_refused() {
        for bad in [0.0, -0.1, 0.51, f64::NAN] {
            assert!(checked(bad).unwrap_err().contains("share"));
        }
        assert!(keyed("00").is_err());
    }
}
