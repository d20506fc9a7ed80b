//! SipHash 2-4: fast, and not to be foreseen by whoever lacks the key.

#![allow(deprecated)]

use std::hash::{Hasher, SipHasher};

/// A key of sixteen bytes as the hash takes it.
#[derive(Debug, Clone, Copy)]
pub struct Keyed(u64, u64);

impl Keyed {
    pub fn new(key: [u8; 16]) -> Self {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        Self(word(&key[..8]), word(&key[8..]))
    }

    /// The hash of the bytes, one after the other.
    pub fn hash(self, bytes: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher::new_with_keys(self.0, self.1);
        bytes.iter().for_each(|b| hasher.write(b));
        hasher.finish()
    }
}

/// Sixteen bytes from their 32 hexadecimal digits.
pub fn key(digits: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_hexadecimal_digits() {
        assert_eq!(
            key("000102030405060708090a0b0c0d0e0f").map(|k| (k[0], k[15])),
            Some((0, 15))
        );
        for bad in [
            "",
            "00",
            "zz0102030405060708090a0b0c0d0e0f",
            "éééééééééééééééé",
        ] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_is_the_hash_of_its_authors_test_vectors() {
        // SipHash-2-4 of 00, 01, ... 0e under the key 00 to 0f (Aumasson and Bernstein, appendix A).
        let keyed = Keyed::new(std::array::from_fn(|i| i as u8));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(keyed.hash(&[&message]), 0xa129_ca61_49be_45e5);
    }
}
