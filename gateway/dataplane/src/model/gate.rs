//! Who says which models may be loaded: governance, asked at every load, or nobody.

use std::sync::Arc;

/// What a model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To answer, now or after a rollback.
    Serve,
    /// To see traffic without answering.
    Shadow,
    /// To answer a share of the callers before it answers all.
    Canary,
}

/// Governance, as the data plane sees it. Errors are sentences.
pub trait Gate: Send + Sync {
    /// The digest that should answer for a model; `None` if nothing was ever promoted.
    fn live(&self, model: &str) -> Result<Option<String>, String>;

    /// Whether the model with this digest may be loaded for this. The bytes that are loaded are
    /// those that the digest is of.
    fn may(&self, purpose: Purpose, model: &str, digest: &str) -> Result<(), String>;
}

/// `None` where the server was told to serve what nobody signed for.
pub type MaybeGate = Option<Arc<dyn Gate>>;

/// Asks, if there is somebody to ask.
pub fn check(gate: &MaybeGate, purpose: Purpose, model: &str, digest: &str) -> Result<(), String> {
    match gate {
        Some(gate) => gate.may(purpose, model, digest),
        None => Ok(()),
    }
}
