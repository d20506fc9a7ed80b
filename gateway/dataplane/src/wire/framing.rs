//! gRPC's message framing: a flag byte, four bytes of length, the message.

use bytes::{BufMut, Bytes, BytesMut};

use super::status::{Code, Status};

pub const PREFIX: usize = 5;

/// Collects the DATA of a unary call. A message that arrives in one frame is not copied.
#[derive(Debug, Default)]
pub struct UnaryBody {
    whole: Option<Bytes>,
    parts: BytesMut,
}

impl UnaryBody {
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        match self.whole.take() {
            None if self.parts.is_empty() => self.whole = Some(chunk),
            None => self.parts.put(chunk),
            Some(first) => {
                self.parts.reserve(first.len() + chunk.len());
                self.parts.put(first);
                self.parts.put(chunk);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.whole.as_ref().map_or(self.parts.len(), Bytes::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one message, without its prefix.
    pub fn finish(self) -> Result<Message, Status> {
        let body = self.whole.unwrap_or_else(|| self.parts.freeze());
        if body.len() < PREFIX {
            let n = body.len();
            return Err(Status::invalid(format!(
                "the call carries no message ({n} bytes of data)"
            )));
        }
        let mut body = body;
        let head = body.split_to(PREFIX);
        let (compressed, said) = prefix(&head)?;
        if body.len() != said {
            let is = body.len();
            return Err(Status::invalid(format!(
                "the message's prefix says {said} bytes, {is} arrived; a call carries one message"
            )));
        }
        Ok(Message {
            compressed,
            bytes: body,
        })
    }
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub compressed: bool,
    pub bytes: Bytes,
}

/// Flag and length of a message, from its first five bytes.
fn prefix(head: &[u8]) -> Result<(bool, usize), Status> {
    let said = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match head[0] {
        0 => Ok((false, said)),
        1 => Ok((true, said)),
        flag => Err(Status::invalid(format!(
            "the message's prefix begins with {flag}, expected 0 or 1"
        ))),
    }
}

/// Takes messages out of the DATA of a streaming call.
#[derive(Debug, Default)]
pub struct Messages {
    waiting: BytesMut,
}

impl Messages {
    pub fn push(&mut self, chunk: &[u8]) {
        self.waiting.extend_from_slice(chunk);
    }

    /// The next whole message of at most `limit` bytes.
    pub fn next(&mut self, limit: usize) -> Result<Option<Message>, Status> {
        if self.waiting.len() < PREFIX {
            return Ok(None);
        }
        let (compressed, said) = prefix(&self.waiting)?;
        if said > limit {
            return Err(too_large(limit));
        }
        if self.waiting.len() < PREFIX + said {
            return Ok(None);
        }
        let mut message = self.waiting.split_to(PREFIX + said);
        Ok(Some(Message {
            compressed,
            bytes: message.split_off(PREFIX).freeze(),
        }))
    }

    /// Whether the stream ended between messages.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

pub fn too_large(limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("the message is larger than {limit} bytes, this server's limit"),
    )
}

/// Puts the prefix before a message's bytes.
pub fn framed(compressed: bool, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + bytes.len());
    out.put_u8(u8::from(compressed));
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
    out.freeze()
}

/// A message with its prefix.
pub fn frame(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    // Writing to a buffer that grows cannot fail.
    let _ = message.encode(&mut out);
    out.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(chunks: &[&[u8]]) -> UnaryBody {
        let mut body = UnaryBody::default();
        chunks
            .iter()
            .for_each(|c| body.push(Bytes::copy_from_slice(c)));
        body
    }

    proptest! {
        #[test]
        fn a_message_survives_any_cutting_into_chunks(
            message in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..205, 0..6),
        ) {
            let mut framed = vec![0];
            framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            framed.extend(&message);
            let mut cuts: Vec<_> = cuts.into_iter().filter(|c| *c <= framed.len()).collect();
            cuts.extend([0, framed.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &framed[w[0]..w[1]]).collect();
            prop_assert_eq!(&body(&chunks).finish().unwrap().bytes, &message);
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for chunk in chunks.iter().chain(&chunks) {
                messages.push(chunk);
                found.extend(messages.next(200).unwrap());
            }
            prop_assert_eq!(found.len(), 2);
            prop_assert!(found.iter().all(|m| m.bytes == message) && messages.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = body(&[&bytes]).finish();
            let mut messages = Messages::default();
            messages.push(&bytes);
            while let Ok(Some(_)) = messages.next(20) {}
        }
    }

    #[test]
    fn what_is_not_one_plain_message_is_refused_with_a_sentence() {
        let cases: [(&[u8], Code, &str); 5] = [
            (b"", Code::InvalidArgument, "no message"),
            (b"\0\0\0", Code::InvalidArgument, "no message"),
            (b"\x02\0\0\0\x01x", Code::InvalidArgument, "begins with 2"),
            (
                b"\0\0\0\0\x05abc",
                Code::InvalidArgument,
                "says 5 bytes, 3 arrived",
            ),
            (
                b"\0\0\0\0\x01ab",
                Code::InvalidArgument,
                "says 1 bytes, 2 arrived",
            ),
        ];
        for (bytes, code, text) in cases {
            let status = body(&[bytes]).finish().unwrap_err();
            assert_eq!(status.code, code);
            assert!(status.message.contains(text), "{status}");
        }
    }
}
