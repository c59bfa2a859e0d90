//! The relay's certificate on a machine on its own: an authority made once per state folder, and a
//! fresh certificate for this run's address, made with the `openssl` program.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;

/// Making a key takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
const AUTHORITY_DAYS: &str = "3650";
/// Longer than a run lasts.
const RELAY_DAYS: &str = "90";

/// Extensions of both; nothing of the machine's own configuration is read.
const CONFIG: &str = "[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[relay]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:ADDRESS
";

/// The files, below one folder.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// What native programs are told to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    pub(crate) fn relay(&self) -> PathBuf {
        self.0.join("relay.pem")
    }

    pub(crate) fn relay_key(&self) -> PathBuf {
        self.0.join("relay-key.pem")
    }

    /// Makes the authority unless it is there, and a certificate for the address.
    pub(crate) fn make(&self, address: IpAddr) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        let config = CONFIG.replace("ADDRESS", &address.to_string());
        fs::write(self.config(), config).context("cannot write openssl.cnf")?;
        if !(self.authority().is_file() && self.authority_key().is_file()) {
            self.make_authority()?;
        }
        self.make_relay()
    }

    fn authority_key(&self) -> PathBuf {
        self.0.join("authority-key.pem")
    }

    fn make_authority(&self) -> Result<()> {
        let name = "/CN=MultiClaw on this machine";
        let mut args = self.request(name, &self.authority_key(), &self.authority());
        args.extend(["-x509", "-extensions", "authority", "-days", AUTHORITY_DAYS].map(Into::into));
        openssl(&args)
    }

    fn make_relay(&self) -> Result<()> {
        let asked = self.0.join("relay.csr");
        openssl(&self.request("/CN=MultiClaw relay", &self.relay_key(), &asked))?;
        let mut args: Vec<OsString> = ["x509", "-req", "-days", RELAY_DAYS, "-CAcreateserial"]
            .map(Into::into)
            .into();
        for (flag, file) in [
            ("-in", asked),
            ("-out", self.relay()),
            ("-CA", self.authority()),
            ("-CAkey", self.authority_key()),
            ("-CAserial", self.0.join("serial")),
            ("-extfile", self.config()),
        ] {
            args.extend([flag.into(), file.into()]);
        }
        args.extend(["-extensions", "relay"].map(Into::into));
        openssl(&args)
    }

    /// Asks for a new key and a request for it; with `-x509`, for a certificate.
    fn request(&self, name: &str, key: &Path, out: &Path) -> Vec<OsString> {
        let curve = "ec_paramgen_curve:prime256v1";
        let mut args: Vec<OsString> = ["req", "-new", "-newkey", "ec", "-pkeyopt", curve]
            .map(Into::into)
            .into();
        args.extend(["-nodes", "-subj", name].map(Into::into));
        for (flag, file) in [
            ("-config", &*self.config()),
            ("-keyout", key),
            ("-out", out),
        ] {
            args.extend([flag.into(), file.into()]);
        }
        args
    }

    fn config(&self) -> PathBuf {
        self.0.join("openssl.cnf")
    }
}

fn openssl(args: &[OsString]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(args);
    run::quiet(command, LIMIT)
        .map(drop)
        .context("cannot make the relay's certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_kept_and_the_relays_certificate_is_for_its_address() {
        let name = format!("xtask-certificates-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let certificates = Certificates::in_folder(folder.clone());
        certificates.make("127.0.0.1".parse().unwrap()).unwrap();
        let authority = fs::read(certificates.authority()).unwrap();
        certificates.make("10.77.0.1".parse().unwrap()).unwrap();
        assert!(fs::read(certificates.authority()).unwrap() == authority);
        let verify = |ip: &str| {
            let mut command = Command::new("openssl");
            command.args(["verify", "-verify_ip", ip, "-purpose", "sslserver"]);
            command.args([Path::new("-CAfile"), &certificates.authority()]);
            command.arg(certificates.relay());
            run::quiet(command, LIMIT).is_ok()
        };
        assert!(verify("10.77.0.1") && !verify("127.0.0.1"));
        fs::remove_dir_all(folder).unwrap();
    }
}
