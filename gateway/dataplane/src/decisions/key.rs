//! The key that inputs and callers' keys are hashed under. It is read anew for each file: who puts
//! another one in its place has, from the next file on, hashes that nobody can compare with those
//! before; who destroys one has hashes that say nothing any more.

use std::path::Path;

use ring::{digest, hmac};

/// Bytes of a key, at least.
const LEAST: usize = 32;

pub struct Key {
    /// By which people tell keys apart: the first 16 hexadecimal digits of its SHA-256.
    pub id: String,
    key: hmac::Key,
}

impl Key {
    /// # Errors
    /// A sentence that names the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
        if bytes.len() < LEAST {
            let found = bytes.len();
            return Err(format!("{name} has {found} bytes, {LEAST} are needed"));
        }
        Ok(Self::new(&bytes))
    }

    pub fn new(bytes: &[u8]) -> Self {
        let id = digest::digest(&digest::SHA256, bytes);
        let id = id.as_ref().iter().take(8);
        Self {
            id: id.map(|b| format!("{b:02x}")).collect(),
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes),
        }
    }

    /// HMAC-SHA-256 of what the value is, a zero byte, and the value.
    pub fn hash(&self, what: &str, value: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(value);
        let tag = context.sign();
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_under_one_key_alone() {
        let (one, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        assert_eq!(
            one.hash("key", b"ann"),
            Key::new(&[1; 32]).hash("key", b"ann")
        );
        assert_ne!(one.hash("key", b"ann"), other.hash("key", b"ann"));
        assert_ne!(one.hash("key", b"ann"), one.hash("input:key", b"ann"));
        assert_ne!(one.id, other.id);
    }

    #[test]
    fn the_hash_is_that_of_any_other_program() {
        // python: hmac.new(b"\1" * 32, b"key\0ann", "sha256").hexdigest()
        let hash = Key::new(&[1; 32]).hash("key", b"ann");
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "ea8a743a759b87faace3fe94a22991d3b4d743684bfbbdbd635a4cc07ddeaed9"
        );
        assert_eq!(Key::new(&[1; 32]).id, "72cd6e8422c407fb");
    }

    #[test]
    fn a_short_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, [0; 31]).unwrap();
        assert!(Key::read(&path).err().unwrap().contains("has 31 bytes"));
        assert!(Key::read(&folder.path().join("none")).is_err());
    }
}
