//! One gRPC call on an HTTP/2 stream: its headers, its message, its answer.

use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::clock::{SECONDS, Ticks, instant};
use crate::wire::framing::{PREFIX, UnaryBody};
use crate::wire::status::{Code, Status};
use crate::wire::timeout;

/// The longest that a call's message may take to arrive, in ns.
const PATIENCE: Ticks = 10 * SECONDS;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

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
}

impl Call {
    /// Takes a request apart; one that is not gRPC is answered at once, with HTTP's own status.
    pub fn open(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        arrived: Ticks,
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

    /// Reads the one message of a unary call, of at most `limit` bytes, within the caller's own
    /// time-out and `PATIENCE`: a call whose message never comes must not stay for ever.
    pub async fn message(&mut self, limit: usize) -> Answer {
        let said = self.timeout().ok().flatten().unwrap_or(PATIENCE);
        let until = instant(self.arrived.saturating_add(said.min(PATIENCE)));
        let read = tokio::time::timeout_at(until.into(), self.read(limit)).await;
        read.unwrap_or_else(|_| {
            let text = "the call's message did not arrive in time";
            Answer::Refused(Status::new(Code::DeadlineExceeded, text))
        })
    }

    async fn read(&mut self, limit: usize) -> Answer {
        let mut collected = UnaryBody::default();
        while let Some(chunk) = self.body.data().await {
            let Ok(chunk) = chunk else {
                return Answer::Gone;
            };
            let len = chunk.len();
            // Room for what was read, or the connection's window closes. Failing is the stream's end.
            let _ = self.body.flow_control().release_capacity(len);
            if collected.len() + len > limit + PREFIX {
                return Answer::Refused(Status::new(
                    Code::ResourceExhausted,
                    format!("the message is larger than {limit} bytes, this server's limit"),
                ));
            }
            collected.push(chunk);
        }
        match collected.finish() {
            Ok(message) => Answer::Message(message),
            Err(status) => Answer::Refused(status),
        }
    }

    /// Ready when the caller has cancelled or its connection has broken.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    /// Sends a framed message or a status. If the stream is gone there is nobody to tell.
    pub fn finish(mut self, result: Result<Bytes, Status>) {
        match result {
            Ok(body) => {
                let mut response = Response::new(());
                *response.headers_mut() = OK_HEADERS.clone();
                if let Ok(mut stream) = self.respond.send_response(response, false) {
                    let sent = stream.send_data(body, false);
                    let _ = sent.and_then(|()| stream.send_trailers(OK_TRAILERS.clone()));
                }
            }
            Err(status) => self.refuse(&status),
        }
    }

    /// A response without a message: status in the headers (gRPC's "Trailers-Only").
    fn refuse(&mut self, status: &Status) {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert(
            GRPC_STATUS.clone(),
            HeaderValue::from_static(status.code.number()),
        );
        // Percent-encoded text is always a valid header.
        if let Ok(message) = HeaderValue::from_str(&status.encoded_message()) {
            headers.insert(GRPC_MESSAGE.clone(), message);
        }
        let _ = self.respond.send_response(response, true);
    }

    /// Starts a streaming answer.
    pub fn stream(mut self) -> Option<Replies> {
        let mut response = Response::new(());
        *response.headers_mut() = OK_HEADERS.clone();
        self.respond
            .send_response(response, false)
            .ok()
            .map(|stream| Replies { stream })
    }
}

/// The sending side of a server-streaming call.
pub struct Replies {
    stream: h2::SendStream<Bytes>,
}

impl Replies {
    /// Sends one framed message; false if the caller is gone.
    pub fn send(&mut self, body: Bytes) -> bool {
        self.stream.send_data(body, false).is_ok()
    }

    /// Waits until the caller goes away.
    pub async fn gone(&mut self) {
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }

    pub fn finish(mut self) {
        let _ = self.stream.send_trailers(OK_TRAILERS.clone());
    }
}
