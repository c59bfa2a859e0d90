//! Attack group 19: what a cloud is told in confidence stands in no log, however much is logged, in no
//! list of processes, and in no memory that somebody else on the machine can read.
#![cfg(feature = "net")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use protocol::Secret;
use protocol::id::InstanceId;
use protocol::signal::{
    AGENT_PATH, FromAgent, FromViewer, Grant, PathMode, ToAgent, ToViewer, VERSION, VIEWER_PATH,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::cloud_program::{Node, admin};
use tests::relay_program::{folder, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const RELAY_SECRET: &str = "relay-secret-of-this-test";
const PEPPER: &str = "pepper-of-this-test-0123456789abcdefghijkl";
const GUESS: &str = "guessed-password-of-this-test";
/// Root without the right to look into others: so it is told what any other user would be.
const WITHOUT_PTRACE: [&str; 2] = ["--bounding-set", "-sys_ptrace"];

#[tokio::test]
async fn attack_19_no_secret_is_in_a_log_however_much_is_logged() {
    let house = House::start().unwrap();
    let secrets = house.use_everything().await.unwrap();
    assert!(secrets.len() >= 15, "{}", secrets.len());
    let log = house.node.log();
    assert!(
        log.contains("DEBUG sqlx::query") && log.contains("session opened"),
        "{log}"
    );
    let proc = format!("/proc/{}", house.node.pid());
    let arguments = std::fs::read(format!("{proc}/cmdline")).unwrap();
    let environment = std::fs::read(format!("{proc}/environ")).unwrap();
    let places = [
        ("log", log.into_bytes()),
        ("arguments", arguments),
        ("environment", environment),
    ];
    for (place, bytes) in &places {
        for (what, secret) in &secrets {
            let found = bytes
                .windows(secret.len())
                .position(|some| some == secret.as_bytes());
            let near = found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at]));
            assert_eq!(near, None, "the {place} has the {what}");
        }
    }
}

#[test]
fn attack_19_nobody_reads_the_memory_not_even_in_a_core_dump() {
    let house = House::start().unwrap();
    let other = Other::start().unwrap();
    // The kernel asks the same before it writes a core dump: may this memory leave the process?
    assert!(may_be_read(other.0.id()), "of any other program");
    assert!(!may_be_read(house.node.pid()));
}

fn may_be_read(pid: u32) -> bool {
    let mut look = without_ptrace("cat");
    look.arg(format!("/proc/{pid}/io"));
    let looked = look.stdout(Stdio::null()).stderr(Stdio::null()).status();
    looked.unwrap().success()
}

fn without_ptrace(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(WITHOUT_PTRACE).arg(program);
    command
}

/// A program that has nothing to hide, and waits.
struct Other(Child);

impl Other {
    fn start() -> Result<Self> {
        let mut command = without_ptrace("sh");
        command.args(["-c", "echo ready; read -r _"]);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut other = Self(pipes.spawn()?);
        // Before this it may still be the one that gives its rights away.
        let said = other.0.stdout.take().context("a pipe")?;
        BufReader::new(said).read_line(&mut String::new())?;
        Ok(other)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One cloud that logs all it can.
struct House {
    node: Node,
    folder: std::path::PathBuf,
    credential: String,
    key: String,
    password: String,
}

impl House {
    fn start() -> Result<Self> {
        let folder = folder("secrets")?;
        let config = folder.join("cloud.toml");
        write_private(&folder.join("peppers"), PEPPER)?;
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"sqlite:{0}/cloud.db\"\nbus = \"local\"\n\
             state = \"{0}/state\"\n[identity]\npepper_file = \"{0}/peppers\"\n\
             [[region]]\nid = \"local\"\n[[region.relay]]\n\
             urls = [\"turn:127.0.0.1:3478?transport=udp\"]\nshared_secrets = [\"{RELAY_SECRET}\"]\n",
            folder.display(),
        );
        std::fs::write(&config, text)?;
        let text_of = |args: &[&str], field: &str| -> Result<String> {
            let answer = admin(&config, args)?;
            let text = answer[field].as_str().context("a text")?;
            Ok(text.to_owned())
        };
        let desk = ["instance", "create", "--id", "desk", "--region", "local"];
        let credential = text_of(&desk, "credential")?;
        let key = text_of(&["access", "create", "--instance", "desk"], "key")?;
        let owner = ["--email", "ada@example.org", "--role", "owner"];
        let password = text_of(&[&["member", "create"], &owner[..]].concat(), "password")?;
        let mut command = without_ptrace(program("multiclaw-cloud")?);
        command.env("MULTICLAW_LOG", "trace");
        Ok(Self {
            node: Node::start_by(command, config)?,
            folder,
            credential,
            key,
            password,
        })
    }

    /// Signs in, goes on, connects and comes back, rightly and wrongly; returns what must stay
    /// between the service and whoever was told.
    async fn use_everything(&self) -> Result<Vec<(&'static str, String)>> {
        let mut secrets = vec![
            ("relay's secret", RELAY_SECRET.to_owned()),
            ("pepper", PEPPER.to_owned()),
            ("guess", GUESS.to_owned()),
            ("password", self.password.clone()),
            ("credential", self.credential.clone()),
            ("access key", secret_part(&self.key)?),
            ("signing key", self.signing_key()?),
        ];
        let wrong = self
            .post("/api/v1/auth/sign-in", "", &sign_in(GUESS))
            .await?;
        assert!(wrong.contains("SIGN_IN_FAILED"), "{wrong}");
        let right = self
            .post("/api/v1/auth/sign-in", "", &sign_in(&self.password))
            .await?;
        let cookies = cookies(&right);
        secrets.extend(values(&cookies));
        let next = self
            .post(
                "/api/v1/auth/refresh",
                &format!("Cookie: {cookies}\r\n"),
                &json!({}),
            )
            .await?;
        assert!(next.starts_with("HTTP/1.1 200"), "{next}");
        secrets.extend(values(&self::cookies(&next)));
        let forgot = json!({ "email": "ada@example.org" });
        self.post("/api/v1/auth/forgot", "", &forgot).await?;
        secrets.push(("mailed token", self.mailed_token()?));

        let ticket = self.ticket(&self.key).await?;
        assert!(self.ticket(&format!("{}x", self.key)).await.is_err());
        let grant = self.open(&ticket).await?;
        secrets.extend([
            ("ticket", ticket),
            ("session token", grant.token.expose().to_owned()),
            ("refresh handle", grant.refresh_handle.expose().to_owned()),
        ]);
        let relays = grant.ice_servers.iter();
        secrets
            .extend(relays.map(|relay| ("relay credential", relay.credential.expose().to_owned())));
        Ok(secrets)
    }

    fn signing_key(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.folder.join("state/signing.key"))?;
        Ok(text.trim().to_owned())
    }

    fn mailed_token(&self) -> Result<String> {
        let mails = std::fs::read_dir(self.folder.join("state/mail"))?;
        let newest = mails.last().context("a mail")??;
        let mail = std::fs::read_to_string(newest.path())?;
        let (_, rest) = mail.split_once("token=").context("a token")?;
        Ok(rest
            .split_whitespace()
            .next()
            .context("a token")?
            .to_owned())
    }

    async fn ticket(&self, key: &str) -> Result<String> {
        let bearer = format!("Authorization: Bearer {key}\r\n");
        let path = "/api/v1/instances/desk/tickets";
        let answer = self.post(path, &bearer, &json!({})).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        let body: Value = serde_json::from_str(body)?;
        Ok(body["ticket"].as_str().context("a ticket")?.to_owned())
    }

    /// With an agent host; then the viewer comes back, once with a token that is nearly right.
    async fn open(&self, ticket: &str) -> Result<Grant> {
        let mut agent = Socket::open(&self.node.address, AGENT_PATH).await?;
        let register = FromAgent::Register {
            version: VERSION,
            instance: InstanceId::new("desk")?,
            credential: Secret::new(&self.credential),
            sessions: vec![],
            captured: true,
        };
        agent.say(&register).await?;
        let _: ToAgent = agent.hear().await?;
        let mut viewer = Socket::open(&self.node.address, VIEWER_PATH).await?;
        let open = FromViewer::Open {
            version: VERSION,
            ticket: Secret::new(ticket),
            mode: PathMode::Auto,
            round_trips_ms: Default::default(),
        };
        viewer.say(&open).await?;
        let ToViewer::Granted { grant } = viewer.hear().await? else {
            bail!("not granted");
        };
        let handle = grant.refresh_handle.clone();
        viewer.say(&FromViewer::Refresh { handle }).await?;
        let _: ToViewer = viewer.hear().await?;
        for token in [
            grant.token.clone(),
            Secret::new(format!("{}x", grant.token.expose())),
        ] {
            let mut back = Socket::open(&self.node.address, VIEWER_PATH).await?;
            let version = VERSION;
            back.say(&FromViewer::Resume { version, token }).await?;
            let _: ToViewer = back.hear().await?;
        }
        Ok(grant)
    }

    async fn post(&self, path: &str, headers: &str, body: &Value) -> Result<String> {
        let address = &self.node.address;
        let mut stream = TcpStream::connect(address).await?;
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             Connection: close\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.node.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn sign_in(password: &str) -> Value {
    json!({ "email": "ada@example.org", "password": password })
}

/// The id in front of it may be known.
fn secret_part(key: &str) -> Result<String> {
    let (_, secret) = key.split_once('.').context("an access key")?;
    Ok(secret.to_owned())
}

/// As a browser sends them back.
fn cookies(answer: &str) -> String {
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("set-cookie: "));
    let pairs: Vec<_> = lines.filter_map(|line| line.split(';').next()).collect();
    pairs.join("; ")
}

fn values(cookies: &str) -> Vec<(&'static str, String)> {
    let pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(_, value)| ("cookie", value.to_owned()))
        .collect()
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(address: &str, path: &str) -> Result<Self> {
        Ok(Self(
            connect_async(format!("ws://{address}{path}")).await?.0,
        ))
    }

    async fn say(&mut self, message: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(message)?;
        Ok(self.0.send(Message::text(text)).await?)
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let message = self.0.next().await.context("the socket was closed")??;
        Ok(serde_json::from_str(message.to_text()?)?)
    }
}
