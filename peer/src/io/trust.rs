//! Which certificates of relays are believed: the system's authorities, and those of a file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Clones share what was read. The system's authorities are read at the first TLS connection.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    authorities: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// Believes the authorities in this file (PEM) as well as the system's.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no certificate.
    pub fn with_file(file: &Path) -> anyhow::Result<Self> {
        let say = || format!("cannot read the certificates in {}", file.display());
        let authorities = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(say)?;
        anyhow::ensure!(
            !authorities.is_empty(),
            "{} holds no certificate; it has to be PEM",
            file.display()
        );
        Ok(Self(Arc::new(Inner {
            authorities,
            config: OnceLock::new(),
        })))
    }

    pub(super) fn tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        if let Some(config) = self.0.config.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.0.authorities.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.0.config.get_or_init(|| Arc::new(config))))
    }
}
