//! Certificates for tests: an authority of its own, and what it issues.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::RootCertStore;

/// Characters of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Now,
    Over,
    /// Until the first of January of this year.
    Until(i32),
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::default();
        // Two of them are two authorities, not one with two keys.
        let name = format!("authority {}", rand::random::<u32>());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }
}

impl Authority {
    /// Writes `cert.pem` and `key.pem` into the folder: a certificate for `name`.
    ///
    /// # Errors
    ///
    /// The folder cannot be written to.
    pub fn certify(&self, folder: &Path, name: &str, validity: Validity) -> std::io::Result<()> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        match validity {
            Validity::Now => {}
            Validity::Over => params.not_after = date_time_ymd(2020, 1, 1),
            Validity::Until(year) => params.not_after = date_time_ymd(year, 1, 1),
        }
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &self.0).expect("a certificate");
        let chain = pem("CERTIFICATE", issued.der());
        std::fs::write(folder.join("cert.pem"), chain)?;
        let key = pem("PRIVATE KEY", &key.serialize_der());
        std::fs::write(folder.join("key.pem"), key)
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// What a client has to trust.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let own = self.0.der().clone();
        roots.add(own).expect("an authority's certificate");
        roots
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(PEM_LINE)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
