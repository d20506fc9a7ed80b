//! What a response's header blocks say about its outcome, read at the rate of the load.
//!
//! We announce a header table of size 0, so a peer's blocks mean the same whenever they come:
//! whole blocks are remembered by their bytes, and in a new block only fields not seen before are
//! decoded. A peer that keeps a table all the same is decoded block by block with the full state.

use std::collections::HashMap;
use std::rc::Rc;

use loona_hpack::Decoder;

use crate::frames::{Violation, code};
use crate::hpack::{EncodedField, split_field, split_size_updates};

/// A peer may use this much table until it has told us otherwise (RFC 7541, 4.2; RFC 9113, 6.5.2).
const DEFAULT_TABLE_SIZE: usize = 4096;
/// Entries in each of the caches below; a full one begins anew.
const CACHED: usize = 4096;

const UNDECODABLE: Violation = Violation {
    code: code::COMPRESSION_ERROR,
    what: "a header block that HPACK cannot decode",
};

/// What a header block says about the outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseFields {
    /// `:status`; absent in trailers.
    pub http_status: Option<u16>,
    /// `grpc-status`; a value that is no number reads as UNKNOWN (2), as gRPC asks.
    pub grpc_status: Option<u8>,
    message: Option<Message>,
}

/// `grpc-message`. Few are ever looked at, and servers make each one different, so they stay
/// encoded where that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Text(String),
    /// The whole field, decodable without a table.
    Encoded(Box<[u8]>),
}

impl ResponseFields {
    /// `grpc-message`, percent-decoded; empty if there is none.
    pub fn grpc_message(&self) -> String {
        match &self.message {
            None => String::new(),
            Some(Message::Text(text)) => text.clone(),
            Some(Message::Encoded(field)) => {
                let mut text = String::new();
                // A message that cannot be decoded reads as empty: the status is known already.
                let _ =
                    Decoder::new().decode_with_cb(field, |_, value| text = percent_decode(&value));
                text
            }
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        match Meaning::of(name) {
            Meaning::HttpStatus => self.http_status = Some(digits(value).unwrap_or(0)),
            Meaning::GrpcStatus => {
                const UNKNOWN: u8 = 2;
                let status = digits(value).and_then(|status| u8::try_from(status).ok());
                self.grpc_status = Some(status.unwrap_or(UNKNOWN));
            }
            Meaning::GrpcMessage => self.message = Some(Message::Text(percent_decode(value))),
            Meaning::Nothing => {}
        }
    }
}

/// What a field is to us, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    HttpStatus,
    GrpcStatus,
    GrpcMessage,
    Nothing,
}

impl Meaning {
    fn of(name: &[u8]) -> Self {
        match name {
            b":status" => Self::HttpStatus,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-message" => Self::GrpcMessage,
            _ => Self::Nothing,
        }
    }
}

fn digits(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn percent_decode(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let escaped = (first == b'%')
            .then(|| after.first_chunk::<2>())
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A map that begins anew when it is full.
struct Cache<V> {
    entries: HashMap<Box<[u8]>, V>,
}

impl<V: Clone> Cache<V> {
    fn new() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }

    fn get(&self, key: &[u8]) -> Option<V> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: &[u8], value: V) {
        if self.entries.len() >= CACHED {
            self.entries.clear();
        }
        self.entries.insert(key.into(), value);
    }
}

/// Decodes the header blocks of one connection, in the order in which they came.
pub struct BlockDecoder {
    decoder: Decoder<'static>,
    /// The table size that the peer uses, by what its blocks said.
    table_size: usize,
    /// By the bytes of a block, of a field's name, and of a whole status field.
    blocks: Cache<Rc<ResponseFields>>,
    meanings: Cache<Meaning>,
    statuses: Cache<ResponseFields>,
}

impl BlockDecoder {
    pub fn new() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(DEFAULT_TABLE_SIZE);
        Self {
            decoder,
            table_size: DEFAULT_TABLE_SIZE,
            blocks: Cache::new(),
            meanings: Cache::new(),
            statuses: Cache::new(),
        }
    }

    pub fn decode(&mut self, block: &[u8]) -> Result<Rc<ResponseFields>, Violation> {
        let was_stateless = self.table_size == 0;
        if was_stateless && let Some(known) = self.blocks.get(block) {
            return Ok(known);
        }
        let (size, rest) = split_size_updates(block).ok_or(UNDECODABLE)?;
        self.table_size = size.unwrap_or(self.table_size);
        // With an empty table before and after, a block's meaning hangs on its bytes alone.
        if was_stateless && self.table_size == 0 {
            let fields = Rc::new(self.decode_stateless(rest)?);
            self.blocks.put(block, Rc::clone(&fields));
            return Ok(fields);
        }
        let mut fields = ResponseFields::default();
        self.decoder
            .decode_with_cb(block, |name, value| fields.take(&name, &value))
            .map_err(|_| UNDECODABLE)?;
        Ok(Rc::new(fields))
    }

    fn decode_stateless(&mut self, block: &[u8]) -> Result<ResponseFields, Violation> {
        let mut fields = ResponseFields::default();
        let mut rest = block;
        while !rest.is_empty() {
            let (field, after) = split_field(rest).ok_or(UNDECODABLE)?;
            rest = after;
            match self.meaning(field)? {
                Meaning::Nothing => {}
                Meaning::GrpcMessage => fields.message = Some(Message::Encoded(field.whole.into())),
                Meaning::HttpStatus => fields.http_status = self.status(field)?.http_status,
                Meaning::GrpcStatus => fields.grpc_status = self.status(field)?.grpc_status,
            }
        }
        Ok(fields)
    }

    fn meaning(&mut self, field: EncodedField<'_>) -> Result<Meaning, Violation> {
        if let Some(meaning) = self.meanings.get(field.name) {
            return Ok(meaning);
        }
        let mut with_empty_value = field.name.to_vec();
        if field.name.len() < field.whole.len() {
            with_empty_value.push(0);
        }
        let mut meaning = Meaning::Nothing;
        self.decoder
            .decode_with_cb(&with_empty_value, |name, _| meaning = Meaning::of(&name))
            .map_err(|_| UNDECODABLE)?;
        self.meanings.put(field.name, meaning);
        Ok(meaning)
    }

    fn status(&mut self, field: EncodedField<'_>) -> Result<ResponseFields, Violation> {
        if let Some(status) = self.statuses.get(field.whole) {
            return Ok(status);
        }
        let mut status = ResponseFields::default();
        self.decoder
            .decode_with_cb(field.whole, |name, value| status.take(&name, &value))
            .map_err(|_| UNDECODABLE)?;
        self.statuses.put(field.whole, status.clone());
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn literal(block: &mut Vec<u8>, first: u8, name: &str, value: &str) {
        block.push(first);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }

    #[test]
    fn status_and_message_are_read_from_trailers_only() {
        let mut decoder = BlockDecoder::new();
        let mut block = vec![0x20, 0x88];
        literal(&mut block, 0, "grpc-status", "8");
        literal(&mut block, 0, "grpc-message", "queue%20full%3A 100%");
        // The first block is decoded with state, the second without, the third is remembered.
        for _ in 0..3 {
            let fields = decoder.decode(&block).unwrap();
            assert_eq!(fields.http_status, Some(200));
            assert_eq!(fields.grpc_status, Some(8));
            assert_eq!(fields.grpc_message(), "queue full: 100%");
        }
    }

    #[test]
    fn huffman_coded_values_are_read() {
        // RFC 7541, C.6.1: `:status: 302` with a Huffman-coded value and static name 8.
        let mut decoder = BlockDecoder::new();
        for block in [
            &[0x20, 0x08, 0x82, 0x64, 0x02][..],
            &[0x08, 0x82, 0x64, 0x02][..],
        ] {
            assert_eq!(decoder.decode(block).unwrap().http_status, Some(302));
        }
    }

    #[test]
    fn a_status_that_is_no_number_is_unknown() {
        let mut block = vec![0x20];
        literal(&mut block, 0, "grpc-status", "high");
        let mut decoder = BlockDecoder::new();
        assert_eq!(decoder.decode(&block).unwrap().grpc_status, Some(2));
        assert_eq!(decoder.decode(&block).unwrap().grpc_status, Some(2));
    }

    #[test]
    fn blocks_are_remembered_once_the_peer_uses_an_empty_table() {
        let mut decoder = BlockDecoder::new();
        decoder.decode(&[0x20, 0x88]).unwrap();
        let first = decoder.decode(&[0x88]).unwrap();
        let second = decoder.decode(&[0x88]).unwrap();
        assert!(Rc::ptr_eq(&first, &second));
    }

    #[test]
    fn insertions_into_an_empty_table_leave_no_trace() {
        let mut decoder = BlockDecoder::new();
        decoder.decode(&[0x20, 0x88]).unwrap();
        let mut insert = Vec::new();
        literal(&mut insert, 0x40, "grpc-status", "4");
        assert_eq!(decoder.decode(&insert).unwrap().grpc_status, Some(4));
        assert!(decoder.decode(&[0xbe]).is_err());
    }

    #[test]
    fn a_peer_that_keeps_a_table_is_decoded_with_its_state() {
        let mut decoder = BlockDecoder::new();
        for (status, expected) in [("4", 4), ("5", 5)] {
            let mut insert = Vec::new();
            literal(&mut insert, 0x40, "grpc-status", status);
            assert_eq!(decoder.decode(&insert).unwrap().grpc_status, Some(expected));
            // Index 62 is the entry inserted last: the same bytes, another meaning.
            assert_eq!(decoder.decode(&[0xbe]).unwrap().grpc_status, Some(expected));
        }
    }

    #[test]
    fn a_peer_may_take_up_a_table_again() {
        let mut decoder = BlockDecoder::new();
        decoder.decode(&[0x20, 0x88]).unwrap();
        decoder.decode(&[0x88]).unwrap();
        let mut insert = vec![0x3f, 0xe1, 0x1f];
        literal(&mut insert, 0x40, "grpc-status", "4");
        decoder.decode(&insert).unwrap();
        assert_eq!(decoder.decode(&[0xbe]).unwrap().grpc_status, Some(4));
    }

    #[test]
    fn a_broken_block_is_a_compression_error() {
        assert_eq!(
            BlockDecoder::new().decode(&[0xff]).unwrap_err().code,
            code::COMPRESSION_ERROR
        );
    }
}
