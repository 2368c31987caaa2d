//! The demo: runs a service, its servers, a load and injected faults on this machine, and shows how evenkeel recovers.
//!
//! Nothing is staged: real processes, real sockets, the same wiring as `evenkeel run`.

mod configuration;
mod screen;
mod show;
mod story;
mod verdict;

use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use evenkeel_lab::{LoadPlan, OpenLoad};

use crate::output::{self, CommandEnding, CommandFailure, Result, print};
use crate::wiring::{self, RunningEvenkeel};
use screen::Screen;
use show::DemoView;
use story::{InjectedFault, STORY, Scenario};
use verdict::DemoOutcome;

/// Requests per second.
const RATE: f64 = 250.0;
/// How long the children may take until all are in service.
const START: Duration = Duration::from_secs(15);
/// Quiet time before the first fault, and between two.
const QUIET: Duration = Duration::from_millis(1500);
/// How long one fault may take until its incident is closed and all servers are back.
const CHAPTER: Duration = Duration::from_secs(14);
/// When the last fault must be over, so that the demo ends within a minute.
const STORY_END: Duration = Duration::from_secs(54);
/// How long requests in flight may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// The user's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoOptions {
    /// Leave it running after the story.
    pub(crate) keep: bool,
    /// Plain lines, also on a terminal.
    pub(crate) plain: bool,
}

/// Runs the demo.
pub(crate) fn run(options: DemoOptions) -> Result {
    // The state directory; removed at the end.
    let folder = tempfile::Builder::new()
        .prefix("evenkeel-demo-")
        .tempdir()
        .map_err(|error| CommandFailure::world("cannot make a temporary folder", error))?;
    let program = std::env::current_exe()
        .map_err(|error| CommandFailure::world("cannot find this program's file", error))?;
    let text = configuration::text(&program, &free_ports(3)?);
    print("This is the configuration that the demo runs:\n")?;
    print(
        text.lines()
            .map(|line| format!("    {line}").trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n"),
    )?;
    let read = crate::configuration::parse(&text, "the demo's configuration", folder.path())?;
    let plan = read.plan.clone();
    let running = wiring::start(read, None)?;
    announce(&running)?;
    let runtime = evenkeel_runtime::spawn::runtime()
        .map_err(|error| CommandFailure::world("cannot start", error))?;
    let told = runtime.block_on(tell(&running, &plan, options));
    running.stop(FAREWELL);
    let outcome = told?;
    Ok(if outcome.complaints().is_empty() {
        CommandEnding::Good
    } else {
        CommandEnding::Wrong
    })
}

/// The whole story, from the first request to the verdict.
async fn tell(
    running: &RunningEvenkeel,
    plan: &evenkeel_config::Plan,
    options: DemoOptions,
) -> Result<DemoOutcome> {
    let live = !options.plain && io::stdout().is_terminal();
    let mut show = DemoView::new(running, plan, Screen::new(live, output::colours()));
    show.tell("three servers start", true)?;
    if !show.until(START, |show| show.all_up()).await? {
        return Err(CommandFailure::World(
            "the sample servers did not come up".to_owned(),
        ));
    }
    let target = running
        .addresses
        .first()
        .and_then(|(_, address)| address.tcp());
    let target =
        target.ok_or_else(|| CommandFailure::World("the demo has no listener".to_owned()))?;
    let load = OpenLoad::start(LoadPlan::new(target, RATE))
        .map_err(|error| CommandFailure::world("cannot start the load", error))?;
    show.watch(load.watch());
    show.tell(&format!("{RATE} requests per second begin"), true)?;
    show.until(QUIET, |_| false).await?;
    for scenario in STORY {
        if show.over() {
            break;
        }
        break_and_heal(&mut show, scenario).await?;
    }
    show.leave();
    if options.keep && !show.over() {
        report(&show)?;
        let outcome = show.outcome(STORY.len());
        print(outcome.text())?;
        by_hand(&show, running)?;
        show.until(Duration::MAX, |_| false).await?;
        print("Stopping.")?;
        drop(load);
        return Ok(outcome);
    }
    // Waits for requests in flight, so that the last one counts as well.
    let last = tokio::task::spawn_blocking(move || load.stop()).await;
    show.last_numbers(last.map_err(|error| CommandFailure::world("the load", error))?);
    report(&show)?;
    let outcome = show.outcome(STORY.len());
    print(outcome.text())?;
    Ok(outcome)
}

async fn break_and_heal(show: &mut DemoView<'_>, scenario: Scenario) -> Result<()> {
    let (name, pid, address) = show.server(scenario.server);
    show.begin(scenario.injected_fault, &name);
    show.tell(&format!("── {}", scenario.injected_fault.told(&name)), true)?;
    let done = scenario
        .injected_fault
        .happen(pid.unwrap_or_default(), address)
        .await;
    if let Err(error) = done {
        return Err(CommandFailure::world(
            format_args!("cannot break {name}"),
            error,
        ));
    }
    let limit = CHAPTER.min(STORY_END.saturating_sub(show.elapsed()));
    show.until(limit, |show| show.healed() && show.all_up())
        .await?;
    let after = QUIET.min(STORY_END.saturating_sub(show.elapsed()));
    show.until(after, |_| false).await?;
    Ok(())
}

fn announce(running: &RunningEvenkeel) -> Result<()> {
    let listener = running
        .addresses
        .first()
        .map_or_else(String::new, |(_, address)| format!("http://{address}"));
    print(format_args!(
        "\nservice  {listener}\nadmin    http://{}   (evenkeel status --admin http://{0})\n",
        running.admin
    ))
}

fn report(show: &DemoView<'_>) -> Result<()> {
    for incident in show.incidents() {
        print("\n")?;
        print(evenkeel_admin::text::incident(incident))?;
    }
    print("\n")?;
    Ok(())
}

fn by_hand(show: &DemoView<'_>, running: &RunningEvenkeel) -> Result<()> {
    print("\nPress Ctrl-C to end. To break it by hand, from another terminal:")?;
    for (injected_fault, server) in [
        (InjectedFault::Kill, 0),
        (InjectedFault::Hang, 1),
        (InjectedFault::Errors, 2),
        (InjectedFault::Slow, 0),
    ] {
        let (_, pid, address) = show.server(server);
        print(format_args!(
            "  {}",
            injected_fault.by_hand(pid.unwrap_or_default(), address)
        ))?;
    }
    print(format_args!(
        "and look at it:\n  evenkeel status --admin http://{0}\n  evenkeel incidents --admin http://{0}\n",
        running.admin
    ))
}

/// Ports that are free now. Somebody else may take one before a server does; then the demo says so.
fn free_ports(number: usize) -> Result<Vec<u16>> {
    let bind = || TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    // All are held at the same time, so that they differ.
    let held: io::Result<Vec<TcpListener>> = (0..number).map(|_| bind()).collect();
    let ports = held.and_then(|held| {
        held.iter()
            .map(|one| Ok(one.local_addr()?.port()))
            .collect()
    });
    ports.map_err(|error| CommandFailure::world("no free ports", error))
}
