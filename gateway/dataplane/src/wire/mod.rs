//! The edge: gRPC framing and the Open Inference messages. Its types stop here; the rest of the
//! server sees models, rows and bytes.

pub mod classes;
pub mod compression;
mod contents;
pub mod framing;
mod input;
pub mod parameters;
pub mod request;
pub mod response;
pub mod status;
pub mod timeout;

/// Messages of package `inference`, generated from proto/.
#[allow(clippy::all)]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

/// Messages of package `sluicegate.feedback.v1`, generated from proto/.
#[allow(clippy::all)]
pub mod feedback {
    include!(concat!(env!("OUT_DIR"), "/sluicegate.feedback.v1.rs"));
}

/// Messages of package `grpc.health.v1`, generated from proto/.
#[allow(clippy::all)]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// Messages of package `grpc.reflection.v1`, which are those of `v1alpha` too, generated from
/// proto/.
#[allow(clippy::all)]
pub mod reflection {
    include!(concat!(env!("OUT_DIR"), "/grpc.reflection.v1.rs"));
}

/// Every file of proto/, as a serialized FileDescriptorSet.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
