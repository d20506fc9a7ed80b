//! grpc.health.v1: Check, List and Watch, for the server (empty name), the inference service and each
//! model by its name.

use std::sync::Arc;

use bytes::Bytes;

use super::call::{Answer, Call};
use super::metadata::decode;
use super::{Server, Stage};
use crate::wire::framing::frame;
use crate::wire::health::health_check_response::ServingStatus;
use crate::wire::health::{HealthCheckRequest, HealthCheckResponse, HealthListResponse};
use crate::wire::status::{Code, Status};

fn status(server: &Server, service: &str) -> Option<ServingStatus> {
    let serving = match service {
        "" | "inference.GRPCInferenceService" => server.ready(),
        model => server.table.load().families.get(model)?.current.is_some() && !server.is_leaving(),
    };
    Some(if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    })
}

/// Every service and model by name.
pub fn list(server: &Server) -> Bytes {
    let table = server.table.load();
    let models = table.families.keys().map(String::as_str);
    let names = ["", "inference.GRPCInferenceService"]
        .into_iter()
        .chain(models);
    let status_of = |name: &str| {
        let status = status(server, name).unwrap_or(ServingStatus::ServiceUnknown);
        let status = status.into();
        (name.to_owned(), HealthCheckResponse { status })
    };
    frame(&HealthListResponse {
        statuses: names.map(status_of).collect(),
    })
}

fn response(status: ServingStatus) -> Bytes {
    frame(&HealthCheckResponse {
        status: status.into(),
    })
}

pub fn check(server: &Server, message: Bytes) -> Result<Bytes, Status> {
    let request: HealthCheckRequest = decode(message, "HealthCheckRequest")?;
    status(server, &request.service)
        .map(response)
        .ok_or_else(|| {
            Status::new(
                Code::NotFound,
                format!("there is no service or model '{}'", request.service),
            )
        })
}

/// Sends the status now and at each change, until the caller goes or the server has drained.
pub async fn watch(server: &Arc<Server>, mut call: Call) {
    let message = match call.message(server).await {
        Answer::Message(message) => message,
        Answer::Refused(status) => return call.finish(Err(status)),
        Answer::Gone => return,
    };
    let request: HealthCheckRequest = match decode(message, "HealthCheckRequest") {
        Ok(request) => request,
        Err(status) => return call.finish(Err(status)),
    };
    let mut changes = server.health.subscribe();
    let Some((_, mut replies)) = call.stream() else {
        return;
    };
    let mut last = None;
    loop {
        changes.borrow_and_update();
        let draining = server.stage() == Stage::Draining;
        let current = status(server, &request.service).unwrap_or(ServingStatus::ServiceUnknown);
        if last != Some(current) && !replies.send(response(current)).await {
            return;
        }
        last = Some(current);
        if draining {
            return replies.finish(Ok(()));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return replies.finish(Ok(())) },
            () = replies.gone() => return,
        }
    }
}
