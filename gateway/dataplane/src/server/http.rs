//! The HTTP door: health for orchestrators, metrics, and the status page's JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};

use super::table::{Model, State};
use super::{Server, command};
use crate::record::Outcome;

/// Connections that may be open at once: scrapers and probes, not traffic.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of one command.
const MAX_COMMAND: usize = 1 << 16;
/// OTLP's ScopeSpans.
const OTLP: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Accepts until the process ends.
pub async fn serve(server: Arc<Server>, listener: TcpListener) {
    let open = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: give others time to close.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&server, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            // A broken scraper is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

/// The door of the processes beside the server: what the HTTP door tells, and spans.
pub async fn serve_control(server: Arc<Server>, listener: UnixListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(control(&server, request).await) }
            });
            // The process asks again if an answer is lost.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What only those processes are told and may ask for.
async fn control(server: &Server, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let told = |value: Value| respond(StatusCode::OK, JSON, value.to_string().into());
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/spans") => respond(StatusCode::OK, OTLP, server.tracer.drain().into()),
        (&Method::GET, "/shadow") => told(shadows(server)),
        (&Method::POST, "/command") => {
            let body = Limited::new(request.into_body(), MAX_COMMAND)
                .collect()
                .await;
            let Ok(body) = body else {
                return text(StatusCode::BAD_REQUEST, "the command did not arrive\n");
            };
            match command::carry_out(server, body.to_bytes()).await {
                Ok(value) => told(value),
                Err(status) => respond(
                    StatusCode::CONFLICT,
                    JSON,
                    json!({"error": status.message}).to_string().into(),
                ),
            }
        }
        _ => answer(server, &request),
    }
}

/// Of each model that has one, what its shadow found since the last question.
fn shadows(server: &Server) -> Value {
    let table = server.table.load();
    let current = table.shadows().map(|(name, route, canary)| {
        let mut told = route.told();
        told["canary"] = canary.into();
        (name.to_owned(), told)
    });
    Value::Object(current.collect())
}

fn answer(server: &Server, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
    }
    match request.uri().path() {
        "/health/live" => text(StatusCode::OK, "live\n"),
        "/health/ready" if server.ready() => text(StatusCode::OK, &ready(server)),
        "/health/ready" => text(StatusCode::SERVICE_UNAVAILABLE, &why_not_ready(server)),
        "/metrics" if wants_protobuf(request) => {
            respond(StatusCode::OK, PROTOBUF, server.metrics.protobuf().into())
        }
        "/metrics" => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            respond(StatusCode::OK, kind, server.metrics.text().into())
        }
        "/status" => respond(StatusCode::OK, JSON, status(server).to_string().into()),
        path => {
            let known = "/health/live, /health/ready, /metrics and /status";
            text(
                StatusCode::NOT_FOUND,
                &format!("there is no {path} here; there are {known}\n"),
            )
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body.to_owned().into())
}

/// Native histograms travel only in this form; Prometheus asks for it if it is told to.
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn wants_protobuf(request: &Request<Incoming>) -> bool {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|a| a.to_str().ok()).unwrap_or_default();
    // The first that is understood: scrapers name what they like best first.
    let mut kinds = accept.split(',').map(str::trim);
    let first = kinds.find(|k| {
        k.starts_with("application/vnd.google.protobuf")
            || k.starts_with("application/openmetrics-text")
            || k.starts_with("text/plain")
    });
    first
        .is_some_and(|k| k.contains("io.prometheus.client.MetricFamily") && k.contains("delimited"))
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A server may be ready and yet not run a model as it was asked to, or be without a process beside it.
fn ready(server: &Server) -> String {
    let table = server.table.load();
    let notes = table.live().filter_map(|model| {
        let lost = server.executor.lost_lanes(model.id);
        let gone = (lost > 0).then(|| format!("the device of {lost} of its lanes is gone"));
        let note = gone.or_else(|| model.said().note)?;
        Some(format!("model '{}': {note}\n", model.name))
    });
    "ready\n".to_owned() + &notes.collect::<String>() + &down(server)
}

/// A line for each process beside the server that does not run.
fn down(server: &Server) -> String {
    let lines = server.beside.down().into_iter().map(|line| line + "\n");
    lines.collect()
}

fn why_not_ready(server: &Server) -> String {
    if server.is_leaving() {
        return "draining\n".into();
    }
    let table = server.table.load();
    let failures = table
        .failures()
        .map(|(name, error)| format!("model '{name}' is not loaded: {error}\n"));
    let mut text: String = failures.collect();
    if text.is_empty() {
        text.push_str("no model is loaded\n");
    }
    text + &down(server)
}

/// What an operator wants to see at a glance: of each model the version that answers first.
pub fn status(server: &Server) -> Value {
    let table = server.table.load();
    let mut models = Vec::new();
    for (name, family) in &table.families {
        let current = family.current.as_ref().map(|m| m.version);
        let mut versions: Vec<_> = family.versions.iter().collect();
        versions
            .sort_by_key(|(version, _)| (Some(**version) != current, std::cmp::Reverse(**version)));
        for (version, state) in versions {
            let mut told = match state {
                State::Live(model) | State::Standby(model) => described(server, model),
                _ => json!({}),
            };
            told["name"] = name.as_str().into();
            told["version"] = version.to_string().into();
            told["state"] = state.word().into();
            told["current"] = (Some(*version) == current).into();
            if let State::Failed(error) = state {
                told["error"] = error.as_str().into();
            }
            models.push(told);
        }
    }
    json!({
        "name": "sluicegate",
        "version": env!("CARGO_PKG_VERSION"),
        "ready": server.ready(),
        "draining": server.is_leaving(),
        "pid": std::process::id(),
        "connections": server.metrics.connections.get(),
        "beside": server.beside.told(),
        "models": models,
    })
}

fn described(server: &Server, model: &Model) -> Value {
    let (requests, rows) = server.executor.waiting(model.id);
    let outcomes = Outcome::ALL.map(|o| (o.label().to_owned(), model.metrics.outcome(o).into()));
    let sizes = model.metrics.batch_sizes();
    let sizes: Vec<(usize, u64)> = sizes.into_iter().map(|(rows, n, _)| (rows, n)).collect();
    let cost: Vec<Value> = server
        .executor
        .cost_lines(model.id)
        .into_iter()
        .flat_map(|(length, lines)| lines.into_iter().map(move |line| (length, line)))
        .map(|(length, line)| {
            let mut told = json!(line);
            if model.text.is_some() {
                told["tokens"] = length.into();
            }
            told
        })
        .collect();
    let said = model.said();
    json!({
        "digest": model.report.digest,
        "signed": server.gate.is_some(),
        "engine": said.engine,
        "engine_note": said.note,
        "row_dependence": model.report.row_dependence,
        "max_batch": model.max_batch,
        "load_ms": model.report.load_ms,
        "inputs": model.contract.inputs,
        "outputs": model.contract.outputs,
        "pending_requests": model.metrics.pending.get(),
        "queued_requests": requests,
        "queued_rows": rows,
        "shadow": model.shadow.load().as_ref().map(|r| r.status()),
        "canary": model.canary.load().as_ref().map(|c| c.told()),
        "lost_lanes": server.executor.lost_lanes(model.id),
        "requests": Value::Object(outcomes.into_iter().collect()),
        "fallbacks": model.metrics.sums().fallbacks,
        "batch_sizes": sizes,
        "cost": cost,
    })
}
