//! A request and what became of it.

use std::fmt;
use std::rc::Rc;

use crate::frames::code_name;
use crate::response_head::ResponseFields;

/// What the generator must know of a request until its response is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When the schedule wanted it sent, in nanoseconds of the run's clock.
    pub scheduled_ns: u64,
    /// Which message it carries.
    pub message: u32,
    /// Whether it belongs to the counted part of the run, that is, not to the warm-up.
    pub counted: bool,
    /// Whether the response's message is wanted.
    pub capture: bool,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Grpc(u8),
    /// An HTTP status without any grpc-status.
    Http(u16),
}

impl Status {
    pub const OK: Self = Self::Grpc(0);

    /// The code in the samples and responses files; 255 for an answer without grpc-status.
    pub fn code(self) -> u8 {
        match self {
            Self::Grpc(code) => code,
            Self::Http(_) => 255,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        match self {
            Self::Grpc(code) => match NAMES.get(usize::from(*code)) {
                Some(name) => f.write_str(name),
                None => write!(f, "CODE_{code}"),
            },
            Self::Http(status) => write!(f, "HTTP_{status}"),
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// RST_STREAM with this error code.
    Reset(u32),
    /// GOAWAY with this error code, and the request was beyond its last stream.
    GoAway(u32),
    /// The connection ended; the reason is shared by all its requests.
    Closed(Rc<str>),
    /// A response without any status.
    NoStatus,
    /// Reset by us, before its answer came.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(code) => write!(f, "rst:{}", code_name(*code)),
            Self::GoAway(code) => write!(f, "goaway:{}", code_name(*code)),
            Self::Closed(reason) => f.write_str(reason),
            Self::NoStatus => f.write_str("response without a status"),
            Self::Cancelled => f.write_str("cancelled by this generator"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The complete response was read; `trailers` are there if they brought a grpc-status.
    Answered {
        status: Status,
        trailers: Option<Rc<ResponseFields>>,
    },
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub ticket: Ticket,
    pub outcome: Outcome,
    /// The response's DATA, if the ticket asked for it.
    pub body: Option<Vec<u8>>,
}
