//! How long a sign-in that was ended at one node is still believed at another.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tests::cloud_program::Nodes;

use crate::http::Client;
use crate::socket::Figures;
use crate::{Bar, Row};

/// Sign-ins that are ended, each at another moment of what the other node remembers.
const ENDED: u32 = 20;
/// A node believes what it read for this long at most; the moments are spread over it.
const REMEMBERED: Duration = Duration::from_millis(900);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A sign-in that is believed for longer is never refused.
const LIMIT: Duration = Duration::from_secs(30);
const EMAIL: &str = "ada@example.org";

pub(crate) async fn across_nodes() -> Result<Row> {
    let cloud = Nodes::start(2)?;
    let member = cloud.admin(&["member", "create", "--email", EMAIL])?;
    let password = member["password"].as_str().context("a password")?;
    let body = json!({ "email": EMAIL, "password": password }).to_string();
    let [here, there] = cloud.nodes.as_slice() else {
        bail!("two nodes");
    };
    let mut here = Client::connect(&here.address, Ipv4Addr::LOCALHOST).await?;
    let mut there = Client::connect(&there.address, Ipv4Addr::LOCALHOST).await?;
    let mut took = Vec::new();
    for number in 0..ENDED {
        let signed_in = here.call("POST", "/api/v1/auth/sign-in", "", &body).await?;
        let cookies = format!("Cookie: {}\r\n", signed_in.cookies);
        let busy_until = Instant::now() + REMEMBERED + REMEMBERED * number / ENDED;
        while Instant::now() < busy_until {
            let status = look(&mut there, &cookies).await?;
            ensure!(status == 200, "a sign-in was answered {status}");
        }
        let ended = here
            .call("POST", "/api/v1/auth/sign-out", &cookies, "")
            .await?;
        ensure!(
            ended.status == 204,
            "signing out was answered {}",
            ended.status
        );
        let since = Instant::now();
        while look(&mut there, &cookies).await? == 200 {
            ensure!(since.elapsed() < LIMIT, "it is believed for ever");
        }
        took.push(since.elapsed());
    }
    let took = Figures::of(took)?;
    Ok(Row {
        name: "a sign-in ended at one node, believed at another, slowest",
        figure: took.max,
        unit: "ms",
        bar: Bar::AtMost(1000.0),
        more: took.json(),
    })
}

async fn look(node: &mut Client, cookies: &str) -> Result<u16> {
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(node.call("GET", "/api/v1/me", cookies, "").await?.status)
}
