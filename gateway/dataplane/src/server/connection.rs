//! One connection: HTTP/2 in, a task for each call, a graceful end when the server drains.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::call::{Answer, Call};
use super::callers::Rights;
use super::{
    Peer, Server, Stage, feedback, health, infer, metadata, reflection, repository, statistics,
    stream,
};
use crate::clock::now;
use crate::wire::status::{Code, Status};

/// Calls that one connection may have open, at least and at most.
const STREAMS: (u32, u32) = (128, 1_024);
/// Calls in flight that one I/O thread works off in 2 ms are shared among its connections: more
/// would only wait in the socket, unseen by admission, while their deadlines pass.
const STREAMS_PER_SECOND: u64 = 500;
/// Flow-control windows: a request never waits for window updates of its own size.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Calls that were reset before they were looked at; more is the rapid-reset attack.
const MAX_PENDING_RESETS: usize = 200;
/// How long a peer may take to say hello, by TLS and by HTTP/2.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub async fn serve<T>(
    server: Arc<Server>,
    io: T,
    peer: Arc<Peer>,
    mut draining: watch::Receiver<Stage>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(streams(&server, peer.port))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(1 << 18)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_send_buffer_size(1 << 20)
        .handshake::<T, Bytes>(io);
    let Ok(Ok(mut connection)) = tokio::time::timeout(HANDSHAKE, handshake).await else {
        return;
    };
    let mut announced = false;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = connection.accept() => accepted,
            () = super::drained(&mut draining), if !announced => {
                announced = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        // The end, or a protocol error that h2 has answered itself.
        let Some(Ok((request, respond))) = accepted else {
            break;
        };
        let compat = server.config.compat;
        if let Some((uri, call)) = Call::open(request, respond, now(), compat) {
            let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
            // Boxed: a task's future is copied several times on its way to the heap, and that of a
            // request is 2 KB. Measured: 134,000 requests a second without, 142,000 with.
            if uri.path() == MODEL_INFER {
                tokio::spawn(Box::pin(infer::unary(server, call, peer)));
            } else {
                tokio::spawn(Box::pin(dispatch(server, uri, call, peer)));
            }
        }
    }
}

/// How many calls a new connection may have open: settings say, or what was measured.
fn streams(server: &Server, port: usize) -> u32 {
    if server.config.max_streams > 0 {
        return server.config.max_streams;
    }
    let open = u64::try_from(server.metrics.connections.get()).unwrap_or(1);
    let sharing = open.div_ceil(server.ports.len() as u64).max(1);
    let share = server.ports[port].capacity() / STREAMS_PER_SECOND / sharing;
    u32::try_from(share).map_or(STREAMS.1, |share| share.clamp(STREAMS.0, STREAMS.1))
}

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const INFERENCE: &str = "/inference.GRPCInferenceService/";

async fn dispatch(server: Arc<Server>, uri: http::Uri, mut call: Call, peer: Arc<Peer>) {
    match uri.path() {
        "/inference.GRPCInferenceService/ModelStreamInfer" => {
            stream::serve(&server, call, &peer).await;
        }
        "/grpc.health.v1.Health/Watch" => health::watch(&server, call).await,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
            reflection::serve(call, server.config.max_message_bytes).await;
        }
        path => {
            let message = match call.message(&server).await {
                Answer::Message(message) => message,
                Answer::Refused(status) => return call.finish(Err(status)),
                Answer::Gone => return,
            };
            let result = match path.strip_prefix(INFERENCE) {
                Some(method) if !OPEN.contains(&method) => match server.rights(&call, &peer) {
                    Ok(rights) => inference(&server, method, message, &rights, &peer).await,
                    Err(status) => Err(status),
                },
                None if path == feedback::REPORT => match server.rights(&call, &peer) {
                    Ok(rights) => feedback::report(&server, &rights, peer.port, message),
                    Err(status) => Err(status),
                },
                _ => open(&server, path, message),
            };
            call.finish(result);
        }
    }
}

/// Calls that load balancers make, whoever they are.
const OPEN: [&str; 2] = ["ServerLive", "ServerReady"];

/// Calls that tell nothing of models, for everybody.
fn open(server: &Server, path: &str, message: Bytes) -> Result<Bytes, Status> {
    match path {
        "/inference.GRPCInferenceService/ServerLive" => Ok(metadata::server_live()),
        "/inference.GRPCInferenceService/ServerReady" => Ok(metadata::server_ready(server)),
        "/grpc.health.v1.Health/Check" => health::check(server, message),
        "/grpc.health.v1.Health/List" => Ok(health::list(server)),
        _ => Err(no_method(path)),
    }
}

fn no_method(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("there is no method {path}"))
}

/// The calls beside inference, for callers that are known.
async fn inference(
    server: &Arc<Server>,
    method: &str,
    message: Bytes,
    rights: &Rights,
    peer: &Peer,
) -> Result<Bytes, Status> {
    match method {
        "ServerMetadata" => Ok(metadata::server_metadata(server)),
        "ModelReady" => metadata::model_ready(server, rights, message),
        "ModelMetadata" => metadata::model_metadata(server, rights, message),
        "ModelConfig" => metadata::model_config(server, rights, message),
        "ModelStatistics" => statistics::model_statistics(server, rights, message),
        "RepositoryIndex" => repository::index(server, rights, message),
        "RepositoryModelLoad" => repository::load(server, rights, peer, message).await,
        "RepositoryModelUnload" => repository::unload(server, rights, peer, message).await,
        "TraceSetting" => metadata::trace_setting(server, message),
        "LogSettings" => metadata::log_settings(message),
        method if method.contains("SharedMemory") => Err(Status::new(
            Code::Unimplemented,
            format!("{method}: this server uses no shared memory; send tensors in the message"),
        )),
        method => Err(no_method(&format!("{INFERENCE}{method}"))),
    }
}
