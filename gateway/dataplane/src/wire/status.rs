//! gRPC status: a code and a sentence.

use std::fmt;

/// Characters of an encoded message.
const MESSAGE_LIMIT: usize = 1_000;

/// Codes that this server answers with; numbers are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    pub fn number(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::Cancelled => "1",
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

/// Whether and when a caller may try again (gRPC's `grpc-retry-pushback-ms`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// In so many milliseconds.
    After(u64),
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: String,
    pub retry: Option<Retry>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: None,
        }
    }

    pub fn retry(self, retry: Retry) -> Self {
        Self {
            retry: Some(retry),
            ..self
        }
    }

    /// The same as Triton would say it: it knows no code for overload or for a deadline.
    pub fn for_triton(self) -> Self {
        let code = match self.code {
            Code::ResourceExhausted | Code::DeadlineExceeded => Code::Unavailable,
            other => other,
        };
        Self { code, ..self }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The message as a `grpc-message` header: percent-encoded outside printable ASCII, and cut to
    /// a length that every client's limit on headers takes. Parts of it are the caller's own words.
    pub fn encoded_message(&self) -> String {
        let mut out = String::with_capacity(self.message.len().min(MESSAGE_LIMIT) + 3);
        for byte in self.message.bytes() {
            if out.len() >= MESSAGE_LIMIT {
                out.push_str("...");
                break;
            }
            match byte {
                b'%' => out.push_str("%25"),
                0x20..=0x7e => out.push(char::from(byte)),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_percent_encoded_outside_printable_ascii() {
        let status = Status::invalid("100% größer\n");
        assert_eq!(status.encoded_message(), "100%25 gr%C3%B6%C3%9Fer%0A");
    }

    #[test]
    fn a_long_message_is_cut() {
        let encoded = Status::invalid("ä".repeat(1 << 20)).encoded_message();
        assert!(encoded.len() < 1_010 && encoded.ends_with("..."));
    }

    #[test]
    fn every_code_has_its_number() {
        for code in [
            Code::Ok,
            Code::InvalidArgument,
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::Unavailable,
            Code::Unauthenticated,
        ] {
            assert_eq!(code.number(), (code as u8).to_string());
        }
    }
}
