//! A small gRPC-like server on the `h2` crate, whose answers the messages ask for.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// First byte of a message: what to do with the request.
pub const ECHO: u8 = 0;
pub const REFUSE: u8 = 1;
pub const RESET: u8 = 2;
/// Echo after 20 ms.
pub const SLOW: u8 = 3;
pub const SILENT: u8 = 4;
/// Echo the request's grpc-timeout.
pub const TIMEOUT: u8 = 5;
/// End the connection with the request unanswered.
pub const HANG_UP: u8 = 6;

/// Serves on a free port until the test process ends.
pub fn serve(max_streams: u32) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                tokio::spawn(connection(socket, max_streams));
            }
        });
    });
    told.recv().unwrap()
}

async fn connection(socket: TcpStream, max_streams: u32) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(max_streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
        return;
    };
    let (hang_up, mut hung_up) = tokio::sync::mpsc::channel(1);
    loop {
        tokio::select! {
            _ = hung_up.recv() => return,
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::spawn(answer(request, respond, hang_up.clone()));
                }
                _ => return,
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    hang_up: tokio::sync::mpsc::Sender<()>,
) {
    let (parts, body) = request.into_parts();
    let body = read(body).await;
    let ok = || Response::builder().header("content-type", "application/grpc");
    match body.get(5).copied().unwrap_or(ECHO) {
        REFUSE => {
            let trailers_only = ok()
                .header("grpc-status", "8")
                .header("grpc-message", "queue full: 100%25 of 16 rows");
            respond
                .send_response(trailers_only.body(()).unwrap(), true)
                .unwrap();
        }
        RESET => respond.send_reset(Reason::CANCEL),
        SILENT => std::future::pending().await,
        HANG_UP => {
            hang_up.send(()).await.unwrap();
            // Dropping `respond` now would reset the stream before the connection ends.
            std::future::pending().await
        }
        kind => {
            let mut reply = body;
            if kind == SLOW {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if kind == TIMEOUT {
                let timeout = parts.headers.get("grpc-timeout").unwrap().as_bytes();
                let mut message = BytesMut::from(&[0, 0, 0, 0][..]);
                message.extend_from_slice(&[timeout.len() as u8]);
                message.extend_from_slice(timeout);
                reply = message.freeze();
            }
            let mut send = respond
                .send_response(ok().body(()).unwrap(), false)
                .unwrap();
            send.send_data(reply, false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            send.send_trailers(trailers).unwrap();
        }
    }
}

async fn read(mut body: RecvStream) -> Bytes {
    let mut whole = BytesMut::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    whole.freeze()
}
