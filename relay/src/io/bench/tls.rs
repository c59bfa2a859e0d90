//! Whom the generator trusts over TLS: the certificates in a file, or, when told so in words that
//! cannot be overlooked, anybody, because a server under test often signs for itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::io::any_certificate::DangerousAnyCertificate;

/// Whose certificate is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust<'a> {
    /// Certificates signed by those in this PEM file.
    File(&'a Path),
    DangerouslyAnybody,
}

pub(super) fn client_config(trust: Trust<'_>) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(match trust {
        Trust::File(path) => builder
            .with_root_certificates(roots(path)?)
            .with_no_client_auth(),
        Trust::DangerouslyAnybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DangerousAnyCertificate::new(provider)))
            .with_no_client_auth(),
    })
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    for certificate in certificates {
        store.add(certificate.context("not a certificate")?)?;
    }
    Ok(store)
}
