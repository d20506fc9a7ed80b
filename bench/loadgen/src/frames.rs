//! HTTP/2 frames as bytes (RFC 9113, sections 4 and 6): pure encoding and decoding, no state.

/// What a client sends first on a connection (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADER_LEN: usize = 9;
/// The largest payload a peer may send us: we leave SETTINGS_MAX_FRAME_SIZE at its default.
pub const OUR_MAX_FRAME_SIZE: usize = 16_384;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

pub mod code {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
}

/// A rule of the protocol that the peer broke; it ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The HTTP/2 error code to say in GOAWAY.
    pub code: u32,
    /// What was broken, in words.
    pub what: &'static str,
}

impl Violation {
    pub fn protocol(what: &'static str) -> Self {
        Self {
            code: code::PROTOCOL_ERROR,
            what,
        }
    }

    pub fn size(what: &'static str) -> Self {
        Self {
            code: code::FRAME_SIZE_ERROR,
            what,
        }
    }

    pub fn flow(what: &'static str) -> Self {
        Self {
            code: code::FLOW_CONTROL_ERROR,
            what,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload that follow.
    pub len: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl FrameHeader {
    /// Reads the nine bytes, or `None` if they are not all there yet.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's nine bytes; the caller appends `len` bytes of payload.
pub fn put_header(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, s0, s1, s2, s3]);
}

pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_header(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn put_settings_ack(out: &mut Vec<u8>) {
    put_header(out, 0, kind::SETTINGS, flag::ACK, 0);
}

pub fn put_ping_ack(out: &mut Vec<u8>, opaque: &[u8; 8]) {
    put_header(out, 8, kind::PING, flag::ACK, 0);
    out.extend_from_slice(opaque);
}

pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_header(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub fn put_rst_stream(out: &mut Vec<u8>, stream: u32, code: u32) {
    put_header(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&code.to_be_bytes());
}

pub fn put_goaway(out: &mut Vec<u8>, code: u32) {
    put_header(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
}

/// The payload of a DATA or HEADERS frame without padding and without the priority fields.
pub fn unwrap_payload(header: FrameHeader, payload: &[u8]) -> Result<&[u8], Violation> {
    let mut rest = payload;
    let mut padding = 0;
    if header.has(flag::PADDED) {
        let (&first, after) = rest
            .split_first()
            .ok_or(Violation::size("a padded frame without its pad length"))?;
        padding = usize::from(first);
        rest = after;
    }
    if header.kind == kind::HEADERS && header.has(flag::PRIORITY) {
        rest = rest
            .get(5..)
            .ok_or(Violation::size("a HEADERS frame cut inside its priority"))?;
    }
    let kept = rest.len().checked_sub(padding).ok_or(Violation::protocol(
        "a frame with more padding than payload",
    ))?;
    Ok(&rest[..kept])
}

/// The (identifier, value) pairs of a SETTINGS payload.
pub fn settings(payload: &[u8]) -> Result<impl Iterator<Item = (u16, u32)> + '_, Violation> {
    let (entries, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Violation::size(
            "a SETTINGS frame whose length is no multiple of 6",
        ));
    }
    Ok(entries.iter().map(|&[i0, i1, v0, v1, v2, v3]| {
        (
            u16::from_be_bytes([i0, i1]),
            u32::from_be_bytes([v0, v1, v2, v3]),
        )
    }))
}

/// The 32-bit number at `at`, as RST_STREAM, WINDOW_UPDATE and GOAWAY carry it.
pub fn number(payload: &[u8], at: usize) -> Result<u32, Violation> {
    payload
        .get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or(Violation::size("a frame shorter than its fields"))
}

/// The registered name of an HTTP/2 error code.
pub fn code_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    match NAMES.get(code as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("0x{code:x}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn header(kind: u8, flags: u8, len: usize) -> FrameHeader {
        FrameHeader {
            len,
            kind,
            flags,
            stream: 1,
        }
    }

    #[test]
    fn a_frame_header_survives_encoding_and_decoding() {
        let mut out = Vec::new();
        put_header(
            &mut out,
            0x01_02_03,
            kind::DATA,
            flag::END_STREAM,
            0x7fff_ffff,
        );
        let parsed = FrameHeader::parse(&out).unwrap();
        assert_eq!(
            parsed,
            FrameHeader {
                len: 0x01_02_03,
                kind: 0,
                flags: 1,
                stream: 0x7fff_ffff
            }
        );
    }

    #[test]
    fn eight_bytes_are_no_frame_header_yet() {
        assert_eq!(FrameHeader::parse(&[0; 8]), None);
    }

    #[test]
    fn the_reserved_bit_of_the_stream_is_ignored() {
        let parsed = FrameHeader::parse(&[0, 0, 0, 0, 0, 0x80, 0, 0, 5]).unwrap();
        assert_eq!(parsed.stream, 5);
    }

    #[test]
    fn padding_and_priority_are_cut_off() {
        let payload = [2, 0, 0, 0, 0, 16, b'a', b'b', b'c', 0, 0];
        let flags = flag::PADDED | flag::PRIORITY;
        assert_eq!(
            unwrap_payload(header(kind::HEADERS, flags, 11), &payload),
            Ok(&b"abc"[..])
        );
        let data = [1, b'x', 0];
        assert_eq!(
            unwrap_payload(header(kind::DATA, flag::PADDED, 3), &data),
            Ok(&b"x"[..])
        );
    }

    #[test]
    fn more_padding_than_payload_is_a_violation() {
        let found = unwrap_payload(header(kind::DATA, flag::PADDED, 2), &[2, 0]);
        assert_eq!(found.unwrap_err().code, code::PROTOCOL_ERROR);
        assert!(unwrap_payload(header(kind::DATA, flag::PADDED, 0), &[]).is_err());
    }

    #[test]
    fn settings_are_read_in_order_and_a_torn_one_is_a_violation() {
        let mut out = Vec::new();
        put_settings(
            &mut out,
            &[
                (setting::HEADER_TABLE_SIZE, 0),
                (setting::MAX_FRAME_SIZE, 65_536),
            ],
        );
        let read: Vec<_> = settings(&out[HEADER_LEN..]).unwrap().collect();
        assert_eq!(read, [(1, 0), (5, 65_536)]);
        assert!(settings(&out[HEADER_LEN..HEADER_LEN + 7]).is_err());
    }

    #[test]
    fn error_codes_have_their_registered_names() {
        assert_eq!(code_name(8), "CANCEL");
        assert_eq!(code_name(99), "0x63");
    }
}
