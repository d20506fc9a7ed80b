//! One HTTP/2 connection's state, without its socket: bytes in, bytes out, finished requests.

use std::rc::Rc;

use crate::frames::{
    self, FrameHeader, HEADER_LEN, OUR_MAX_FRAME_SIZE, PREFACE, Violation, flag, kind, setting,
};
use crate::messages::Requests;
use crate::outbound::{DEFAULT_WINDOW, Outbound};
use crate::outcome::{Failure, Finished, Outcome, Status, Ticket};
use crate::response_head::BlockDecoder;
use crate::streams::{Stream, StreamRing};

/// The windows we grant: a response never waits for a WINDOW_UPDATE of its own stream.
const OUR_STREAM_WINDOW: u32 = 1 << 30;
const OUR_CONNECTION_WINDOW: u32 = 1 << 30;
/// Received bytes after which the connection's window is filled up again.
const REFILL_AT: u32 = 1 << 20;
const INBOX: usize = 256 * 1024;
/// A header block that goes on in CONTINUATION frames.
struct OpenBlock {
    stream: u32,
    end_stream: bool,
}

pub struct Connection {
    /// Our own cap on open streams, besides the peer's.
    cap: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS of the peer.
    peer_cap: usize,
    /// Whether the peer's first SETTINGS came.
    greeted: bool,
    /// The code of the peer's GOAWAY: no new streams then.
    going_away: Option<u32>,
    streams: StreamRing,
    unacknowledged: u32,
    decoder: BlockDecoder,
    block: Vec<u8>,
    open_block: Option<OpenBlock>,
    inbox: Vec<u8>,
    inbox_end: usize,
    outbound: Outbound,
}

impl Connection {
    pub fn new(requests: Rc<Requests>, cap: usize) -> Self {
        let mut outbound = Outbound::new(requests);
        let greeting = outbound.frames();
        greeting.extend_from_slice(PREFACE);
        frames::put_settings(
            greeting,
            &[
                (setting::HEADER_TABLE_SIZE, 0),
                (setting::ENABLE_PUSH, 0),
                (setting::INITIAL_WINDOW_SIZE, OUR_STREAM_WINDOW),
            ],
        );
        frames::put_window_update(greeting, 0, OUR_CONNECTION_WINDOW - DEFAULT_WINDOW);
        Self {
            cap,
            peer_cap: usize::MAX,
            greeted: false,
            going_away: None,
            streams: StreamRing::new(),
            outbound,
            unacknowledged: 0,
            decoder: BlockDecoder::new(),
            block: Vec::new(),
            open_block: None,
            inbox: vec![0; INBOX],
            inbox_end: 0,
        }
    }

    pub fn greeted(&self) -> bool {
        self.greeted
    }

    /// Whether no new stream will ever be possible and the last one has ended.
    pub fn drained(&self) -> bool {
        (self.going_away.is_some() || self.streams.exhausted()) && self.streams.open() == 0
    }

    /// Whether a new request may be started now.
    pub fn has_room(&self) -> bool {
        self.greeted
            && self.going_away.is_none()
            && self.streams.open() < self.cap.min(self.peer_cap)
            && self.outbound.has_room()
            && !self.streams.exhausted()
    }

    /// Opens a stream for a request and returns its identifier; ask `has_room` before.
    pub fn start(&mut self, ticket: Ticket) -> u32 {
        let id = self.streams.next_id();
        self.outbound.start(&mut self.streams, ticket);
        id
    }

    /// Resets a stream, if it is still open.
    pub fn cancel(&mut self, id: u32, done: &mut Vec<Finished>) {
        if let Some(stream) = self.streams.remove(id) {
            frames::put_rst_stream(self.outbound.frames(), id, frames::code::CANCEL);
            done.push(failed(stream, Failure::Cancelled));
        }
    }

    pub fn to_write(&self) -> &[u8] {
        self.outbound.to_write()
    }

    pub fn written(&mut self, bytes: usize) {
        self.outbound.written(bytes);
    }

    /// Where the next bytes from the socket go; never empty.
    pub fn read_space(&mut self) -> &mut [u8] {
        &mut self.inbox[self.inbox_end..]
    }

    /// Takes the `bytes` bytes read into `read_space` and appends the requests they finish.
    ///
    /// A violation is fatal: GOAWAY is in the outbox, and the connection should be closed.
    pub fn received(&mut self, bytes: usize, done: &mut Vec<Finished>) -> Result<(), Violation> {
        self.inbox_end += bytes;
        // Out of `self` while its frames are handled in place.
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        let mut result = Ok(());
        while let Some(header) = FrameHeader::parse(&inbox[at..self.inbox_end]) {
            if !self.greeted && header.kind != kind::SETTINGS {
                result = Err(Violation::protocol(
                    "its first bytes are no HTTP/2 SETTINGS frame",
                ));
                break;
            }
            if header.len > OUR_MAX_FRAME_SIZE {
                result = Err(Violation::size(
                    "a frame longer than SETTINGS_MAX_FRAME_SIZE",
                ));
                break;
            }
            let start = at + HEADER_LEN;
            let end = start + header.len;
            if end > self.inbox_end {
                break;
            }
            at = end;
            result = self.frame(header, &inbox[start..end], done);
            if result.is_err() {
                break;
            }
        }
        inbox.copy_within(at..self.inbox_end, 0);
        self.inbox_end -= at;
        self.inbox = inbox;
        self.outbound.send_waiting(&mut self.streams);
        if let Err(violation) = result {
            frames::put_goaway(self.outbound.frames(), violation.code);
        }
        result
    }

    fn frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        done: &mut Vec<Finished>,
    ) -> Result<(), Violation> {
        if self.open_block.is_some() && header.kind != kind::CONTINUATION {
            return Err(Violation::protocol(
                "a header block interrupted by another frame",
            ));
        }
        match header.kind {
            kind::DATA => self.data(header, payload, done),
            kind::HEADERS => self.headers(header, payload, done),
            kind::CONTINUATION => self.continuation(header, payload, done),
            kind::RST_STREAM => {
                let code = frames::number(payload, 0)?;
                if let Some(stream) = self.streams.remove(header.stream) {
                    done.push(failed(stream, Failure::Reset(code)));
                }
                Ok(())
            }
            kind::SETTINGS => self.settings(header, payload),
            kind::PING => self.ping(header, payload),
            kind::GOAWAY => {
                let last = frames::number(payload, 0)? & 0x7fff_ffff;
                let code = frames::number(payload, 4)?;
                self.going_away = Some(code);
                let refused = self.streams.split_off(last);
                done.extend(
                    refused
                        .into_iter()
                        .map(|s| failed(s, Failure::GoAway(code))),
                );
                Ok(())
            }
            kind::WINDOW_UPDATE => {
                let increment = frames::number(payload, 0)? & 0x7fff_ffff;
                self.outbound
                    .grant(&mut self.streams, header.stream, increment)
            }
            kind::PUSH_PROMISE => Err(Violation::protocol("a push although pushes are off")),
            _ => Ok(()),
        }
    }

    fn data(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        done: &mut Vec<Finished>,
    ) -> Result<(), Violation> {
        // Padding and data of streams that have ended count too (RFC 9113, 6.9.1).
        self.unacknowledged += header.len as u32;
        if self.unacknowledged >= REFILL_AT {
            frames::put_window_update(self.outbound.frames(), 0, self.unacknowledged);
            self.unacknowledged = 0;
        }
        let payload = frames::unwrap_payload(header, payload)?;
        if let Some(stream) = self.streams.get_mut(header.stream)
            && let Some(body) = &mut stream.body
        {
            body.extend_from_slice(payload);
        }
        if header.has(flag::END_STREAM) {
            self.finish(header.stream, done);
        }
        Ok(())
    }

    fn headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        done: &mut Vec<Finished>,
    ) -> Result<(), Violation> {
        let fragment = frames::unwrap_payload(header, payload)?;
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.fields(header.stream, end_stream, fragment, done);
        }
        self.block.clear();
        self.block.extend_from_slice(fragment);
        self.open_block = Some(OpenBlock {
            stream: header.stream,
            end_stream,
        });
        Ok(())
    }

    fn continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        done: &mut Vec<Finished>,
    ) -> Result<(), Violation> {
        let Some(open) = self.open_block.take_if(|open| open.stream == header.stream) else {
            return Err(Violation::protocol("a CONTINUATION that continues nothing"));
        };
        self.block.extend_from_slice(payload);
        if self.block.len() > INBOX {
            return Err(Violation::size("a header block of more than 256 KiB"));
        }
        if !header.has(flag::END_HEADERS) {
            self.open_block = Some(open);
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let result = self.fields(open.stream, open.end_stream, &block, done);
        self.block = block;
        result
    }

    /// A whole header block: of a response, of its trailers, or of an interim response.
    fn fields(
        &mut self,
        id: u32,
        end_stream: bool,
        block: &[u8],
        done: &mut Vec<Finished>,
    ) -> Result<(), Violation> {
        // Decoded even if the stream has ended, for the sake of the decoder's state.
        let fields = self.decoder.decode(block)?;
        if let Some(stream) = self.streams.get_mut(id) {
            match fields.http_status {
                Some(100..=199) => {}
                Some(status) => stream.http_status = status,
                None => {}
            }
            if fields.grpc_status.is_some() {
                stream.trailers = Some(fields);
            }
        }
        if end_stream {
            self.finish(id, done);
        }
        Ok(())
    }

    /// The response is complete.
    fn finish(&mut self, id: u32, done: &mut Vec<Finished>) {
        let Some(stream) = self.streams.remove(id) else {
            return;
        };
        if !self.outbound.is_complete(&stream) {
            // Answered before all of it was sent: the rest is not worth sending.
            frames::put_rst_stream(self.outbound.frames(), id, frames::code::CANCEL);
        }
        let status = match &stream.trailers {
            Some(trailers) => trailers.grpc_status.map(Status::Grpc),
            None => (stream.http_status != 0).then_some(Status::Http(stream.http_status)),
        };
        let outcome = match status {
            Some(status) => Outcome::Answered {
                status,
                trailers: stream.trailers,
            },
            None => Outcome::Failed(Failure::NoStatus),
        };
        done.push(Finished {
            ticket: stream.ticket,
            outcome,
            body: stream.body,
        });
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Violation> {
        if header.has(flag::ACK) {
            return Ok(());
        }
        for (id, value) in frames::settings(payload)? {
            match id {
                setting::MAX_CONCURRENT_STREAMS => self.peer_cap = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    self.outbound.set_initial_window(&mut self.streams, value)?;
                }
                setting::MAX_FRAME_SIZE => self.outbound.set_max_frame(value)?,
                _ => {}
            }
        }
        self.greeted = true;
        frames::put_settings_ack(self.outbound.frames());
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Violation> {
        let opaque: &[u8; 8] = payload
            .try_into()
            .map_err(|_| Violation::size("a PING that is not 8 bytes long"))?;
        if !header.has(flag::ACK) {
            frames::put_ping_ack(self.outbound.frames(), opaque);
        }
        Ok(())
    }

    /// Ends every open request with this reason.
    pub fn fail_all(&mut self, reason: &Rc<str>, done: &mut Vec<Finished>) {
        let streams = self.streams.split_off(0);
        done.extend(
            streams
                .into_iter()
                .map(|s| failed(s, Failure::Closed(Rc::clone(reason)))),
        );
    }

    /// The requests that are still without an answer.
    pub fn outstanding(&mut self) -> impl Iterator<Item = Ticket> + '_ {
        self.streams.iter_mut().map(|stream| stream.ticket)
    }
}

fn failed(stream: Stream, failure: Failure) -> Finished {
    Finished {
        ticket: stream.ticket,
        outcome: Outcome::Failed(failure),
        body: stream.body,
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
