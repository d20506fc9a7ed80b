//! The requests' messages, read and framed once, and the responses' messages, kept for comparison.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use crate::outcome::{Finished, Outcome, Status};

/// gRPC puts a compression flag and a 32-bit length before each message.
pub const GRPC_PREFIX: usize = 5;

/// What every request is made of: one header block and the messages, each with its gRPC prefix.
pub struct Requests {
    pub block: Vec<u8>,
    framed: Vec<u8>,
    spans: Vec<Range<usize>>,
}

impl Requests {
    /// Takes a sequence of (u32 little-endian length, message) from a file.
    ///
    /// Fails with a sentence if the sequence is torn or empty.
    pub fn from_sequence(block: Vec<u8>, sequence: &[u8]) -> Result<Self, String> {
        let mut requests = Self {
            block,
            framed: Vec::with_capacity(sequence.len()),
            spans: Vec::new(),
        };
        let mut rest = sequence;
        while !rest.is_empty() {
            let (message, after) = split_message(rest).ok_or_else(|| {
                format!(
                    "the sequence of messages is torn after message {}: a length without its bytes",
                    requests.spans.len()
                )
            })?;
            requests.push(message)?;
            rest = after;
        }
        if requests.spans.is_empty() {
            return Err("the sequence of messages is empty".to_owned());
        }
        Ok(requests)
    }

    /// One empty message.
    pub fn empty_message(block: Vec<u8>) -> Result<Self, String> {
        Self::from_sequence(block, &[0; 4])
    }

    fn push(&mut self, message: &[u8]) -> Result<(), String> {
        if self.spans.len() >= u32::MAX as usize {
            return Err("there are more messages than 32 bits can number".to_owned());
        }
        let start = self.framed.len();
        self.framed.push(0);
        self.framed
            .extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.framed.extend_from_slice(message);
        self.spans.push(start..self.framed.len());
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Message `index` with its gRPC prefix: the bytes that go into DATA frames.
    pub fn body(&self, index: u32) -> &[u8] {
        &self.framed[self.spans[index as usize].clone()]
    }
}

fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The first OK response to each message, or the first response where none was OK.
pub struct Responses {
    kept: Vec<Option<(Status, Vec<u8>)>>,
}

impl Responses {
    pub fn new(messages: usize) -> Self {
        Self {
            kept: vec![None; messages],
        }
    }

    pub fn wants(&self, message: u32) -> bool {
        !matches!(
            self.kept.get(message as usize),
            Some(Some((Status::OK, _))) | None
        )
    }

    pub fn keep_finished(&mut self, finished: &Finished) {
        if let (Outcome::Answered { status, .. }, Some(body)) = (&finished.outcome, &finished.body)
        {
            self.keep(finished.ticket.message, *status, body);
        }
    }

    fn keep(&mut self, message: u32, status: Status, body: &[u8]) {
        let Some(kept) = self.kept.get_mut(message as usize) else {
            return;
        };
        let better = match kept {
            None => true,
            Some((before, _)) => *before != Status::OK && status == Status::OK,
        };
        if better {
            *kept = Some((status, first_message(body).unwrap_or_default().to_vec()));
        }
    }

    /// Writes (u32 index, u32 status code, u32 length, message) for each, little-endian.
    pub fn write(&self, file: File) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        for (index, kept) in self.kept.iter().enumerate() {
            if let Some((status, message)) = kept {
                out.write_all(&(index as u32).to_le_bytes())?;
                out.write_all(&u32::from(status.code()).to_le_bytes())?;
                out.write_all(&(message.len() as u32).to_le_bytes())?;
                out.write_all(message)?;
            }
        }
        out.flush()
    }
}

/// The first uncompressed message of a response body, if it is whole.
fn first_message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = body.split_first_chunk::<GRPC_PREFIX>()?;
    let &[0, a, b, c, d] = prefix else {
        return None;
    };
    rest.get(..u32::from_be_bytes([a, b, c, d]) as usize)
}

pub fn read_sequence(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn messages_get_their_grpc_prefix() {
        let requests = Requests::from_sequence(vec![], b"\x02\0\0\0hi\x00\0\0\0").unwrap();
        assert_eq!(requests.count(), 2);
        assert_eq!(requests.body(0), b"\0\0\0\0\x02hi");
        assert_eq!(requests.body(1), b"\0\0\0\0\0");
    }

    #[test]
    fn a_torn_or_empty_sequence_is_refused() {
        assert!(Requests::from_sequence(vec![], b"\x03\0\0\0hi").is_err());
        assert!(Requests::from_sequence(vec![], b"\x03\0").is_err());
        assert!(Requests::from_sequence(vec![], b"").is_err());
    }

    #[test]
    fn an_ok_response_replaces_a_refusal_and_stays() {
        let mut responses = Responses::new(1);
        responses.keep(0, Status::Grpc(8), b"");
        assert!(responses.wants(0));
        responses.keep(0, Status::OK, b"\0\0\0\0\x01a");
        assert!(!responses.wants(0));
        responses.keep(0, Status::OK, b"\0\0\0\0\x01b");
        assert_eq!(responses.kept[0], Some((Status::OK, b"a".to_vec())));
    }

    #[test]
    fn a_cut_or_compressed_message_is_not_taken_for_whole() {
        assert_eq!(first_message(b"\0\0\0\0\x02a"), None);
        assert_eq!(first_message(b"\x01\0\0\0\x01a"), None);
        assert_eq!(first_message(b"\0\0\0\0\x01ab"), Some(&b"a"[..]));
    }
}
