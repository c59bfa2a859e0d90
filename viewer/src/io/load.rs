//! `multiclaw-viewer load`: the sessions arrive by their timetable, whatever the service does; the
//! ledger is printed as it fills and reported at the end.

pub(super) mod flags;
mod parts;
mod strip_window;
pub(super) mod visitor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use peer::io::Trust;
use protocol::Secret;
use protocol::control::Quality;
use protocol::id::InstanceId;
use protocol::signal::PathMode;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::connect::{self, Options};
use super::service::Service;
use crate::load::arrivals::{Spacing, exponential, timetable};
use crate::load::cost::Shares;
use crate::load::ledger::{Ledger, Metric};
use crate::load::report::{Asked, Report};
use crate::load::{html, slo};
use parts::{Source, Watch};
use strip_window::StripWindow;
use visitor::{Looks, Shared, Visitor};

/// Between two lines of progress, and two readings of the parts.
const SECOND: Duration = Duration::from_secs(1);
/// Between two rings of the timer that measures the generator.
const TIMER: Duration = Duration::from_millis(20);

/// What is to be done.
pub(super) struct Plan {
    cloud: String,
    targets: Vec<(InstanceId, Secret)>,
    spacing: Spacing,
    hold: Duration,
    mode: PathMode,
    trust: Trust,
    strip: Option<StripPlan>,
    sources: Vec<Source>,
    asked: Asked,
    bounds: Option<Vec<slo::Bound>>,
    files: Files,
}

/// The strip to read.
struct StripPlan {
    /// Where to draw it; `None`: somebody else does.
    display: Option<String>,
    corner: (u32, u32),
    click_every: Option<Duration>,
}

/// What to write besides the table.
struct Files {
    json: bool,
    hdr: Option<PathBuf>,
    html: Option<PathBuf>,
}

/// Runs the load and reports; the exit code says whether the bounds were kept.
///
/// # Errors
///
/// The load could not begin, or a file could not be written.
pub(super) fn run(runtime: &Runtime, plan: Plan) -> anyhow::Result<ExitCode> {
    LocalSet::new().block_on(runtime, load(plan))
}

async fn load(plan: Plan) -> anyhow::Result<ExitCode> {
    let (instance, key) = plan.targets.first().context("no instance")?;
    let service = Service::new(&plan.cloud, instance.clone(), key.clone())?;
    let watch = Watch::start(plan.sources.clone()).await?;
    if let Some(StripPlan {
        display: Some(display),
        corner,
        ..
    }) = &plan.strip
    {
        let window = StripWindow::open(display, *corner, plan.asked.seed)?;
        let draw = move || {
            if let Err(error) = window.run() {
                tracing::warn!(%error, "the strip is drawn no more");
            }
        };
        let strip = std::thread::Builder::new().name("strip".into());
        strip.spawn(draw).context("the system has no thread left")?;
    }
    let shared = Arc::new(Shared::new(Instant::now()));
    let (cpu, clock) = (parts::own_cpu(), SystemTime::now());
    let timer = spawn_local(keep_time(Arc::clone(&shared)));
    let watch = watched(&plan, service, &shared, watch).await;
    timer.abort();
    let took = shared.began.elapsed();
    let cpu = parts::own_cpu().saturating_sub(cpu);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ledger = shared.ledger();
    let shares = Shares {
        sessions: ledger.ended_well + ledger.failed,
        live_most: ledger.live_most,
        live_time: ledger.live_time,
    };
    let costs = watch.parts().map(|part| part.cost(shares)).collect();
    let report = Report::new(plan.asked.clone(), &ledger, costs, took, (cpu, cores));
    publish(&plan, &report, &ledger, (clock, took))
}

/// Lets the sessions arrive and waits for the last, watching.
async fn watched(plan: &Plan, service: Service, shared: &Arc<Shared>, mut watch: Watch) -> Watch {
    let mut sessions = spawn_local(arrive(Arrivals::of(plan), service, Arc::clone(shared)));
    let mut second = tokio::time::interval(SECOND);
    let mut received = 0;
    loop {
        tokio::select! {
            _ = &mut sessions => break,
            _ = second.tick() => {
                watch.turn().await;
                received = progress(shared, plan, received);
            }
        }
    }
    watch.turn().await;
    watch
}

/// What the sessions need of the plan.
struct Arrivals {
    timetable: Vec<Duration>,
    targets: Vec<(InstanceId, Secret)>,
    hold: Duration,
    mode: PathMode,
    trust: Trust,
    corner: Option<(u32, u32)>,
    click_every: Option<Duration>,
    decode_every: usize,
    seed: u64,
}

impl Arrivals {
    fn of(plan: &Plan) -> Self {
        let asked = &plan.asked;
        let strip = plan.strip.as_ref();
        Self {
            timetable: timetable(plan.spacing, asked.sessions, asked.per_second, asked.seed),
            targets: plan.targets.clone(),
            hold: plan.hold,
            mode: plan.mode,
            trust: plan.trust.clone(),
            corner: strip.map(|strip| strip.corner),
            click_every: strip.and_then(|strip| strip.click_every),
            decode_every: asked.decode_every,
            seed: asked.seed,
        }
    }

    fn looks(&self, number: usize) -> Looks {
        match self.corner {
            _ if !number.is_multiple_of(self.decode_every) => Looks::Counts,
            Some(corner) => Looks::Reads { corner },
            None => Looks::Decodes,
        }
    }
}

/// Open-loop: nobody waits for the one before.
async fn arrive(arrivals: Arrivals, service: Service, shared: Arc<Shared>) {
    let mut sessions = Vec::new();
    let mut stop = std::pin::pin!(connect::stop_signal());
    for (number, offset) in arrivals.timetable.iter().enumerate() {
        let intended = shared.began + *offset;
        tokio::select! {
            () = tokio::time::sleep_until(intended.into()) => {}
            () = &mut stop => break,
        }
        shared.record(Metric::StartLag, intended.elapsed());
        shared.ledger().arrived += 1;
        let looks = arrivals.looks(number);
        let visitor = Visitor::new(Arc::clone(&shared), number, intended, looks);
        sessions.push(start(&arrivals, &service, Arc::new(visitor), number));
    }
    for session in sessions {
        // A session that panicked is missing among those that ended.
        let _ = session.await;
    }
}

fn start(
    arrivals: &Arrivals,
    service: &Service,
    visitor: Arc<Visitor>,
    number: usize,
) -> JoinHandle<()> {
    let (instance, key) = &arrivals.targets[number % arrivals.targets.len()];
    let service = service.for_session(instance.clone(), key.clone());
    let options = Options {
        quality: Quality::default(),
        cloud: String::new(),
        instance: instance.clone(),
        key: key.clone(),
        mode: arrivals.mode,
        json: false,
        duration: Some(arrivals.hold),
        snapshot: None,
        prints: false,
        trust: arrivals.trust.clone(),
        sound: peer::Sound::Unwanted,
        visitor: Some(Arc::clone(&visitor)),
    };
    let clicks = arrivals.click_every.map(|mean| {
        spawn_local(click(
            Arc::clone(&visitor),
            mean,
            arrivals.seed + number as u64,
        ))
    });
    spawn_local(async move {
        let ended = connect::visit(&options, service.clone()).await;
        if let Some(clicks) = clicks {
            clicks.abort();
        }
        visitor.handle_end(ended, service.signalled());
    })
}

/// Clicks at random moments, each counted from the moment it was meant for.
async fn click(visitor: Arc<Visitor>, mean: Duration, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut at = Instant::now();
    loop {
        let pause = Duration::try_from_secs_f64(exponential(mean.as_secs_f64(), &mut random));
        at += pause.unwrap_or(mean);
        tokio::time::sleep_until(at.into()).await;
        visitor.click(at);
    }
}

/// How late a timer rings here is what every figure may be wrong by.
async fn keep_time(shared: Arc<Shared>) {
    let mut at = Instant::now();
    loop {
        at += TIMER;
        tokio::time::sleep_until(at.into()).await;
        shared.record(Metric::TimerLag, at.elapsed());
    }
}

/// A line on stderr; gives back the bytes received so far.
fn progress(shared: &Shared, plan: &Plan, before: u64) -> u64 {
    let at = shared.began.elapsed();
    let mut ledger = shared.ledger();
    let received = ledger.media_so_far;
    let bits_per_second = received.saturating_sub(before) * 8;
    ledger.handle_second(at, bits_per_second);
    let first = ledger.histogram(Metric::FirstFrame);
    let ms = |quantile| first.value_at_quantile(quantile) as f64 / 1000.0;
    eprintln!(
        "{:>5.0} s  {}/{} arrived  {} live  {} failed  first frame p50 {:.0} p99 {:.0} ms  {:.1} Mbit/s",
        at.as_secs_f64(),
        ledger.arrived,
        plan.asked.sessions,
        ledger.live,
        ledger.failed,
        ms(0.5),
        ms(0.99),
        bits_per_second as f64 / 1e6
    );
    received
}

fn publish(
    plan: &Plan,
    report: &Report,
    ledger: &Ledger,
    (clock, took): (SystemTime, Duration),
) -> anyhow::Result<ExitCode> {
    let missed = plan
        .bounds
        .as_ref()
        .map(|bounds| slo::check(bounds, report));
    print!("{}", report.text());
    for miss in missed.iter().flatten() {
        println!("missed: {miss}");
    }
    if let Some(file) = &plan.files.hdr {
        let log = hdr_log(ledger, clock, took)?;
        std::fs::write(file, log).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &plan.files.html {
        let page = html::page(report, ledger, missed.as_deref());
        std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if plan.files.json {
        println!("{}", report.json());
    }
    let kept = missed.is_none_or(|missed| missed.is_empty());
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line for each latency, values in µs, the greatest in ms, as HdrHistogram's tools read them.
fn hdr_log(ledger: &Ledger, clock: SystemTime, took: Duration) -> anyhow::Result<Vec<u8>> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("multiclaw-viewer load; values in microseconds")
        .with_start_time(clock)
        .begin_log_with(&mut log, &mut serializer)?;
    for metric in Metric::ALL {
        let histogram = ledger.histogram(metric);
        let tag = Tag::new(metric.name()).context("a name is a tag")?;
        if !histogram.is_empty() {
            writer
                .write_histogram(histogram, Duration::ZERO, took, Some(tag))
                .map_err(|error| anyhow::anyhow!("the log cannot be written: {error:?}"))?;
        }
    }
    Ok(log)
}
