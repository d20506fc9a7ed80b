//! Which requests are traced, and what is kept of them until the telemetry process fetches it.
//!
//! The caller's `traceparent` header (W3C Trace Context) decides where there is one; of the others
//! a share is taken by chance. Spans are kept in a ring: tracing never makes a request wait.

mod otlp;

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;

use crate::clock::now;
use crate::record::Record;

/// Requests kept at most; more are counted and dropped.
const KEPT: usize = 10_000;

/// Where a request stands in its caller's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    pub trace: u128,
    /// The caller's span; 0 if this server begins the trace.
    pub parent: u64,
    /// This request's own span.
    pub span: u64,
}

impl Context {
    /// Another request of the same call: its own span below the same parent.
    pub fn sibling(self) -> Self {
        Self {
            span: random(),
            ..self
        }
    }
}

/// One traced request.
#[derive(Debug, Clone)]
pub struct Span {
    pub context: Context,
    pub record: Record,
    pub model: String,
    pub version: u64,
    pub rows: usize,
    /// The batch's number, how many rows it had.
    pub batch: Option<(u64, usize)>,
}

#[derive(Debug)]
pub struct Tracer {
    /// Of 2^64 requests without a traceparent so many are traced.
    threshold: u64,
    on: bool,
    ring: Mutex<Vec<Span>>,
    /// Traced requests that found no room.
    pub dropped: Counter,
}

impl Tracer {
    /// `ratio` of 0 to 1; `None` traces nothing, not even what callers ask for.
    pub fn new(ratio: Option<f64>) -> Self {
        Self {
            threshold: (ratio.unwrap_or(0.0).clamp(0.0, 1.0) * u64::MAX as f64) as u64,
            on: ratio.is_some(),
            ring: Mutex::default(),
            dropped: Counter::default(),
        }
    }

    /// Whether a request is traced, and as what.
    pub fn decide(&self, traceparent: Option<&[u8]>) -> Option<Context> {
        if !self.on {
            return None;
        }
        match traceparent.and_then(parse) {
            Some((trace, parent, true)) => Some(Context {
                trace,
                parent,
                span: random(),
            }),
            Some((_, _, false)) => None,
            // Also for a header that is malformed: a new trace begins here.
            None if self.threshold > 0 && random() <= self.threshold => Some(Context {
                trace: u128::from(random()) << 64 | u128::from(random()),
                parent: 0,
                span: random(),
            }),
            None => None,
        }
    }

    pub fn keep(&self, span: Span) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() < KEPT {
            ring.push(span);
        } else {
            drop(ring);
            self.dropped.inc();
        }
    }

    /// Takes out what is there, as a collector takes it.
    pub fn drain(&self) -> Vec<u8> {
        otlp::encode(&self.taken(), began())
    }

    fn taken(&self) -> Vec<Span> {
        std::mem::take(&mut *self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The clock's zero in nanoseconds since 1970, by today's wall clock.
fn began() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = wall.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(0));
    wall.saturating_sub(now())
}

/// Trace, span and whether it is sampled, of a `traceparent` header.
fn parse(header: &[u8]) -> Option<(u128, u64, bool)> {
    let text = std::str::from_utf8(header).ok()?;
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let lower = |t: &str| t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if lengths != (2, 32, 16, 2) || ![version, trace, span, flags].into_iter().all(lower) {
        return None;
    }
    // A later version may add parts; version 00 has none.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let span = u64::from_str_radix(span, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && span != 0).then_some((trace, span, flags & 1 == 1))
}

/// A number by chance (SplitMix64, seeded once a thread), never 0.
pub fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        mixed(next)
    })
}

/// SplitMix64's last step: every bit of what comes out depends on every bit of what goes in. Never 0,
/// which stands for no span.
pub fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's hash keys come from the system's randomness.
    RandomState::new().hash_one(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::record::Outcome;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_followed() {
        let context = Tracer::new(Some(0.0)).decide(Some(PARENT)).unwrap();
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent, 0x00f0_67aa_0ba9_02b7);
    }

    #[test]
    fn who_says_not_sampled_is_not() {
        let mut header = PARENT.to_vec();
        *header.last_mut().unwrap() = b'0';
        assert_eq!(Tracer::new(Some(1.0)).decide(Some(&header)), None);
        assert_eq!(Tracer::new(None).decide(Some(PARENT)), None);
    }

    #[test]
    fn a_malformed_header_is_no_header() {
        for bad in [
            &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"[..],
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"\xff\xfe",
            b"",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert!(parse(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x").is_some());
    }

    #[test]
    fn about_the_share_that_was_asked_for_is_traced() {
        let tracer = Tracer::new(Some(0.1));
        let traced = (0..20_000)
            .filter(|_| tracer.decide(None).is_some())
            .count();
        assert!((1_700..2_300).contains(&traced), "{traced}");
    }

    #[test]
    fn spans_are_taken_out_once_and_the_ring_has_an_end() {
        let tracer = Tracer::new(Some(1.0));
        let span = Span {
            context: tracer.decide(Some(PARENT)).unwrap(),
            record: Record {
                outcome: Outcome::Answered,
                ..Record::arrived(0)
            },
            model: "m".into(),
            version: 1,
            rows: 2,
            batch: Some((7, 5)),
        };
        (0..KEPT + 3).for_each(|_| tracer.keep(span.clone()));
        let taken = tracer.taken();
        assert_eq!((taken.len(), tracer.dropped.get()), (KEPT, 3));
        assert_eq!(taken[0].batch, Some((7, 5)));
        assert!(tracer.taken().is_empty());
    }
}
