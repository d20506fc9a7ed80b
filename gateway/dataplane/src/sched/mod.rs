//! Scheduling, pure: time comes in as an argument and nothing here blocks, locks or does I/O.

pub mod admission;
pub mod batch;
pub mod codel;
pub mod cost;
pub mod queue;
