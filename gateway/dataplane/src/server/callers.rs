//! Who calls, and what they may: identities from a client's certificate or a bearer token.
//!
//! Without any `[caller.NAME]` everybody may call everything. With one, whoever is not one of them
//! is refused; health and liveness are for everybody.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::config::CallerSettings;
use crate::sched::queue::Owner;
use crate::wire::status::{Code, Status};

/// One caller and its rights.
#[derive(Debug)]
pub struct Rights {
    pub name: String,
    models: Vec<String>,
    pub owner: Owner,
    /// May load and unload models.
    pub repository: bool,
    /// May report outcomes.
    pub feedback: bool,
}

impl Rights {
    /// Everything that anybody may do where nobody has to say who they are.
    fn anonymous() -> Self {
        Self {
            name: String::new(),
            models: vec!["*".into()],
            owner: Owner::ANYBODY,
            repository: false,
            feedback: true,
        }
    }

    /// # Errors
    /// PERMISSION_DENIED for a model that this caller may not use.
    pub fn may_use(&self, model: &str) -> Result<(), Status> {
        if self.models.iter().any(|pattern| fits(pattern, model)) {
            return Ok(());
        }
        let text = format!("caller '{}' may not use model '{model}'", self.name);
        Err(Status::new(Code::PermissionDenied, text))
    }
}

/// `*` at the end of a pattern stands for any rest.
fn fits(pattern: &str, model: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix),
        None => pattern == model,
    }
}

#[derive(Debug)]
pub struct Callers {
    anonymous: Arc<Rights>,
    rights: Vec<Arc<Rights>>,
    by_certificate: HashMap<String, usize>,
    by_token: HashMap<[u8; 32], usize>,
}

impl Callers {
    pub fn new(settings: &BTreeMap<String, CallerSettings>) -> Self {
        let mut callers = Self {
            anonymous: Arc::new(Rights::anonymous()),
            rights: Vec::new(),
            by_certificate: HashMap::new(),
            by_token: HashMap::new(),
        };
        for (index, (name, said)) in settings.iter().enumerate() {
            if let Some(certificate) = &said.certificate {
                callers.by_certificate.insert(certificate.clone(), index);
            }
            if let Some(token) = said.token_digest() {
                callers.by_token.insert(token, index);
            }
            callers.rights.push(Arc::new(Rights {
                name: name.clone(),
                models: said.models.clone(),
                owner: Owner {
                    // 0 is anybody; settings hold fewer callers than that has room for.
                    caller: u16::try_from(index + 1).unwrap_or(u16::MAX),
                    share: said.share,
                },
                repository: said.repository,
                feedback: said.feedback,
            }));
        }
        callers
    }

    /// Whether anybody may call.
    pub fn are_open(&self) -> bool {
        self.rights.is_empty()
    }

    /// Who calls: by the token of this call, else by the names in the connection's certificate.
    ///
    /// # Errors
    /// UNAUTHENTICATED for nobody that is known.
    pub fn find(
        &self,
        authorization: Option<&HeaderValue>,
        certificate: &[String],
    ) -> Result<&Arc<Rights>, Status> {
        if self.are_open() {
            return Ok(&self.anonymous);
        }
        let refused = |text: &str| Err(Status::new(Code::Unauthenticated, text));
        let found = if let Some(header) = authorization {
            let bytes = header.as_bytes();
            let scheme = bytes.get(..7).map(<[u8]>::to_ascii_lowercase);
            if scheme.as_deref() != Some(b"bearer ") {
                return refused("authorization must be 'Bearer TOKEN'");
            }
            // Looked up by digest: how long that takes tells nothing about the token.
            let digest: [u8; 32] = Sha256::digest(&bytes[7..]).into();
            self.by_token.get(&digest)
        } else {
            certificate.iter().find_map(|n| self.by_certificate.get(n))
        };
        match found.and_then(|index| self.rights.get(*index)) {
            Some(rights) => Ok(rights),
            None if authorization.is_some() => refused("the token is not that of any caller"),
            None if certificate.is_empty() => {
                refused("this server wants to know who calls: send a token or a certificate")
            }
            None => refused("the certificate is not that of any caller"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SETTINGS: &str = r#"
        [caller.bidder]
        certificate = "spiffe://x/bidder"
        models = ["bid-*", "site"]
        [caller.desk]
        # SHA-256 of "secret"
        token_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        share = 3
        repository = true
        feedback = true
    "#;

    fn callers() -> Callers {
        Callers::new(&Config::parse(SETTINGS).unwrap().caller)
    }

    #[test]
    fn a_caller_is_known_by_its_certificate_or_its_token() {
        let callers = callers();
        let names = ["other".to_owned(), "spiffe://x/bidder".into()];
        assert_eq!(callers.find(None, &names).unwrap().name, "bidder");
        let token = HeaderValue::from_static("bearer secret");
        let desk = callers.find(Some(&token), &names).unwrap();
        assert_eq!((desk.name.as_str(), desk.owner.share), ("desk", 3));
        assert!(desk.repository && desk.feedback);
    }

    #[test]
    fn anybody_else_is_refused_with_a_reason() {
        let callers = callers();
        let refused = |token: Option<&'static str>, names: &[String]| {
            let header = token.map(HeaderValue::from_static);
            let status = callers.find(header.as_ref(), names).unwrap_err();
            assert_eq!(status.code, Code::Unauthenticated);
            status.message
        };
        assert!(refused(None, &[]).contains("wants to know who calls"));
        assert!(refused(None, &["x".into()]).contains("certificate is not"));
        assert!(refused(Some("Bearer wrong"), &[]).contains("token is not"));
        assert!(refused(Some("Basic c2VjcmV0"), &[]).contains("'Bearer TOKEN'"));
        assert!(refused(Some("Bear"), &[]).contains("'Bearer TOKEN'"));
    }

    #[test]
    fn rights_are_per_model() {
        let callers = callers();
        let bidder = callers.find(None, &["spiffe://x/bidder".into()]).unwrap();
        for (model, may) in [
            ("bid-7", true),
            ("site", true),
            ("sites", false),
            ("fraud", false),
        ] {
            assert_eq!(bidder.may_use(model).is_ok(), may, "{model}");
        }
        assert!(!bidder.repository && !bidder.feedback);
    }

    #[test]
    fn without_callers_everybody_may_call() {
        let open = Callers::new(&BTreeMap::new());
        assert!(open.find(None, &[]).unwrap().may_use("any").is_ok());
    }
}
