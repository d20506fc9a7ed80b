//! HPACK on the wire (RFC 7541): the request's header block, encoded once, and the fields of a
//! response's block, told apart without decoding them.

/// The request's header block: static indexes and literals without indexing only, so that the
/// same bytes serve every request on every connection.
pub fn request_block(path: &str, authority: &str, grpc_timeout: Option<&str>) -> Vec<u8> {
    // Static table, RFC 7541 appendix A: 1 :authority, 3 POST, 4 :path, 6 http, 31 content-type.
    let mut block = vec![0x83, 0x86];
    put_integer(&mut block, 4, 4);
    put_string(&mut block, path);
    put_integer(&mut block, 4, 1);
    put_string(&mut block, authority);
    put_integer(&mut block, 4, 31);
    put_string(&mut block, "application/grpc");
    put_named(&mut block, "te", "trailers");
    if let Some(timeout) = grpc_timeout {
        put_named(&mut block, "grpc-timeout", timeout);
    }
    block
}

fn put_named(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    put_string(block, name);
    put_string(block, value);
}

fn put_string(block: &mut Vec<u8>, text: &str) {
    put_integer(block, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

/// An integer with a `prefix`-bit prefix whose upper bits are zero (RFC 7541, 5.1).
fn put_integer(block: &mut Vec<u8>, prefix: u32, value: usize) {
    let limit = (1usize << prefix) - 1;
    if value < limit {
        block.push(value as u8);
        return;
    }
    block.push(limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The value of `grpc-timeout`: at most eight digits and a unit, rounded up to the finest unit
/// that can hold it (u µs, m ms, S s).
pub fn grpc_timeout(deadline_us: u64) -> String {
    const MOST: u64 = 99_999_999;
    for (unit, letter) in [(1, 'u'), (1_000, 'm'), (1_000_000, 'S')] {
        let count = deadline_us.div_ceil(unit);
        if count <= MOST {
            return format!("{count}{letter}");
        }
    }
    format!("{MOST}S")
}

/// One field of a block, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedField<'a> {
    pub whole: &'a [u8],
    /// Its bytes up to the value; all of them where the value is in a table too.
    pub name: &'a [u8],
}

/// The leading table size updates of a block (the last one's value) and what follows them.
pub fn split_size_updates(block: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let mut size = None;
    let mut rest = block;
    while rest.first().is_some_and(|first| first & 0xe0 == 0x20) {
        let (value, length) = integer(rest, 5)?;
        size = Some(value);
        rest = &rest[length..];
    }
    Some((size, rest))
}

/// Takes the first field off a block; `None` if it is torn or is a table size update.
pub fn split_field(block: &[u8]) -> Option<(EncodedField<'_>, &[u8])> {
    let first = *block.first()?;
    let prefix = match first {
        0x80.. => 7,
        0x40.. => 6,
        0x20.. => return None,
        _ => 4,
    };
    let (index, mut length) = integer(block, prefix)?;
    let mut name_length = length;
    if prefix != 7 {
        if index == 0 {
            length += string_length(&block[length..])?;
        }
        name_length = length;
        length += string_length(&block[length..])?;
    }
    let whole = &block[..length];
    Some((
        EncodedField {
            whole,
            name: &whole[..name_length],
        },
        &block[length..],
    ))
}

/// Bytes that an encoded string takes, its own length included.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let (content, length) = integer(bytes, 7)?;
    let whole = content.checked_add(length)?;
    (whole <= bytes.len()).then_some(whole)
}

/// An integer with a `prefix`-bit prefix, and the bytes it takes (RFC 7541, 5.1).
fn integer(bytes: &[u8], prefix: u32) -> Option<(usize, usize)> {
    let limit = (1usize << prefix) - 1;
    let mut value = usize::from(*bytes.first()?) & limit;
    if value < limit {
        return Some((value, 1));
    }
    for (at, byte) in bytes.iter().enumerate().skip(1).take(4) {
        value += usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use loona_hpack::Decoder;

    use super::*;

    #[test]
    fn the_request_block_decodes_to_the_headers_that_grpc_asks_for() {
        let path = "/inference.GRPCInferenceService/ModelInfer".repeat(4);
        let block = request_block(&path, "127.0.0.1:8001", Some("500u"));
        let decoded = Decoder::new().decode(&block).unwrap();
        let text: Vec<(String, String)> = decoded
            .into_iter()
            .map(|(n, v)| (String::from_utf8(n).unwrap(), String::from_utf8(v).unwrap()))
            .collect();
        let expected = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path.as_str()),
            (":authority", "127.0.0.1:8001"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "500u"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits_and_never_rounds_down() {
        assert_eq!(grpc_timeout(500), "500u");
        assert_eq!(grpc_timeout(99_999_999), "99999999u");
        assert_eq!(grpc_timeout(100_000_000), "100000m");
        assert_eq!(grpc_timeout(100_000_001), "100001m");
        assert_eq!(grpc_timeout(100_000_000_000), "100000S");
        assert_eq!(grpc_timeout(u64::MAX), "99999999S");
    }

    #[test]
    fn the_last_size_update_of_a_block_counts() {
        assert_eq!(
            split_size_updates(&[0x20, 0x88]),
            Some((Some(0), &[0x88][..]))
        );
        let twice = [0x20, 0x3f, 0xe1, 0x1f, 0x88];
        assert_eq!(split_size_updates(&twice), Some((Some(4096), &[0x88][..])));
        assert_eq!(split_size_updates(&[0x88]), Some((None, &[0x88][..])));
    }

    #[test]
    fn fields_are_told_apart_by_their_lengths() {
        let mut block = vec![0x88];
        put_named(&mut block, "te", &"x".repeat(300));
        block.extend([0x48, 0x82, 0x64, 0x02]);
        let (status, rest) = split_field(&block).unwrap();
        assert_eq!((status.whole, status.name), (&[0x88][..], &[0x88][..]));
        let (long, rest) = split_field(rest).unwrap();
        assert_eq!(
            (long.whole.len(), long.name),
            (4 + 3 + 300, &b"\0\x02te"[..])
        );
        let (literal, rest) = split_field(rest).unwrap();
        assert_eq!(
            (literal.whole.len(), literal.name, rest),
            (4, &[0x48][..], &[][..])
        );
    }

    #[test]
    fn a_torn_field_is_none() {
        let mut block = Vec::new();
        put_named(&mut block, "grpc-status", "0");
        for length in 0..block.len() {
            assert_eq!(split_field(&block[..length]), None);
        }
        assert_eq!(split_field(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
