//! The open streams of one connection, found by their identifiers.
//!
//! A client's identifiers are the odd numbers in order, so a ring indexed by identifier holds
//! them without hashing and without an allocation a request.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::outcome::Ticket;
use crate::response_head::ResponseFields;

/// One request on the wire and what has come back for it.
#[derive(Debug)]
pub struct Stream {
    pub ticket: Ticket,
    /// Bytes of the body already framed for sending.
    pub sent: usize,
    /// The peer's flow-control window for this stream; negative after it shrank its setting.
    pub window: i64,
    /// `:status` of the final response, 0 until it came.
    pub http_status: u16,
    pub trailers: Option<Rc<ResponseFields>>,
    pub body: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct StreamRing {
    /// The identifier of the first slot.
    first_id: u32,
    slots: VecDeque<Option<Stream>>,
    open: usize,
}

impl StreamRing {
    pub fn new() -> Self {
        Self {
            first_id: 1,
            slots: VecDeque::new(),
            open: 0,
        }
    }

    pub fn open(&self) -> usize {
        self.open
    }

    /// The identifier that the next stream will have; may exceed 31 bits, see `exhausted`.
    pub fn next_id(&self) -> u32 {
        self.first_id + 2 * self.slots.len() as u32
    }

    /// Whether the connection's 2^30 identifiers are used up.
    pub fn exhausted(&self) -> bool {
        self.next_id() > 0x7fff_ffff
    }

    pub fn push(&mut self, stream: Stream) {
        self.slots.push_back(Some(stream));
        self.open += 1;
    }

    fn index(&self, id: u32) -> Option<usize> {
        (id % 2 == 1).then_some(())?;
        Some(id.checked_sub(self.first_id)? as usize / 2)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let index = self.index(id)?;
        self.slots.get_mut(index)?.as_mut()
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream> {
        let index = self.index(id)?;
        let stream = self.slots.get_mut(index)?.take()?;
        self.open -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first_id += 2;
        }
        Some(stream)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    /// Takes out every open stream with an identifier above `last`.
    pub fn split_off(&mut self, last: u32) -> Vec<Stream> {
        let ids: Vec<u32> = (0..self.slots.len() as u32)
            .map(|index| self.first_id + 2 * index)
            .filter(|id| *id > last)
            .collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn stream(message: u32) -> Stream {
        let ticket = Ticket {
            scheduled_ns: 0,
            message,
            counted: true,
            capture: false,
        };
        Stream {
            ticket,
            sent: 0,
            window: 0,
            http_status: 0,
            trailers: None,
            body: None,
        }
    }

    #[test]
    fn streams_are_found_by_identifier_while_earlier_ones_end_in_any_order() {
        let mut ring = StreamRing::new();
        for message in 0..4 {
            ring.push(stream(message));
        }
        assert_eq!(ring.next_id(), 9);
        assert_eq!(ring.remove(3).unwrap().ticket.message, 1);
        assert_eq!(ring.remove(1).unwrap().ticket.message, 0);
        assert!(ring.get_mut(1).is_none());
        assert!(ring.remove(3).is_none());
        assert!(ring.get_mut(6).is_none());
        assert_eq!(ring.get_mut(7).unwrap().ticket.message, 3);
        assert_eq!((ring.open(), ring.next_id()), (2, 9));
    }

    #[test]
    fn splitting_off_takes_only_later_streams() {
        let mut ring = StreamRing::new();
        for message in 0..4 {
            ring.push(stream(message));
        }
        let taken: Vec<u32> = ring.split_off(3).iter().map(|s| s.ticket.message).collect();
        assert_eq!(taken, [2, 3]);
        assert_eq!(ring.open(), 2);
        assert_eq!(ring.next_id(), 9);
    }
}
