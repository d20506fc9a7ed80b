//! TLS and mutual TLS: rustls with ring. Files are read at start and again at SIGHUP.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::TlsSettings;

/// What the server's side of a handshake needs.
///
/// # Errors
/// A sentence: a file cannot be read, is not what it should be, or the certificate is not valid
/// today.
pub fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&settings.certificate)?;
    let first = chain.first().ok_or("no certificate")?;
    is_valid_now(first).map_err(|e| format!("{}: {e}", settings.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|e| format!("{}: not a private key: {e}", settings.key.display()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                let added = roots.add(root);
                added.map_err(|e| format!("{}: {e}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match settings.client_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            let built = verifier.build();
            builder
                .with_client_cert_verifier(built.map_err(|e| format!("{}: {e}", path.display()))?)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|e| format!("certificate and key do not fit: {e}"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refuse = |e: rustls::pki_types::pem::Error| format!("{}: {e}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(refuse)?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(refuse)?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(found)
}

fn is_valid_now(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |t| t.as_secs().cast_signed());
    let validity = parsed.validity();
    if now > validity.not_after.timestamp() {
        return Err(format!("the certificate expired at {}", validity.not_after));
    }
    if now < validity.not_before.timestamp() {
        return Err(format!(
            "the certificate is not valid before {}",
            validity.not_before
        ));
    }
    Ok(())
}

/// When the server's certificate expires, in seconds since 1970.
pub fn expires_at(settings: &TlsSettings) -> Option<i64> {
    let chain = certificates(&settings.certificate).ok()?;
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// The names that a client's certificate gives it: URIs and DNS names of the subject's alternative
/// names, then its common names.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for extension in parsed.extensions() {
        if let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension()
        {
            for name in &alternatives.general_names {
                if let GeneralName::URI(text) | GeneralName::DNSName(text) = name {
                    names.push((*text).to_owned());
                }
            }
        }
    }
    let common = parsed.subject().iter_common_name();
    names.extend(common.filter_map(|n| n.as_str().ok().map(str::to_owned)));
    names
}
