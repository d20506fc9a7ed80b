//! The repository calls: what is there, load, unload.

use std::collections::HashMap;

use bytes::Bytes;

use super::callers::Rights;
use super::lifecycle::Command;
use super::metadata::decode;
use super::{Peer, Server};
use crate::config::RepositoryCalls;
use crate::wire::framing::frame;
use crate::wire::inference as pb;
use crate::wire::inference::model_repository_parameter::ParameterChoice;
use crate::wire::status::{Code, Status};

pub fn index(server: &Server, rights: &Rights, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::RepositoryIndexRequest = decode(message, "RepositoryIndexRequest")?;
    one_repository(&request.repository_name)?;
    let table = server.table.load();
    let mut models = Vec::new();
    let mine = table.families.iter();
    for (name, family) in mine.filter(|(name, _)| rights.may_use(name).is_ok()) {
        for (version, state) in &family.versions {
            if request.ready && state.index_word() != "READY" {
                continue;
            }
            models.push(pb::repository_index_response::ModelIndex {
                name: name.clone(),
                version: version.to_string(),
                state: state.index_word().into(),
                reason: state.reason().into(),
            });
        }
    }
    Ok(frame(&pb::RepositoryIndexResponse { models }))
}

pub async fn load(
    server: &Server,
    rights: &Rights,
    peer: &Peer,
    message: Bytes,
) -> Result<Bytes, Status> {
    allowed(server, rights, peer)?;
    let request: pb::RepositoryModelLoadRequest = decode(message, "RepositoryModelLoadRequest")?;
    one_repository(&request.repository_name)?;
    let version = version(&request.parameters)?;
    let name = request.model_name;
    rights.may_use(&name)?;
    let ask = |done| Command::Load {
        name,
        version,
        done,
    };
    server.lifecycle.ask(ask).await?;
    Ok(frame(&pb::RepositoryModelLoadResponse {}))
}

pub async fn unload(
    server: &Server,
    rights: &Rights,
    peer: &Peer,
    message: Bytes,
) -> Result<Bytes, Status> {
    allowed(server, rights, peer)?;
    let request: pb::RepositoryModelUnloadRequest =
        decode(message, "RepositoryModelUnloadRequest")?;
    one_repository(&request.repository_name)?;
    let name = request.model_name;
    rights.may_use(&name)?;
    server
        .lifecycle
        .ask(|done| Command::Unload { name, done })
        .await?;
    Ok(frame(&pb::RepositoryModelUnloadResponse {}))
}

/// Where callers have names it is their right; where they have none, who is on this machine may.
fn allowed(server: &Server, rights: &Rights, peer: &Peer) -> Result<(), Status> {
    let denied = |text: &str| Err(Status::new(Code::PermissionDenied, text));
    if server.gate.is_some() {
        return denied("models change by governance here: sluicegate promote, sluicegate rollback");
    }
    match server.config.repository_calls {
        RepositoryCalls::Off => denied("loading and unloading by call is off (repository_calls)"),
        RepositoryCalls::Local if rights.repository => Ok(()),
        RepositoryCalls::Local if !rights.name.is_empty() => {
            denied("this caller may not load or unload models ([caller.NAME] repository)")
        }
        RepositoryCalls::Local if peer.is_local => Ok(()),
        RepositoryCalls::Local => {
            denied("models are loaded and unloaded only from the machine that serves them")
        }
    }
}

fn one_repository(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Ok(());
    }
    let text = format!("there is no repository '{name}'; leave the name empty for the only one");
    Err(Status::new(Code::NotFound, text))
}

/// The version that a load asks for. Anything that would change what was signed is refused.
fn version(
    parameters: &HashMap<String, pb::ModelRepositoryParameter>,
) -> Result<Option<u64>, Status> {
    let mut version = None;
    for (name, value) in parameters {
        match (name.as_str(), &value.parameter_choice) {
            ("version", Some(ParameterChoice::Int64Param(n))) if *n > 0 => {
                version = u64::try_from(*n).ok();
            }
            ("version", Some(ParameterChoice::StringParam(text)))
                if text.parse().is_ok_and(|n: u64| n > 0) =>
            {
                version = text.parse().ok();
            }
            ("version", _) => {
                return Err(Status::invalid(
                    "parameter 'version' must be a version's number (int64_param)",
                ));
            }
            (other, _) => {
                return Err(Status::invalid(format!(
                    "parameter '{other}' would change the model as it was packed; only 'version' is understood"
                )));
            }
        }
    }
    Ok(version)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(name: &str, choice: ParameterChoice) -> Result<Option<u64>, Status> {
        let value = pb::ModelRepositoryParameter {
            parameter_choice: Some(choice),
        };
        version(&[(name.to_owned(), value)].into())
    }

    #[test]
    fn a_version_is_a_positive_number_and_overrides_are_refused() {
        assert_eq!(version(&HashMap::new()), Ok(None));
        assert_eq!(read("version", ParameterChoice::Int64Param(3)), Ok(Some(3)));
        assert_eq!(
            read("version", ParameterChoice::StringParam("4".into())),
            Ok(Some(4))
        );
        assert!(read("version", ParameterChoice::Int64Param(0)).is_err());
        let error = read("config", ParameterChoice::StringParam("{}".into())).unwrap_err();
        assert!(error.message.contains("'config' would change"), "{error}");
        assert!(
            read(
                "file:1/model.onnx",
                ParameterChoice::BytesParam(Bytes::new())
            )
            .is_err()
        );
    }
}
