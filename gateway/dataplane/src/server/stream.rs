//! ModelStreamInfer: many requests over one call, answered in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{self, Poll};

use bytes::Bytes;
use prost::Message;
use tokio::task::{AbortHandle, JoinHandle};

use super::call::{Call, Incoming, Replies};
use super::infer::{self, Asked, Finished, Gone};
use super::{Peer, Server};
use crate::clock::{instant, now};
use crate::trace::Context;
use crate::wire::framing::{PREFIX, framed};
use crate::wire::inference::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use crate::wire::status::{Code, Status};

/// Requests of one stream that may be worked on at once. The next is read when the first of them
/// has been answered, so a caller that does not read its answers is not read either.
const IN_FLIGHT: usize = 64;

/// A stream's requests are ended together, when it is: none of them watches for that itself.
struct Stays;

impl Gone for Stays {
    fn poll_gone(&mut self, _: &mut task::Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// A request that is worked on; the work ends when this is dropped.
struct Working {
    task: JoinHandle<Finished>,
    abort: AbortHandle,
    id: String,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Serves one call to its end.
pub async fn serve(server: &Arc<Server>, call: Call, peer: &Peer) {
    let asked = match infer::asked(server, &call, peer) {
        Ok(asked) => asked,
        Err(status) => return call.finish(Err(status)),
    };
    let deadline = asked.deadline;
    let Some((incoming, mut replies)) = call.stream() else {
        return;
    };
    let turn = turn(server, incoming, &mut replies, &asked);
    let result = match deadline {
        None => turn.await,
        Some(deadline) => {
            let ended = tokio::time::timeout_at(instant(deadline).into(), turn).await;
            let late = || Status::new(Code::DeadlineExceeded, "the stream's deadline has passed");
            ended.unwrap_or_else(|_| Some(Err(late())))
        }
    };
    if let Some(result) = result {
        replies.finish(result);
    }
}

/// Reads, works and answers until the stream ends; `None` if the caller has gone.
async fn turn(
    server: &Arc<Server>,
    mut incoming: Incoming,
    replies: &mut Replies,
    asked: &Asked,
) -> Option<Result<(), Status>> {
    let limit = server.config.max_message_bytes;
    let mut working: VecDeque<Working> = VecDeque::new();
    let mut ended = None;
    loop {
        let room = working.len() < IN_FLIGHT;
        let answered = async {
            match working.front_mut() {
                Some(first) => (&mut first.task).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            finished = answered => {
                let id = working.pop_front().map(|w| std::mem::take(&mut { w }.id));
                let Ok(mut finished) = finished else { return Some(Err(broken())) };
                let answer = finished.result.take();
                let sent = match answer {
                    Some(result) => replies.send(wrap(result, id.unwrap_or_default())).await,
                    None => false,
                };
                finished.write(server);
                if !sent {
                    return None;
                }
            }
            message = incoming.next(limit), if ended.is_none() && room => {
                match message {
                    Ok(Some(message)) => working.push_back(start(server, message, asked)),
                    Ok(None) => ended = Some(Ok(())),
                    Err(status) => ended = Some(Err(status)),
                }
            }
            () = replies.gone() => return None,
        }
        if working.is_empty()
            && let Some(result) = ended
        {
            return Some(result);
        }
    }
}

fn broken() -> Status {
    Status::new(
        Code::Internal,
        "a request of the stream ended without an answer",
    )
}

fn start(server: &Arc<Server>, message: Bytes, asked: &Asked) -> Working {
    // Only for an answer that is an error; what is broken is refused again where it matters.
    let id = ModelInferRequest::decode(message.clone()).map_or_else(|_| String::new(), |r| r.id);
    let asked = Asked {
        arrived: now(),
        trace: asked.trace.map(Context::sibling),
        ..asked.clone()
    };
    let server = Arc::clone(server);
    let task = tokio::spawn(async move { infer::run(&server, asked, message, &mut Stays).await });
    let abort = task.abort_handle();
    Working { task, abort, id }
}

/// One message of the stream, framed.
fn wrap(result: Result<Bytes, Status>, id: String) -> Bytes {
    match result {
        Ok(body) => {
            // The answer is encoded already: it becomes field 2 as it is.
            let mut out = Vec::with_capacity(body.len() + 8);
            let key = 2;
            prost::encoding::encode_key(key, prost::encoding::WireType::LengthDelimited, &mut out);
            prost::encoding::encode_varint((body.len() - PREFIX) as u64, &mut out);
            out.extend_from_slice(&body[PREFIX..]);
            framed(false, &out)
        }
        Err(status) => {
            let response = ModelStreamInferResponse {
                error_message: status.message,
                infer_response: Some(ModelInferResponse {
                    id,
                    ..Default::default()
                }),
            };
            framed(false, &response.encode_to_vec())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_wrapped_as_it_is() {
        let answer = ModelInferResponse {
            id: "7".into(),
            ..Default::default()
        };
        let body = crate::wire::framing::frame(&answer);
        let wrapped = wrap(Ok(body), "7".into());
        let message = ModelStreamInferResponse::decode(&wrapped[PREFIX..]).unwrap();
        assert_eq!(message.error_message, "");
        assert_eq!(message.infer_response, Some(answer));
    }

    #[test]
    fn a_refusal_names_the_request() {
        let wrapped = wrap(Err(Status::invalid("no")), "9".into());
        let message = ModelStreamInferResponse::decode(&wrapped[PREFIX..]).unwrap();
        assert_eq!(message.error_message, "no");
        assert_eq!(message.infer_response.unwrap().id, "9");
    }
}
