//! The gRPC door: who may come in, and which I/O runtime a connection is dealt to.

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Server, coalesced, connection, tls};

/// No delay for small answers; a peer that is gone without a word is noticed within a minute.
fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30));
    socket.set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(10)))
}

/// What is at the other end of a connection, and which port serves it.
#[derive(Debug)]
pub struct Peer {
    pub port: usize,
    /// On this machine.
    pub is_local: bool,
    /// Those in its certificate.
    pub names: Vec<String>,
}

/// One of the connections that may be open at once; it is closed when this is dropped.
struct Open(Arc<Server>);

impl Open {
    fn one_more(server: &Arc<Server>) -> Option<Self> {
        let most = i64::try_from(server.config.max_connections).unwrap_or(i64::MAX);
        if server.metrics.connections.inc() >= most {
            server.metrics.connections.dec();
            server.metrics.connections_refused.inc();
            return None;
        }
        Some(Self(Arc::clone(server)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// Deals connections out to the I/O runtimes in turn.
pub async fn accept_loop(server: Arc<Server>, listener: TcpListener, io: Vec<Handle>) {
    let mut draining = server.stages();
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // New connections are refused from here on.
            () = super::drained(&mut draining) => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: give others time to close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let Some(open) = Open::one_more(&server) else {
            // Closed at once: the caller sees a refusal and not a silence.
            continue;
        };
        let (server, port) = (Arc::clone(&server), turn % io.len());
        turn += 1;
        let draining = server.stages();
        let is_local = peer.ip().to_canonical().is_loopback();
        io[port].spawn(async move {
            let Ok(stream) = TcpStream::from_std(stream) else {
                return;
            };
            if set_options(&stream).is_err() {
                return;
            }
            let tls = server.tls.load_full();
            let peer = |names| {
                Arc::new(Peer {
                    port,
                    is_local,
                    names,
                })
            };
            match tls {
                None => {
                    let io = coalesced::Coalesced(stream);
                    connection::serve(server, io, peer(Vec::new()), draining).await;
                }
                Some(tls) => match shake_hands(tls, stream).await {
                    Ok((stream, names)) => {
                        let io = coalesced::Coalesced(stream);
                        connection::serve(server, io, peer(names), draining).await;
                    }
                    Err(_) => {
                        server.metrics.handshakes_failed.inc();
                    }
                },
            }
            drop(open);
        });
    }
}

/// The TLS handshake, and the names in the client's certificate.
async fn shake_hands(
    tls: Arc<rustls::ServerConfig>,
    stream: TcpStream,
) -> std::io::Result<(TlsStream<TcpStream>, Vec<String>)> {
    let accept = TlsAcceptor::from(tls).accept(stream);
    let stream = tokio::time::timeout(connection::HANDSHAKE, accept).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let names = certificates.and_then(<[_]>::first).map(tls::names);
    Ok((stream, names.unwrap_or_default()))
}
