//! The `grpc-timeout` header: at most 8 digits and a unit.

use crate::clock::Ticks;

/// The time-out in ns; `None` if the header is malformed. A unit of hours times 8 digits fits.
pub fn parse(header: &[u8]) -> Option<Ticks> {
    let (unit, digits) = header.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    let factor = match unit {
        b'n' => 1,
        b'u' => 1_000,
        b'm' => 1_000_000,
        b'S' => 1_000_000_000,
        b'M' => 60 * 1_000_000_000,
        b'H' => 3_600 * 1_000_000_000,
        _ => return None,
    };
    Some(value.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_unit_is_read() {
        let all: [(&str, u64); 6] = [
            ("15n", 15),
            ("15u", 15_000),
            ("15m", 15_000_000),
            ("2S", 2_000_000_000),
            ("1M", 60_000_000_000),
            ("1H", 3_600_000_000_000),
        ];
        for (text, expected) in all {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(parse(b"99999999H"), Some(u64::MAX));
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "",
            "5",
            "m",
            "-1m",
            "+1m",
            "1.5m",
            "123456789m",
            "5x",
            " 5m",
            "5mm",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
