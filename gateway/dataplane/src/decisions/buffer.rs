//! Where rows wait for the log's thread: buffers of a fixed size, one for each thread that speaks
//! gRPC and one for threads at idle priority. They are exchanged for empty ones as a whole, so that
//! neither side ever allocates or frees memory of the other, and a lock is held for a copy or an
//! exchange only. Nobody waits for one: what cannot be put at once is not put.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::Logged;
use crate::shadow::tried;

/// A value's length stands before it.
pub const PREFIX: usize = size_of::<u32>();

/// What an entry is.
#[derive(Debug)]
pub enum Head {
    /// Behind the id: the key if there is one, inputs (one a tensor, or one a row for texts), outputs.
    Decision {
        model: Arc<Logged>,
        rows: u32,
        latency_us: f64,
        key: Option<u32>,
    },
    /// Behind the id: outputs of one row.
    Shadow {
        model: Arc<Logged>,
        row: u32,
    },
    Feedback {
        row: u32,
        label: f64,
    },
}

#[derive(Debug)]
pub struct Entry {
    pub head: Head,
    pub time_ns: i64,
    /// Bytes of its id.
    pub id: u32,
    /// Where its bytes begin.
    at: usize,
}

impl Entry {
    pub fn new(head: Head, time_ns: i64, id: &str) -> Self {
        Self {
            head,
            time_ns,
            id: id.len() as u32,
            at: 0,
        }
    }
}

/// Entries and their bytes, one after the other.
#[derive(Debug)]
pub struct Half {
    pub entries: Vec<Entry>,
    pub bytes: Vec<u8>,
}

impl Half {
    pub fn new(bytes: usize) -> Self {
        Self {
            // As much again for entries.
            entries: Vec::with_capacity(bytes / size_of::<Entry>()),
            bytes: Vec::with_capacity(bytes),
        }
    }

    fn has_room(&self, bytes: usize, entries: usize) -> bool {
        self.bytes.len() + bytes <= self.bytes.capacity()
            && self.entries.len() + entries <= self.entries.capacity()
    }

    pub fn begin(&mut self, mut entry: Entry) {
        entry.at = self.bytes.len();
        self.entries.push(entry);
    }

    pub fn value(&mut self, value: &[u8]) {
        self.bytes
            .extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The bytes of the nth entry.
    pub fn of(&self, nth: usize) -> &[u8] {
        let end = self.entries.get(nth + 1).map_or(self.bytes.len(), |e| e.at);
        let span: Range<usize> = self.entries[nth].at..end;
        &self.bytes[span]
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }
}

/// Reads what was put with `Half::value`.
pub fn next_value<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, after)) = rest.split_first_chunk::<PREFIX>() else {
        return &[];
    };
    let (value, after) = after.split_at((u32::from_le_bytes(*length) as usize).min(after.len()));
    *rest = after;
    value
}

#[derive(Debug)]
pub struct Buffers {
    serving: Vec<Mutex<Half>>,
    idle: Mutex<Half>,
    /// Bytes of one of them.
    size: usize,
}

impl Buffers {
    /// `bytes` is the memory of all of them, the empty one that goes round included.
    pub fn new(ports: usize, bytes: usize) -> Self {
        // Two at least: while one is being exchanged there is another.
        let serving = ports.max(2);
        let size = bytes / (serving + 2) / 2;
        Self {
            serving: (0..serving).map(|_| Mutex::new(Half::new(size))).collect(),
            idle: Mutex::new(Half::new(size)),
            size,
        }
    }

    /// An empty one to exchange.
    pub fn spare(&self) -> Half {
        Half::new(self.size)
    }

    /// Lets `fill` write so many bytes and entries at once into the first buffer from `first` on
    /// that is free and has room; false if none is.
    pub fn put(
        &self,
        first: usize,
        bytes: usize,
        entries: usize,
        fill: impl FnOnce(&mut Half),
    ) -> bool {
        let count = self.serving.len();
        let free = (0..count).find_map(|nth| {
            let half = tried(&self.serving[(first + nth) % count])?;
            half.has_room(bytes, entries).then_some(half)
        });
        match free {
            Some(mut half) => {
                fill(&mut half);
                true
            }
            None => false,
        }
    }

    /// The same for one entry of a thread at idle priority.
    pub fn put_idle(&self, bytes: usize, fill: impl FnOnce(&mut Half)) -> bool {
        match tried(&self.idle) {
            Some(mut half) if half.has_room(bytes, 1) => {
                fill(&mut half);
                true
            }
            _ => false,
        }
    }

    /// Hands each buffer that is not empty to `use_it`, in exchange for `spare`.
    pub fn exchange(&self, spare: &mut Half, mut use_it: impl FnMut(&mut Half)) {
        for buffer in self.serving.iter().chain([&self.idle]) {
            let Some(mut half) = tried(buffer).filter(|h| !h.entries.is_empty()) else {
                continue;
            };
            std::mem::swap(&mut *half, spare);
            drop(half);
            use_it(spare);
            spare.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn outcome(half: &mut Half, id: &str) {
        let head = Head::Feedback { row: 0, label: 1.0 };
        half.begin(Entry::new(head, 7, id));
        half.bytes.extend_from_slice(id.as_bytes());
        half.value(b"value");
        half.value(b"");
    }

    fn taken(buffers: &Buffers) -> Vec<String> {
        let (mut spare, mut found) = (buffers.spare(), Vec::new());
        buffers.exchange(&mut spare, |half| {
            for nth in 0..half.entries.len() {
                let (id, mut rest) = half.of(nth).split_at(half.entries[nth].id as usize);
                assert_eq!(next_value(&mut rest), b"value");
                assert_eq!((next_value(&mut rest), rest.len()), (&b""[..], 0));
                found.push(String::from_utf8(id.to_vec()).unwrap());
            }
        });
        assert!(spare.entries.is_empty() && spare.bytes.is_empty());
        found
    }

    #[test]
    fn what_was_put_is_taken_out_once() {
        let buffers = Buffers::new(1, 4_096);
        for id in ["a", "bc"] {
            assert!(buffers.put(0, 32, 1, |half| outcome(half, id)));
        }
        assert!(buffers.put_idle(32, |half| outcome(half, "idle")));
        assert_eq!(taken(&buffers), ["a", "bc", "idle"]);
        assert!(taken(&buffers).is_empty());
    }

    #[test]
    fn a_full_buffer_takes_nothing_more_and_the_next_one_is_tried() {
        let buffers = Buffers::new(2, 8 * 256);
        let put = |bytes| {
            let grow = |half: &mut Half| half.bytes.resize(half.bytes.len() + bytes, 0);
            buffers.put(1, bytes, 1, grow)
        };
        assert!(put(256) && put(256), "the second goes to the other one");
        assert!(!put(1), "there is no third");
        assert!(!buffers.put(0, 0, 9, |_| ()), "entries are bounded too");
    }

    #[test]
    fn who_serves_does_not_wait_for_a_buffer_that_is_held() {
        let buffers = Buffers::new(2, 4_096);
        let (first, second) = (buffers.serving[0].lock(), buffers.serving[1].lock());
        assert!(!buffers.put(0, 1, 1, |_| ()));
        drop(second);
        assert!(buffers.put(0, 32, 1, |half| outcome(half, "x")));
        drop(first);
        assert_eq!(taken(&buffers), ["x"]);
    }

    #[test]
    fn memory_goes_round_and_is_never_grown() {
        let buffers = Buffers::new(1, 4_096);
        let mut spare = buffers.spare();
        for _ in 0..10 {
            while buffers.put(0, 32, 1, |half| outcome(half, "x")) {}
            buffers.exchange(&mut spare, |half| {
                assert_eq!(half.bytes.capacity(), 512);
            });
        }
    }
}
