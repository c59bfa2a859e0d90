//! agent-host
fn main() -> anyhow::Result<()> {
    use agent_host::io::bench;
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let x = bench::Xvfb::start("1920x1080")?;
    let name = if std::env::args().nth(1).as_deref() == Some("openh264") { agent_host::encode::EncoderName::OpenH264 } else { agent_host::encode::EncoderName::X264 };
    let r = bench::run(&x.display, name, std::time::Duration::from_secs(3))?;
    println!("{}", serde_json::to_string_pretty(&r)?);
    Ok(())
}
