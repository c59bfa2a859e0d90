//! The client of the crate `turn` (webrtc-rs): two allocations talk to each other. It speaks UDP.

use std::sync::Arc;

use anyhow::{Result, ensure};
use interop::{PATIENCE, ROUNDS, Relay, Transport, payload, report};
use tokio::net::UdpSocket;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    tokio::time::timeout(PATIENCE, converse()).await?
}

async fn converse() -> Result<()> {
    let relay = Relay::from_environment()?;
    ensure!(
        relay.transport == Transport::Udp,
        "this client speaks UDP only"
    );
    let (caller, callee) = (connect(&relay).await?, connect(&relay).await?);
    let (near, far) = (caller.allocate().await?, callee.allocate().await?);
    let (near_address, far_address) = (near.local_addr()?, far.local_addr()?);
    // Opens the way back: a packet to the peer asks for the permission first.
    far.send_to(b"open", near_address).await?;

    let mut buffer = [0; 2048];
    for round in 0..ROUNDS {
        let sent = payload(round);
        near.send_to(&sent, far_address).await?;
        let (len, from) = far.recv_from(&mut buffer).await?;
        ensure!(
            from == near_address && buffer[..len] == sent,
            "round {round}: another message"
        );
        far.send_to(&sent, near_address).await?;
        loop {
            let (len, from) = near.recv_from(&mut buffer).await?;
            ensure!(from == far_address, "round {round}: from {from}");
            if &buffer[..len] != b"open" {
                ensure!(buffer[..len] == sent, "round {round}: another message");
                break;
            }
        }
    }
    // The first gives the allocation back, the second only stops listening.
    near.close().await?;
    far.close().await?;
    caller.close().await?;
    callee.close().await?;
    report(2 * ROUNDS);
    Ok(())
}

async fn connect(relay: &Relay) -> Result<Client> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let client = Client::new(ClientConfig {
        stun_serv_addr: relay.address(),
        turn_serv_addr: relay.address(),
        username: relay.username.clone(),
        password: relay.password.clone(),
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    })
    .await?;
    client.listen().await?;
    Ok(client)
}
