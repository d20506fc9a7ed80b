//! The request path of Sluicegate: gRPC in, micro-batches that respect each caller's deadline,
//! engines, gRPC out. A request passes `server::connection` → `server::infer` → `wire::request` →
//! `executor` → `wire::response`.

pub mod bare;
pub mod clock;
pub mod config;
mod courtesy;
pub mod decisions;
pub mod engine;
pub mod executor;
mod histogram;
mod keyed;
pub mod metrics;
pub mod model;
mod priority;
#[cfg(feature = "python")]
mod python;
pub mod record;
pub mod sched;
pub mod server;
pub mod shadow;
pub mod strings;
pub mod tensor;
pub mod trace;
pub mod wire;
