//! grpc.health.v1: Check and Watch, for the server (empty name), the inference service and each
//! model by its name.

use std::sync::Arc;

use bytes::Bytes;

use super::Server;
use super::call::{Answer, Call};
use super::metadata::decode;
use super::table::Entry;
use crate::wire::framing::frame;
use crate::wire::health::health_check_response::ServingStatus;
use crate::wire::health::{HealthCheckRequest, HealthCheckResponse};
use crate::wire::status::{Code, Status};

fn status(server: &Server, service: &str) -> Option<ServingStatus> {
    let serving = match service {
        "" | "inference.GRPCInferenceService" => server.ready(),
        model => {
            matches!(server.table.load().entries.get(model)?, Entry::Live(_))
                && !server.is_draining()
        }
    };
    Some(if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
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
    let message = match call.message(server.config.max_message_bytes).await {
        Answer::Message(message) => message,
        Answer::Refused(status) => return call.finish(Err(status)),
        Answer::Gone => return,
    };
    let request: HealthCheckRequest = match decode(message, "HealthCheckRequest") {
        Ok(request) => request,
        Err(status) => return call.finish(Err(status)),
    };
    let mut changes = server.changes();
    let Some(mut replies) = call.stream() else {
        return;
    };
    let mut last = None;
    loop {
        let draining = *changes.borrow_and_update();
        let current = status(server, &request.service).unwrap_or(ServingStatus::ServiceUnknown);
        if last != Some(current) && !replies.send(response(current)) {
            return;
        }
        last = Some(current);
        if draining {
            return replies.finish();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return replies.finish() },
            () = replies.gone() => return,
        }
    }
}
