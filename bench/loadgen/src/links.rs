//! All connections of a run: opening them, finding room, losing and replacing them.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::clock::Clock;
use crate::link::{Ended, Link};
use crate::messages::Requests;
use crate::outcome::{Finished, Ticket};

/// Pause after a lost connection before it is made again.
const RETRY_AFTER_NS: u64 = 100_000_000;

/// Where a request is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub connection: usize,
    pub stream: u32,
}

enum Slot {
    Up(Box<Link>),
    /// Lost; made again at this time, if at all.
    Down {
        retry_at_ns: Option<u64>,
    },
}

pub struct Links {
    to: SocketAddr,
    requests: Rc<Requests>,
    cap: usize,
    reconnect: bool,
    slots: Vec<Slot>,
    /// Where the search for room begins.
    turn: usize,
    in_flight: usize,
    pub lost: u64,
    pub reconnects: u64,
    pub last_reason: Option<Ended>,
}

impl Links {
    pub fn open(
        to: SocketAddr,
        requests: Rc<Requests>,
        count: usize,
        cap: usize,
        poll: &Poll,
    ) -> Self {
        let mut links = Self {
            to,
            requests,
            cap,
            reconnect: false,
            slots: (0..count)
                .map(|_| Slot::Down {
                    retry_at_ns: Some(0),
                })
                .collect(),
            turn: 0,
            in_flight: 0,
            lost: 0,
            reconnects: 0,
            last_reason: None,
        };
        links.retry(0, poll);
        links
    }

    /// From here on, lost connections are counted, and made again if so wished.
    pub fn begin(&mut self, reconnect: bool) {
        (self.lost, self.reconnects) = (0, 0);
        if reconnect {
            for slot in &mut self.slots {
                if let Slot::Down { retry_at_ns } = slot {
                    *retry_at_ns = Some(0);
                }
            }
        }
        self.reconnect = reconnect;
    }

    /// Requests sent and neither answered nor failed.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn up(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Up(link) => Some(&**link),
            Slot::Down { .. } => None,
        })
    }

    pub fn ready(&self) -> usize {
        self.up().filter(|link| link.ready()).count()
    }

    /// Whether an attempt to connect is still under way.
    pub fn any_pending(&self) -> bool {
        self.up().any(|link| !link.ready())
    }

    /// No connection is left and none will come back.
    pub fn all_gone(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| matches!(slot, Slot::Down { retry_at_ns: None }))
    }

    /// When the next attempt to connect again is due.
    pub fn next_retry_ns(&self) -> Option<u64> {
        let retry_at = |slot: &Slot| match slot {
            Slot::Down { retry_at_ns } => *retry_at_ns,
            Slot::Up(_) => None,
        };
        self.slots.iter().filter_map(retry_at).min()
    }

    pub fn has_room(&self) -> bool {
        self.up().any(Link::has_room)
    }

    /// Resets a request, if it still waits for its answer.
    pub fn cancel(&mut self, place: Place, done: &mut Vec<Finished>) {
        if let Some(Slot::Up(link)) = self.slots.get_mut(place.connection) {
            let before = done.len();
            link.connection.cancel(place.stream, done);
            self.in_flight -= done.len() - before;
        }
    }

    /// Starts a request on the next connection with room, and says where; `None` if there is none.
    pub fn start(&mut self, ticket: Ticket) -> Option<Place> {
        let count = self.slots.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if let Slot::Up(link) = &mut self.slots[index]
                && link.has_room()
            {
                let stream = link.connection.start(ticket);
                self.turn = (index + 1) % count;
                self.in_flight += 1;
                return Some(Place {
                    connection: index,
                    stream,
                });
            }
        }
        None
    }

    /// Writes what every connection has to write.
    pub fn flush(&mut self, now_ns: u64, done: &mut Vec<Finished>) {
        for index in 0..self.slots.len() {
            if let Slot::Up(link) = &mut self.slots[index]
                && let Err(reason) = link.flush()
            {
                self.lose(index, reason, now_ns, done);
            }
        }
    }

    /// Handles one event of the poll. `each` gets the requests that a read finished and when it
    /// returned.
    pub fn serve(
        &mut self,
        event: &Event,
        clock: &Clock,
        done: &mut Vec<Finished>,
        mut each: impl FnMut(&mut Vec<Finished>, u64) -> Result<(), String>,
    ) -> Result<(), String> {
        let index = event.token().0;
        let Some(Slot::Up(link)) = self.slots.get_mut(index) else {
            return Ok(());
        };
        let was_ready = link.ready();
        let mut result = Ok(());
        if event.is_writable() || event.is_error() {
            result = link.writable();
        }
        // A short read means that the socket is empty, except for a FIN behind the data.
        let to_the_end = event.is_read_closed() || event.is_error();
        let mut more = event.is_readable() || to_the_end;
        while more && result.is_ok() {
            let room = link.connection.read_space().len();
            result = match link.read() {
                Ok(bytes) => {
                    let read_ns = clock.now_ns();
                    more = bytes > 0 && (to_the_end || bytes == room);
                    let handled = link.handle(bytes, done);
                    self.in_flight -= done.len();
                    each(done, read_ns)?;
                    handled
                }
                Err(reason) => Err(reason),
            };
        }
        self.reconnects += u64::from(!was_ready && link.ready());
        let gone = match result {
            Err(reason) => Some(reason),
            Ok(()) if link.connection.drained() => Some(Ended("connection closed".into())),
            Ok(()) => None,
        };
        if let Some(reason) = gone {
            let now_ns = clock.now_ns();
            self.lose(index, reason, now_ns, done);
            each(done, now_ns)?;
        }
        Ok(())
    }

    fn lose(&mut self, index: usize, reason: Ended, now_ns: u64, done: &mut Vec<Finished>) {
        let retry_at_ns = self.reconnect.then_some(now_ns + RETRY_AFTER_NS);
        let down = Slot::Down { retry_at_ns };
        if let Slot::Up(mut link) = std::mem::replace(&mut self.slots[index], down) {
            let before = done.len();
            link.connection.fail_all(&reason.0, done);
            self.in_flight -= done.len() - before;
            self.lost += u64::from(link.ready());
        }
        self.last_reason = Some(reason);
    }

    /// Connects again where that is due.
    pub fn retry(&mut self, now_ns: u64, poll: &Poll) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if !matches!(slot, Slot::Down { retry_at_ns: Some(at) } if *at <= now_ns) {
                continue;
            }
            let requests = Rc::clone(&self.requests);
            match Link::connect(self.to, requests, self.cap, poll.registry(), Token(index)) {
                Ok(link) => *slot = Slot::Up(Box::new(link)),
                Err(reason) => {
                    let again = self.reconnect.then_some(now_ns + RETRY_AFTER_NS);
                    *slot = Slot::Down { retry_at_ns: again };
                    self.last_reason = Some(reason);
                }
            }
        }
    }

    /// The requests that are still in flight.
    pub fn outstanding(&mut self) -> impl Iterator<Item = Ticket> + '_ {
        self.slots.iter_mut().flat_map(|slot| match slot {
            Slot::Up(link) => link.connection.outstanding().collect::<Vec<_>>(),
            Slot::Down { .. } => Vec::new(),
        })
    }
}

/// Waits for events; an interrupted wait is an early return.
pub fn wait(poll: &mut Poll, events: &mut Events, timeout: Duration) -> Result<(), String> {
    match poll.poll(events, Some(timeout)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        Err(error) => Err(format!("cannot wait for sockets: {error}")),
    }
}
