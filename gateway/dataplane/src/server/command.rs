//! What the processes beside the server may ask of the data plane, as JSON over its socket.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::lifecycle::Command;
use crate::shadow::Wishes;
use crate::wire::status::Status;

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    /// Load a version, if it is not resident, and let it answer in place of the others.
    Swap {
        model: String,
        version: u64,
    },
    /// Take a model away: nothing answers for it.
    Unload {
        model: String,
    },
    /// Let a version see the model's traffic.
    Shadow {
        model: String,
        version: u64,
        wishes: Wishes,
    },
    EndShadow {
        model: String,
    },
    /// Let a version answer a share of the callers.
    Canary {
        model: String,
        version: u64,
        share: f64,
        salt: String,
        wishes: Wishes,
    },
    EndCanary {
        model: String,
    },
}

/// Carries out one command.
///
/// # Errors
/// A status whose sentence says what is wrong; then nothing has changed.
pub async fn carry_out(server: &Server, body: Bytes) -> Result<Value, Status> {
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|e| Status::invalid(format!("this is no command: {e}")))?;
    let lifecycle = &server.lifecycle;
    match asked {
        Asked::Swap { model, version } => {
            let load = |done| Command::Load {
                name: model,
                version: Some(version),
                done,
            };
            lifecycle.ask(load).await.map(|()| json!({}))
        }
        Asked::Unload { model } => {
            let unload = |done| Command::Unload { name: model, done };
            lifecycle.ask(unload).await.map(|()| json!({}))
        }
        Asked::Shadow {
            model,
            version,
            wishes,
        } => {
            let shadow = |done| Command::Shadow {
                name: model,
                version,
                wishes,
                done,
            };
            lifecycle.ask(shadow).await.map(|()| json!({}))
        }
        Asked::EndShadow { model } => {
            let end = |done| Command::EndShadow { name: model, done };
            lifecycle.ask(end).await
        }
        Asked::Canary {
            model,
            version,
            share,
            salt,
            wishes,
        } => {
            let canary = |done| Command::Canary {
                name: model,
                version,
                share,
                salt,
                wishes,
                done,
            };
            lifecycle.ask(canary).await.map(|()| json!({}))
        }
        Asked::EndCanary { model } => {
            let end = |done| Command::EndCanary { name: model, done };
            lifecycle.ask(end).await
        }
    }
}
