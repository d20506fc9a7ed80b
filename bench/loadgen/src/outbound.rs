//! The sending half of a connection: what waits to be written, and the peer's windows.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::frames::{self, OUR_MAX_FRAME_SIZE, Violation, flag, kind};
use crate::messages::Requests;
use crate::outcome::Ticket;
use crate::streams::{Stream, StreamRing};

/// Windows start at this whatever the settings say (RFC 9113, 6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: i64 = 0x7fff_ffff;
/// No new request is put behind this many unwritten bytes, so that a request counted as sent is.
const FULL: usize = 64 * 1024;
/// Written bytes are dropped from the front when there are this many.
const COMPACT_AT: usize = 256 * 1024;

pub struct Outbound {
    requests: Rc<Requests>,
    bytes: Vec<u8>,
    written: usize,
    /// The connection's window.
    window: i64,
    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE and SETTINGS_MAX_FRAME_SIZE.
    initial_window: i64,
    max_frame: usize,
    /// Streams whose body waits for a window, oldest first.
    waiting: VecDeque<u32>,
}

impl Outbound {
    pub fn new(requests: Rc<Requests>) -> Self {
        Self {
            requests,
            bytes: Vec::new(),
            written: 0,
            window: i64::from(DEFAULT_WINDOW),
            initial_window: i64::from(DEFAULT_WINDOW),
            max_frame: OUR_MAX_FRAME_SIZE,
            waiting: VecDeque::new(),
        }
    }

    /// Where control frames are appended.
    pub fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn has_room(&self) -> bool {
        self.to_write().len() < FULL
    }

    pub fn to_write(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub fn written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written > COMPACT_AT {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Opens a stream for a request and frames it, its body as far as the windows allow.
    pub fn start(&mut self, streams: &mut StreamRing, ticket: Ticket) {
        let id = streams.next_id();
        let block = &self.requests.block;
        frames::put_header(
            &mut self.bytes,
            block.len(),
            kind::HEADERS,
            flag::END_HEADERS,
            id,
        );
        self.bytes.extend_from_slice(block);
        streams.push(Stream {
            ticket,
            sent: 0,
            window: self.initial_window,
            http_status: 0,
            trailers: None,
            body: ticket.capture.then(Vec::new),
        });
        if !self.send_body(streams, id) {
            self.waiting.push_back(id);
        }
    }

    /// Frames as much of a body as both windows allow; true when nothing of it is left.
    fn send_body(&mut self, streams: &mut StreamRing, id: u32) -> bool {
        let Some(stream) = streams.get_mut(id) else {
            return true;
        };
        let body = self.requests.body(stream.ticket.message);
        loop {
            let left = body.len() - stream.sent;
            let allowed = self.window.min(stream.window).max(0) as usize;
            let chunk = left.min(allowed).min(self.max_frame);
            if left > 0 && chunk == 0 {
                return false;
            }
            let last = chunk == left;
            let flags = if last { flag::END_STREAM } else { 0 };
            frames::put_header(&mut self.bytes, chunk, kind::DATA, flags, id);
            self.bytes
                .extend_from_slice(&body[stream.sent..stream.sent + chunk]);
            stream.sent += chunk;
            stream.window -= chunk as i64;
            self.window -= chunk as i64;
            if last {
                return true;
            }
        }
    }

    /// Whether all of a stream's body has been framed.
    pub fn is_complete(&self, stream: &Stream) -> bool {
        stream.sent == self.requests.body(stream.ticket.message).len()
    }

    /// Sends on with bodies that waited for a window.
    pub fn send_waiting(&mut self, streams: &mut StreamRing) {
        for _ in 0..self.waiting.len() {
            if self.window <= 0 {
                return;
            }
            let Some(id) = self.waiting.pop_front() else {
                return;
            };
            if !self.send_body(streams, id) {
                if self.window <= 0 {
                    self.waiting.push_front(id);
                } else {
                    self.waiting.push_back(id);
                }
            }
        }
    }

    /// The peer's SETTINGS_MAX_FRAME_SIZE.
    pub fn set_max_frame(&mut self, value: u32) -> Result<(), Violation> {
        if !(16_384..=16_777_215).contains(&value) {
            return Err(Violation::protocol(
                "a SETTINGS_MAX_FRAME_SIZE out of range",
            ));
        }
        self.max_frame = value as usize;
        Ok(())
    }

    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE, which moves the windows of open streams too.
    pub fn set_initial_window(
        &mut self,
        streams: &mut StreamRing,
        value: u32,
    ) -> Result<(), Violation> {
        let window = i64::from(value);
        if window > LARGEST_WINDOW {
            return Err(Violation::flow("an initial window above 2^31 - 1"));
        }
        let change = window - self.initial_window;
        self.initial_window = window;
        streams
            .iter_mut()
            .for_each(|stream| stream.window += change);
        Ok(())
    }

    /// A WINDOW_UPDATE, of the connection (0) or of a stream, which may have ended.
    pub fn grant(
        &mut self,
        streams: &mut StreamRing,
        id: u32,
        increment: u32,
    ) -> Result<(), Violation> {
        let window = if id == 0 {
            &mut self.window
        } else if let Some(stream) = streams.get_mut(id) {
            &mut stream.window
        } else {
            return Ok(());
        };
        *window += i64::from(increment);
        if *window > LARGEST_WINDOW {
            return Err(Violation::flow("a flow-control window above 2^31 - 1"));
        }
        Ok(())
    }
}
