//! Which requests are logged: by the hash of their id, so that every gateway and every outcome that
//! comes later decides alike.

use crate::keyed::Keyed;
use crate::trace::random;

/// Bytes of a request's id; a request with a longer one is not logged.
pub const MOST_ID: usize = 256;

/// A request of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    pub id: String,
    /// It came without an id and was given this one, which its caller has to be told.
    pub made: bool,
}

#[derive(Debug)]
pub struct Sampler {
    keyed: Keyed,
    /// Of 2^64 hashes so many, and one more.
    most: u64,
}

impl Sampler {
    /// `share` is more than 0 and at most 1.
    pub fn new(share: f64) -> Self {
        Self {
            // No secret: whoever sends ids may know which are kept.
            keyed: Keyed::new([0; 16]),
            most: (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64,
        }
    }

    pub fn holds(&self, id: &str) -> bool {
        id.len() <= MOST_ID && self.keyed.hash(&[id.as_bytes()]) <= self.most
    }

    /// Whether a request is in the sample. An empty id is replaced by one that is made by chance:
    /// 32 hexadecimal digits.
    pub fn sample(&self, id: &str) -> Option<Sampled> {
        if !id.is_empty() {
            return self.holds(id).then(|| Sampled {
                id: id.to_owned(),
                made: false,
            });
        }
        let mut digits = [0; 32];
        for (place, number) in [random(), random()].into_iter().enumerate() {
            for nth in 0..16 {
                let digit = (number >> (60 - 4 * nth) & 15) as usize;
                digits[16 * place + nth] = b"0123456789abcdef"[digit];
            }
        }
        let made = std::str::from_utf8(&digits).unwrap_or_default();
        self.holds(made).then(|| Sampled {
            id: made.to_owned(),
            made: true,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_the_sample_of_every_gateway_or_of_none() {
        let (one, other) = (Sampler::new(0.25), Sampler::new(0.25));
        let ids: Vec<String> = (0..4_000).map(|n| format!("request-{n}")).collect();
        let held = ids.iter().filter(|id| one.holds(id));
        assert!((850..1_150).contains(&held.count()));
        assert!(ids.iter().all(|id| one.holds(id) == other.holds(id)));
        // A larger share holds what a smaller one does.
        let most = Sampler::new(0.5);
        assert!(ids.iter().all(|id| !one.holds(id) || most.holds(id)));
    }

    #[test]
    fn the_hash_is_siphash_under_a_key_of_zeros() {
        // By which another program can tell which ids are kept (docs/decisions.md).
        let half = Sampler::new(0.5);
        let kept: Vec<bool> = (0..8).map(|n| half.holds(&format!("r{n}"))).collect();
        let hashes = (0..8).map(|n| Keyed::new([0; 16]).hash(&[format!("r{n}").as_bytes()]));
        let expected: Vec<bool> = hashes.map(|h| h >> 63 == 0).collect();
        assert_eq!(kept, expected);
        assert!(kept.contains(&true) && kept.contains(&false));
    }

    #[test]
    fn who_brings_no_id_is_given_one_of_its_own() {
        let all = Sampler::new(1.0);
        let (one, other) = (all.sample("").unwrap(), all.sample("").unwrap());
        assert!(one.made && one.id.len() == 32 && one.id != other.id);
        assert!(!all.sample("mine").unwrap().made);
        let some = Sampler::new(0.1);
        let made: Vec<Sampled> = (0..2_000).filter_map(|_| some.sample("")).collect();
        assert!((130..280).contains(&made.len()), "{}", made.len());
        assert!(
            made.iter().all(|s| some.holds(&s.id)),
            "its outcome is kept too"
        );
    }

    #[test]
    fn an_id_that_is_too_long_is_never_kept() {
        assert_eq!(Sampler::new(1.0).sample(&"x".repeat(MOST_ID + 1)), None);
    }
}
