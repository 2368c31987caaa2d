//! The laboratory's program: the sample server, the loads, and the benchmark's instruments, each a subcommand.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use evenkeel_lab::bench::proxy::{BenchLayout, BenchProxy};
use evenkeel_lab::bench::workload::{WORKLOADS, Workload};
use evenkeel_lab::bench::{self, BenchPlan};
use evenkeel_lab::closed::{self, ClosedCounts, ClosedPlan};
use evenkeel_lab::floor::Floor;
use evenkeel_lab::origin::BenchOrigin;
use evenkeel_lab::soak::{self, SoakPlan};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad, RequestMix, SampleServerOptions, pause, server};

#[derive(Debug, Parser)]
#[command(
    name = "evenkeel-lab",
    about = "Sample server, loads and instruments of evenkeel's tests and benchmark"
)]
struct LabCommand {
    #[command(subcommand)]
    command: LabSubcommand,
}

#[derive(Debug, Subcommand)]
enum LabSubcommand {
    /// Run the sample server until SIGTERM
    Server(ServerArgs),
    /// Send requests at a steady rate and report the results
    Load(LoadArgs),
    /// Send each connection's next request when the previous one is answered
    Closed(ClosedArgs),
    /// Forward bytes, nothing else
    Floor {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Where to forward to; may be given more than once
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
    },
    /// Compare evenkeel with its peers (use the script bench/run)
    Bench(BenchArgs),
    /// Measure idle connections and starts (use the script bench/memory)
    Memory(MemoryArgs),
    /// Soak-test an evenkeel with awkward clients and servers (use `cargo xtask soak`)
    Soak(SoakArgs),
    /// Run the benchmark's origin server
    Origin {
        /// Where to listen; may be given more than once
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
    },
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long)]
    address: SocketAddr,
    /// The server's name
    #[arg(long, default_value = "server")]
    name: String,
    /// A file with the initial mode
    #[arg(long)]
    mode_file: Option<PathBuf>,
    /// Exit with this status instead of starting
    #[arg(long)]
    exit_at_start: Option<i32>,
    /// The duration of an ordinary request
    #[arg(long, default_value_t = 2)]
    base_delay_ms: u64,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Where to send
    #[arg(long)]
    target: SocketAddr,
    /// Requests per second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Maximum number of connections
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// The path
    #[arg(long, default_value = "/")]
    path: String,
    /// POST a body of this many bytes instead of GET
    #[arg(long)]
    post: Option<usize>,
    /// Longest time for one request
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
}

#[derive(Debug, Args)]
struct ClosedArgs {
    /// Where to send
    #[arg(long)]
    target: SocketAddr,
    /// How many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The path
    #[arg(long, default_value = "/small")]
    path: String,
    /// The length that every answer must have
    #[arg(long, default_value_t = 13)]
    expect: usize,
    /// POST a body of this many bytes instead of GET
    #[arg(long)]
    post: Option<usize>,
    /// A new connection for each request
    #[arg(long)]
    reconnect: bool,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The directory with the proxies' configurations
    #[arg(long, default_value = "bench")]
    bench: PathBuf,
    /// The core of the proxy under test
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of the load and the origin
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The proxies to measure; the first is compared with the others [default: evenkeel,haproxy,nginx, and floor except for memory]
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Another build of evenkeel to measure in the same run, as "baseline"
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// The file for the JSON results; if given twice, the last one counts
    #[arg(long, overrides_with = "results")]
    results: Option<PathBuf>,
    /// The commit that is measured
    #[arg(long, default_value = "unknown")]
    commit: String,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each proxy is measured under each workload in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long each proxy runs before it is measured
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Debug, Args)]
struct MemoryArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many idle connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How many starts are timed
    #[arg(long, default_value_t = 10)]
    starts: usize,
}

#[derive(Debug, Args)]
struct SoakArgs {
    /// The program to soak
    #[arg(long)]
    program: PathBuf,
    /// How long
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// The seed for the behaviour of clients and servers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The commit that is soaked
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// A file for the report
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match LabCommand::parse().command {
        LabSubcommand::Server(args) => serve(args),
        LabSubcommand::Load(args) => load(&args),
        LabSubcommand::Closed(args) => closed(args),
        LabSubcommand::Floor { listen, to } => Floor::bind(listen, to).and_then(|floor| {
            say(&format!("floor listens on {}", floor.address()?))?;
            floor.run()
        }),
        LabSubcommand::Bench(args) => bench(&args),
        LabSubcommand::Memory(args) => memory(&args),
        LabSubcommand::Soak(args) => soak::run(
            &SoakPlan {
                program: args.program,
                span: Duration::from_secs(60 * u64::from(args.minutes)),
                seed: args.seed,
                commit: args.commit,
                report: args.report,
            },
            &mut io::stdout(),
        ),
        LabSubcommand::Origin { listen } => BenchOrigin::bind(&listen).and_then(|origin| {
            for address in origin.addresses()? {
                say(&format!("origin listens on {address}"))?;
            }
            origin.run()
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServerArgs) -> io::Result<()> {
    server::run(&SampleServerOptions {
        address: args.address,
        name: args.name,
        mode_file: args.mode_file,
        exit_at_start: args.exit_at_start,
        base_delay: Duration::from_millis(args.base_delay_ms),
    })
}

fn load(args: &LoadArgs) -> io::Result<()> {
    let shape = args.post.map_or_else(
        || RequestMix::get(&args.path),
        |length| RequestMix::post(&args.path, length),
    );
    let load = OpenLoad::start(LoadPlan {
        mix: vec![shape],
        connections: args.connections,
        timeout: Duration::from_millis(args.timeout_ms),
        ..LoadPlan::new(args.target, args.rate)
    })?;
    wait(args.seconds)?;
    let stats: LoadStats = load.stop();
    say(&format!(
        "sent {}, ok {}, failed {}",
        stats.sent, stats.ok, stats.failed
    ))?;
    for (status, count) in &stats.by_status {
        say(&format!("  {status}: {count}"))?;
    }
    for (word, count) in &stats.by_error {
        say(&format!("  {word}: {count}"))?;
    }
    say(&times(&stats.total))
}

fn closed(args: ClosedArgs) -> io::Result<()> {
    let plan = ClosedPlan {
        target: args.target,
        connections: args.connections,
        path: args.path,
        post: args.post,
        reconnect: args.reconnect,
        expect: args.expect,
    };
    let counts = Arc::new(ClosedCounts::default());
    let for_thread = Arc::clone(&counts);
    let thread = std::thread::spawn(move || closed::run(plan, for_thread));
    wait(args.seconds)?;
    counts.stop.store(true, Relaxed);
    thread
        .join()
        .map_err(|_| io::Error::other("the load panicked"))??;
    let done = counts.done.load(Relaxed);
    let rate = done as f64 / args.seconds;
    say(&format!(
        "done {done}, failed {}, {rate:.0} per second",
        counts.failed.load(Relaxed)
    ))?;
    say(&times(&counts.take_times()))
}

fn bench(args: &BenchArgs) -> io::Result<()> {
    let names = WORKLOADS.map(|workload| workload.name).join(", ");
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| !WORKLOADS.iter().any(|workload| workload.name == *name))
    {
        return Err(io::Error::other(format!(
            "no workload is called \"{unknown}\"; there are: {names}"
        )));
    }
    let wanted = |workload: &Workload| {
        args.only.is_empty() || args.only.iter().any(|name| workload.name == name)
    };
    let proxies = proxies(&args.place, &PEERS)?;
    let plan = BenchPlan {
        place: place(&args.place)?,
        rounds: args.rounds,
        measure: duration(args.seconds)?,
        warm_up: duration(args.warm_up)?,
        workloads: WORKLOADS.into_iter().filter(wanted).collect(),
        proxies,
        results: args.place.results.clone(),
        commit: args.place.commit.clone(),
    };
    let outcome = bench::run(&plan, &mut io::stdout());
    finish(&plan.place, outcome)
}

fn memory(args: &MemoryArgs) -> io::Result<()> {
    let (proxies, results) = (
        proxies(&args.place, &KEEP_IDLE)?,
        args.place.results.as_deref(),
    );
    let place = place(&args.place)?;
    let commit = &args.place.commit;
    let outcome = bench::memory::run(
        &place,
        &proxies,
        args.connections,
        args.starts,
        results,
        commit,
        &mut io::stdout(),
    );
    finish(&place, outcome)
}

/// The proxies that evenkeel is compared with.
const PEERS: [BenchProxy; 4] = [
    BenchProxy::Evenkeel,
    BenchProxy::Haproxy,
    BenchProxy::Nginx,
    BenchProxy::Floor,
];
/// The floor holds a server connection for each idle client, so its memory is not comparable.
const KEEP_IDLE: [BenchProxy; 3] = [BenchProxy::Evenkeel, BenchProxy::Haproxy, BenchProxy::Nginx];

fn proxies(args: &PlaceArgs, without: &[BenchProxy]) -> io::Result<Vec<BenchProxy>> {
    let mut proxies = named(args, without)?;
    match (&args.baseline, proxies.contains(&BenchProxy::Baseline)) {
        (Some(_), false) => proxies.insert(1.min(proxies.len()), BenchProxy::Baseline),
        (None, true) => {
            return Err(io::Error::other(
                "\"baseline\" needs --baseline PATH, the program to compare with",
            ));
        }
        (Some(_), true) | (None, false) => {}
    }
    Ok(proxies)
}

fn named(args: &PlaceArgs, without: &[BenchProxy]) -> io::Result<Vec<BenchProxy>> {
    if args.proxies.is_empty() {
        return Ok(without.to_vec());
    }
    let unknown = |name: &str| {
        let names = BenchProxy::ALL.map(BenchProxy::name).join(", ");
        io::Error::other(format!("no proxy is called \"{name}\"; there are: {names}"))
    };
    args.proxies
        .iter()
        .map(|name| BenchProxy::named(name).ok_or_else(|| unknown(name)))
        .collect()
}

fn place(args: &PlaceArgs) -> io::Result<BenchLayout> {
    let this = std::env::current_exe()?;
    let programs = this.parent().map(PathBuf::from).unwrap_or_default();
    let scratch = std::env::temp_dir().join(format!("evenkeel-bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let bench = args.bench.canonicalize()?;
    let baseline = match &args.baseline {
        Some(path) => Some(path.canonicalize().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?),
        None => None,
    };
    Ok(BenchLayout {
        bench,
        programs,
        proxy_core: args.proxy_core,
        load_core: args.load_core,
        scratch,
        baseline,
    })
}

/// Removes the proxies' logs if all went well; else they may say why.
fn finish(place: &BenchLayout, outcome: io::Result<()>) -> io::Result<()> {
    outcome.map_err(|error| {
        io::Error::other(format!("{error}\n(logs: {})", place.scratch.display()))
    })?;
    std::fs::remove_dir_all(&place.scratch)
}

fn times(times: &evenkeel_core::stat::Histogram) -> String {
    let at = |q| times.quantile(q).as_secs_f64() * 1e3;
    format!(
        "p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, longest {:.3} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}

fn wait(seconds: f64) -> io::Result<()> {
    pause(duration(seconds)?)
}

fn duration(seconds: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(io::Error::other)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
