//! Settings of who may call: certificates of the server and names of its callers.

use std::path::PathBuf;

use serde::Deserialize;

/// `[tls]`: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The server's certificate and what leads from it to its root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Roots of clients' certificates; with it, clients have to show one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    #[serde(default = "yes")]
    pub client_required: bool,
}

fn yes() -> bool {
    true
}

/// `[caller.NAME]`: who may call, known by a certificate's name or a token's digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerSettings {
    #[serde(default)]
    pub certificate: Option<String>,
    #[serde(default)]
    pub token_sha256: Option<String>,
    /// Models that it may use; `*` at the end stands for any rest.
    #[serde(default = "everything")]
    pub models: Vec<String>,
    /// Its weight when not all can be answered.
    #[serde(default = "one")]
    pub share: u16,
    /// May load and unload models.
    #[serde(default)]
    pub repository: bool,
    /// May report outcomes.
    #[serde(default)]
    pub feedback: bool,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

fn one() -> u16 {
    1
}

impl CallerSettings {
    /// The digest of its token.
    pub fn token_digest(&self) -> Option<[u8; 32]> {
        let text = self.token_sha256.as_ref()?;
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(digest)
    }

    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if self.certificate.is_none() && self.token_sha256.is_none() {
            return Err(format!(
                "[caller.{name}] needs 'certificate' or 'token_sha256' to be known by"
            ));
        }
        if self.token_sha256.is_some() && self.token_digest().is_none() {
            return Err(format!(
                "[caller.{name}] token_sha256 must be 64 hexadecimal digits: the SHA-256 of the token"
            ));
        }
        if self.share == 0 || self.share > 1_000 {
            let share = self.share;
            return Err(format!(
                "[caller.{name}] share is {share}, it must be between 1 and 1000"
            ));
        }
        Ok(())
    }
}
