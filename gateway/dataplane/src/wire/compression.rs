//! gzip, the one compression that every gRPC client has.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::framing::too_large;
use super::status::Status;

/// Unpacks a message; never more than `limit` bytes of it.
pub fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(limit.min(4 * bytes.len()));
    let most = limit as u64 + 1;
    let read = GzDecoder::new(bytes).take(most).read_to_end(&mut out);
    read.map_err(|e| Status::invalid(format!("the message says gzip and is not: {e}")))?;
    if out.len() > limit {
        return Err(too_large(limit));
    }
    Ok(out.into())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail; were it to, the message would be sent as it is.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::status::Code;

    #[test]
    fn what_is_packed_comes_out_again() {
        let text = b"0123456789".repeat(500);
        let packed = gzip(&text);
        assert!(packed.len() < 200);
        assert_eq!(gunzip(&packed, 5_000).unwrap(), text);
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let packed = gzip(&vec![0; 1 << 20]);
        assert_eq!(
            gunzip(&packed, 1_000).unwrap_err().code,
            Code::ResourceExhausted
        );
    }

    #[test]
    fn garbage_and_half_a_message_are_refused() {
        let packed = gzip(b"whole");
        for bad in [&b"garbage"[..], &[], &packed[..packed.len() - 3]] {
            let status = gunzip(bad, 100).unwrap_err();
            assert!(status.message.contains("says gzip and is not"), "{status}");
        }
    }
}
