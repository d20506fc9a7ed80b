//! One gRPC call on an HTTP/2 stream: its headers, its messages, its answers.

use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::Server;
use super::budget::Share;
use crate::clock::{SECONDS, Ticks, instant};
use crate::config::Compat;
use crate::wire::compression::{gunzip, gzip};
use crate::wire::framing::{Message, Messages, PREFIX, UnaryBody, framed, too_large};
use crate::wire::status::{Code, Retry, Status};
use crate::wire::timeout;

/// The longest that a call's message may take to arrive, in ns.
const PATIENCE: Ticks = 10 * SECONDS;
/// An answer to a compressed request is compressed from this size on, in bytes.
const WORTH_PACKING: usize = 1_024;
/// A compressed message from this size on is unpacked by another thread, in bytes.
const LONG_TO_UNPACK: usize = 16 << 10;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
static GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

static OK_HEADERS: LazyLock<HeaderMap> =
    LazyLock::new(|| [(CONTENT_TYPE, GRPC)].into_iter().collect());
static OK_TRAILERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    [(GRPC_STATUS.clone(), HeaderValue::from_static("0"))]
        .into_iter()
        .collect()
});

/// What came of waiting for a call's message.
pub enum Answer {
    Message(Bytes),
    Refused(Status),
    /// The caller cancelled, or its connection broke.
    Gone,
}

pub struct Call {
    pub arrived: Ticks,
    headers: HeaderMap,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    compat: Compat,
    /// The request was compressed, so the answer may be.
    packed: bool,
}

impl Call {
    /// Takes a request apart; one that is not gRPC is answered at once, with HTTP's own status.
    pub fn open(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        arrived: Ticks,
        compat: Compat,
    ) -> Option<(http::Uri, Self)> {
        let (parts, body) = request.into_parts();
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let refusal = if parts.method != Method::POST {
            StatusCode::METHOD_NOT_ALLOWED
        } else if !content_type.starts_with(b"application/grpc") {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else {
            return Some((
                parts.uri,
                Self {
                    arrived,
                    headers: parts.headers,
                    body,
                    respond,
                    compat,
                    packed: false,
                },
            ));
        };
        let mut response = Response::new(());
        *response.status_mut() = refusal;
        // The stream may be gone already; then there is nobody to tell.
        let _ = respond.send_response(response, true);
        None
    }

    /// The caller's time-out in ns, if it named one.
    pub fn timeout(&self) -> Result<Option<Ticks>, Status> {
        let Some(header) = self.headers.get("grpc-timeout") else {
            return Ok(None);
        };
        timeout::parse(header.as_bytes()).map(Some).ok_or_else(|| {
            Status::invalid(format!(
                "grpc-timeout is {header:?}, expected up to 8 digits and one of H M S m u n"
            ))
        })
    }

    /// Who the caller says it is.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.headers.get(AUTHORIZATION)
    }

    /// Where the caller's trace stands.
    pub fn traceparent(&self) -> Option<&[u8]> {
        self.headers.get("traceparent").map(HeaderValue::as_bytes)
    }

    /// Reads the one message of a unary call, within the server's limits, the caller's own time-out
    /// and `PATIENCE`: a call whose message never comes must not stay for ever.
    pub async fn message(&mut self, server: &Server) -> Answer {
        let limit = server.config.max_message_bytes;
        let mut body = UnaryBody::default();
        // Nearly every message has come with its headers. What has not is worth an allocation, so
        // that a call's future, which is copied on its way to the heap, stays small.
        let at_once = poll_fn(|cx| Poll::Ready(self.poll_body(cx, &mut body, limit, None))).await;
        let ended = match at_once {
            Poll::Ready(ended) => ended,
            Poll::Pending => Box::pin(self.rest(&mut body, limit, server)).await,
        };
        let message = match ended {
            Ok(true) => body.finish(),
            Ok(false) => return Answer::Gone,
            Err(status) => Err(status),
        };
        match message {
            Ok(message) if !message.compressed => Answer::Message(message.bytes),
            Ok(message) => {
                self.packed = true;
                let encoding = self.headers.get(&GRPC_ENCODING);
                match Box::pin(unpack(message, encoding, limit)).await {
                    Ok(bytes) => Answer::Message(bytes),
                    Err(status) => Answer::Refused(status),
                }
            }
            Err(status) => Answer::Refused(status),
        }
    }

    /// What has not come at once.
    async fn rest(
        &mut self,
        body: &mut UnaryBody,
        limit: usize,
        server: &Server,
    ) -> Result<bool, Status> {
        let said = self.timeout().ok().flatten().unwrap_or(PATIENCE);
        let until = instant(self.arrived.saturating_add(said.min(PATIENCE)));
        let mut share = server.unread.share();
        let read = poll_fn(|cx| self.poll_body(cx, body, limit, Some(&mut share)));
        let read = tokio::time::timeout_at(until.into(), read).await;
        read.unwrap_or_else(|_| {
            let text = "the call's message did not arrive in time";
            Err(Status::new(Code::DeadlineExceeded, text))
        })
    }

    /// Collects DATA to its end: true; false if the caller has gone.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut UnaryBody,
        limit: usize,
        mut share: Option<&mut Share>,
    ) -> Poll<Result<bool, Status>> {
        while let Some(chunk) = ready!(self.body.poll_data(cx)) {
            let Ok(chunk) = chunk else {
                return Poll::Ready(Ok(false));
            };
            let len = chunk.len();
            // Room for what was read, or the connection's window closes. Failing is the stream's end.
            let _ = self.body.flow_control().release_capacity(len);
            if body.len() + len > limit + PREFIX {
                return Poll::Ready(Err(too_large(limit)));
            }
            if let Some(share) = &mut share {
                share.grow(body.len() + len)?;
            }
            body.push(chunk);
        }
        Poll::Ready(Ok(true))
    }

    /// Ready when the caller has cancelled or its connection has broken.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    /// Sends a framed message or a status. If the stream is gone there is nobody to tell.
    pub fn finish(mut self, result: Result<Bytes, Status>) {
        match result {
            Ok(mut body) => {
                let mut response = Response::new(());
                *response.headers_mut() = OK_HEADERS.clone();
                if self.packed && body.len() > WORTH_PACKING {
                    body = framed(true, &gzip(&body[PREFIX..]));
                    response.headers_mut().insert(GRPC_ENCODING.clone(), GZIP);
                }
                if let Ok(mut stream) = self.respond.send_response(response, false) {
                    let sent = stream.send_data(body, false);
                    let _ = sent.and_then(|()| stream.send_trailers(OK_TRAILERS.clone()));
                }
            }
            Err(status) => self.refuse(status),
        }
    }

    /// A response without a message: status in the headers (gRPC's "Trailers-Only").
    fn refuse(&mut self, status: Status) {
        let mut response = Response::new(());
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        put_status(response.headers_mut(), status, self.compat);
        let _ = self.respond.send_response(response, true);
    }

    /// Starts a streaming answer: what is still to come in, and the way out.
    pub fn stream(mut self) -> Option<(Incoming, Replies)> {
        let mut response = Response::new(());
        *response.headers_mut() = OK_HEADERS.clone();
        let stream = self.respond.send_response(response, false).ok()?;
        let incoming = Incoming {
            body: self.body,
            messages: Messages::default(),
            encoding: self.headers.get(&GRPC_ENCODING).cloned(),
        };
        let replies = Replies {
            stream,
            compat: self.compat,
        };
        Some((incoming, replies))
    }
}

fn put_status(headers: &mut HeaderMap, status: Status, compat: Compat) {
    let status = match compat {
        Compat::None => status,
        Compat::Triton => status.for_triton(),
    };
    headers.insert(
        GRPC_STATUS.clone(),
        HeaderValue::from_static(status.code.number()),
    );
    // Percent-encoded text is always a valid header.
    if let Ok(message) = HeaderValue::from_str(&status.encoded_message()) {
        headers.insert(GRPC_MESSAGE.clone(), message);
    }
    if let Some(retry) = status.retry {
        let pushback = match retry {
            Retry::After(ms) => HeaderValue::from(ms),
            Retry::Never => HeaderValue::from_static("-1"),
        };
        headers.insert(GRPC_RETRY_PUSHBACK.clone(), pushback);
    }
    if status.code == Code::Unimplemented {
        let known = HeaderValue::from_static("identity,gzip");
        headers.insert(GRPC_ACCEPT_ENCODING.clone(), known);
    }
}

/// The message's bytes, unpacked if need be.
async fn unpack(
    message: Message,
    encoding: Option<&HeaderValue>,
    limit: usize,
) -> Result<Bytes, Status> {
    let Message { compressed, bytes } = message;
    if !compressed {
        return Ok(bytes);
    }
    if encoding != Some(&GZIP) {
        let said = encoding.map_or("nothing".into(), |e| format!("{e:?}"));
        return Err(Status::new(
            Code::Unimplemented,
            format!("the message is compressed, and grpc-encoding says {said}; gzip is understood"),
        ));
    }
    if bytes.len() < LONG_TO_UNPACK {
        return gunzip(&bytes, limit);
    }
    let unpacked = tokio::task::spawn_blocking(move || gunzip(&bytes, limit)).await;
    unpacked.unwrap_or_else(|e| Err(Status::new(Code::Internal, e.to_string())))
}

/// The receiving side of a streaming call.
pub struct Incoming {
    body: RecvStream,
    messages: Messages,
    encoding: Option<HeaderValue>,
}

impl Incoming {
    /// The next message of at most `limit` bytes; `None` at the stream's end. May be dropped while
    /// it waits without losing anything.
    ///
    /// # Errors
    /// A broken or too large message: nothing behind it can be read.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.messages.next(limit)? {
                return unpack(message, self.encoding.as_ref(), limit)
                    .await
                    .map(Some);
            }
            match self.body.data().await {
                Some(Ok(chunk)) => {
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    self.messages.push(&chunk);
                }
                // A broken stream is the same as its end: its caller is not there to be told.
                Some(Err(_)) => return Ok(None),
                None if self.messages.is_empty() => return Ok(None),
                None => return Err(Status::invalid("the stream ended within a message")),
            }
        }
    }
}

/// The sending side of a streaming call.
pub struct Replies {
    stream: h2::SendStream<Bytes>,
    compat: Compat,
}

impl Replies {
    /// Sends one framed message as soon as the caller has room for it; false if it is gone.
    pub async fn send(&mut self, body: Bytes) -> bool {
        self.stream.reserve_capacity(body.len());
        // A message larger than the caller's whole window goes out in pieces.
        let enough = body.len().min(16 << 10);
        while self.stream.capacity() < enough {
            match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                _ => return false,
            }
        }
        self.stream.send_data(body, false).is_ok()
    }

    /// Waits until the caller goes away.
    pub async fn gone(&mut self) {
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }

    pub fn finish(mut self, result: Result<(), Status>) {
        let mut trailers = OK_TRAILERS.clone();
        if let Err(status) = result {
            put_status(&mut trailers, status, self.compat);
        }
        let _ = self.stream.send_trailers(trailers);
    }
}
