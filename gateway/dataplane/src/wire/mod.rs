//! The edge: gRPC framing and the Open Inference messages. Its types stop here; the rest of the
//! server sees models, rows and bytes.

mod contents;
pub mod framing;
pub mod request;
pub mod response;
pub mod status;
pub mod timeout;

/// Messages of package `inference`, generated from proto/.
#[allow(clippy::all)]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

/// Messages of package `grpc.health.v1`, generated from proto/.
#[allow(clippy::all)]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}
