//! How busy the lanes are, for threads that must not take the executor's lock.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::state::State;

/// Written under the executor's lock, read without it.
#[derive(Debug, Default)]
pub struct Backlog {
    full: AtomicBool,
}

impl Backlog {
    /// Whether nothing waits and a lane is free.
    pub fn has_room(&self) -> bool {
        !self.full.load(Relaxed)
    }

    /// Notes how it stands; whether anything is queued.
    pub(super) fn note(&self, state: &State) -> bool {
        let queued = !state.nothing_queued();
        let full = queued || state.free_lane().is_none();
        // A store that changes nothing would still take the line from whoever reads it.
        if full != self.full.load(Relaxed) {
            self.full.store(full, Relaxed);
        }
        queued
    }
}
