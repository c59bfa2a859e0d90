//! `multiclaw-relay doctor`: looks at a relay from its own machine, as it runs.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::net::lookup_host;
use x509_cert::der::Decode as _;

use super::epoll;
use super::probe::{self, Probe, Probed};
use super::shell::{load, read_chain};
use super::worker::unix_now;
use crate::config::{CloudConfig, Config, Transport};
use crate::doctor::{self, Diagnosis, Row};

/// The service says its time within this.
const CLOCK_ANSWER_TIME: Duration = Duration::from_secs(5);

/// What the command line says.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// A STUN server outside, to be told the public address by.
    #[arg(long, value_name = "HOST:PORT")]
    pub stun: Option<String>,
}

/// Looks at everything.
///
/// # Errors
///
/// The runtime cannot be started.
pub fn examine(config_file: &Path, args: &Args) -> Result<Diagnosis> {
    let config = match load(config_file) {
        Ok(config) => config,
        Err(error) => {
            let next = "mend it and try again; `--check-config` says the same";
            let row = Row::bad("configuration", format!("{error:#}"), next);
            return Ok(Diagnosis::new(vec![row]));
        }
    };
    let found = format!("{} is good", config_file.display());
    let mut rows = vec![Row::good("configuration", found)];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shown = try_listeners(&config, &mut rows).await;
        rows.extend(certificate_rows(&config, shown));
        rows.extend(address_rows(&config, args.stun.as_deref()).await);
        rows.extend(machine_rows(&config));
        if let Some(cloud) = &config.cloud {
            rows.push(clock_row(cloud).await);
        }
    });
    Ok(Diagnosis::new(rows))
}

/// An allocation through each listener; returns a certificate that was shown.
async fn try_listeners(config: &Config, rows: &mut Vec<Row>) -> Option<CertificateDer<'static>> {
    let mut shown = None;
    for probe in Probe::each(config, &config.listen) {
        let outcome = probe.allocate().await;
        rows.push(listener_row(&probe, &outcome));
        shown = shown.or(outcome.ok().and_then(|probed| probed.certificate));
    }
    shown
}

fn listener_row(probe: &Probe, outcome: &Result<Probed>) -> Row {
    let (address, transport) = (probe.listener(), probe.transport());
    let check = format!("{} {address}", transport.name());
    let error = match outcome {
        Ok(probed) => return Row::good(check, format!("allocated {}", probed.relayed)),
        Err(error) => format!("{error:#}"),
    };
    let bound = match transport {
        Transport::Udp => UdpSocket::bind(address).map(drop),
        _ => TcpListener::bind(address).map(drop),
    };
    match bound {
        Ok(()) => Row::bad(check, "nobody listens; the port is free", "start the relay"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let next =
                "run as root, or grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in systemd)";
            Row::bad(check, "this user may not listen on the port", next)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Row::bad(
            check,
            "no address of this machine",
            "change `address` in [[listen]]",
        ),
        Err(_) => {
            let next = "somebody listens there: if it is this relay, its log says why it refuses";
            Row::bad(check, error, next)
        }
    }
}

fn certificate_rows(config: &Config, shown: Option<CertificateDer<'static>>) -> Vec<Row> {
    let Some(tls) = &config.tls else {
        return Vec::new();
    };
    let leaf = read_chain(&tls.certificate).map(|chain| chain.into_iter().next());
    let Ok(Some(leaf)) = leaf else {
        return vec![Row::bad(
            "certificate",
            "the file holds none",
            "put it there",
        )];
    };
    let mut rows = vec![lifetime_row(&leaf)];
    if shown.is_some_and(|shown| shown != leaf) {
        let next = "send the relay SIGHUP; no packet is lost";
        let found = "the relay shows another one than the file holds";
        rows.push(Row::warning("certificate", found, next));
    }
    let host = config
        .cloud
        .as_ref()
        .and_then(|cloud| cloud.host.as_deref());
    rows.extend(host.map(|host| name_row(&leaf, host)));
    rows
}

fn lifetime_row(leaf: &CertificateDer<'_>) -> Row {
    match x509_cert::Certificate::from_der(leaf) {
        Ok(parsed) => {
            let validity = parsed.tbs_certificate().validity();
            let (from, until) = (validity.not_before, validity.not_after);
            doctor::certificate(
                from.to_unix_duration(),
                until.to_unix_duration(),
                unix_now(),
            )
        }
        Err(error) => Row::bad("certificate", error.to_string(), "get another one"),
    }
}

fn name_row(leaf: &CertificateDer<'_>, host: &str) -> Row {
    let fits = || -> Result<()> {
        let name = ServerName::try_from(host)?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        Ok(rustls::client::verify_server_name(&parsed, &name)?)
    };
    match fits() {
        Ok(()) => Row::good("certificate", format!("it is for {host}")),
        Err(error) => {
            let next = "clients refuse it: get one for the name in [cloud] `host`";
            Row::bad("certificate", format!("{error:#}"), next)
        }
    }
}

async fn address_rows(config: &Config, stun: Option<&str>) -> Vec<Row> {
    let addresses = config.relay_addresses();
    let mut rows: Vec<Row> = addresses
        .iter()
        .map(|address| {
            let bound = UdpSocket::bind((address.bind, 0)).map(drop);
            doctor::relay_address(*address, bound.map_err(|error| error.to_string()))
        })
        .collect();
    if let Some(server) = stun {
        let announced: Vec<_> = addresses.iter().map(|address| address.public).collect();
        rows.push(match seen_from(server).await {
            Ok(seen) => doctor::seen_from_outside(seen.ip(), &announced),
            Err(error) => {
                let next = "see whether UDP leaves this machine, or ask another STUN server";
                Row::warning("public address", format!("{server}: {error:#}"), next)
            }
        });
    }
    rows
}

async fn seen_from(server: &str) -> Result<SocketAddr> {
    let mut found = lookup_host(server).await?;
    let server = found.next().context("no address of that name")?;
    probe::seen_address(server).await
}

fn machine_rows(config: &Config) -> Vec<Row> {
    let mut rows = vec![
        doctor::relayed_ports(&config.relay_ports.0, local_ports()),
        doctor::descriptors(epoll::raise_descriptor_limit(), config.limits.allocations),
    ];
    for name in ["rmem_max", "wmem_max"] {
        let path = format!("/proc/sys/net/core/{name}");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Ok(max) = text.trim().parse() {
            rows.push(doctor::socket_buffer(&format!("net.core.{name}"), max));
        }
    }
    rows
}

/// Ports the kernel takes for outgoing connections.
fn local_ports() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    let (low, high) = (ports.next()?.ok()?, ports.next()?.ok()?);
    Some(low..=high)
}

async fn clock_row(cloud: &CloudConfig) -> Row {
    match service_time(cloud).await {
        Ok(theirs) => doctor::clock(unix_now().abs_diff(theirs)),
        Err(error) => {
            let next = "see whether the service is up and reachable from here";
            let found = format!("the service did not say its time: {error:#}");
            Row::warning("clock", found, next)
        }
    }
}

async fn service_time(cloud: &CloudConfig) -> Result<Duration> {
    let client = reqwest::Client::builder()
        .timeout(CLOCK_ANSWER_TIME)
        .build()?;
    let answer = client.head(cloud.url.as_str()).send().await?;
    let date = answer.headers().get("date").context("no Date in it")?;
    let date = httpdate::parse_http_date(date.to_str()?)?;
    Ok(date.duration_since(std::time::UNIX_EPOCH)?)
}
