//! The terminal of `top`: switched to the alternate screen, and restored however the program ends, including panics and
//! signals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use super::Fetcher;
use super::draw::draw;
use super::state::TopState;
use crate::output::{CommandEnding, CommandFailure, Result};

/// How long a key, an answer or a signal may wait to be noticed.
const LOOK: Duration = Duration::from_millis(50);

/// The terminal while it is taken. Dropping it gives it back; for a panic ratatui's hook does so before the message.
#[derive(Debug)]
struct TerminalGuard;

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        ratatui::try_restore().ok();
    }
}

/// Shows what is answered until a key or a signal ends it.
pub(crate) fn show(fetcher: &Fetcher, colours: bool) -> Result {
    let stopped = Arc::new(AtomicBool::new(false));
    listen(Arc::clone(&stopped))?;
    let failed = |error: io::Error| CommandFailure::world("cannot draw on the terminal", error);
    let taken = TerminalGuard;
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = run_until_stopped(&mut terminal, fetcher, &stopped, TopState::new(colours));
    drop(taken);
    shown.map_err(failed)?;
    Ok(CommandEnding::Good)
}

fn run_until_stopped(
    terminal: &mut DefaultTerminal,
    fetcher: &Fetcher,
    stopped: &AtomicBool,
    mut state: TopState,
) -> io::Result<()> {
    terminal.draw(|frame| draw(frame, &state))?;
    while !stopped.load(Ordering::Acquire) {
        let mut is_new = false;
        if event::poll(LOOK)? {
            match event::read()? {
                Event::Key(key) => {
                    if !state.press(key) {
                        return Ok(());
                    }
                    is_new = true;
                }
                Event::Resize(..) => is_new = true,
                _ => {}
            }
        }
        if let Some(answer) = fetcher.ready() {
            state.take_in(answer);
            is_new = true;
        }
        if is_new {
            terminal.draw(|frame| draw(frame, &state))?;
        }
    }
    Ok(())
}

/// Sets `stopped` when a signal says to end. Keys such as Ctrl-C are no signals while the terminal is taken.
fn listen(stopped: Arc<AtomicBool>) -> Result<()> {
    let listening = evenkeel_runtime::spawn::thread("top-signals", move || async move {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ];
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)] = kinds.map(signal) else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        stopped.store(true, Ordering::Release);
    });
    // The thread ends with the program.
    listening
        .map(drop)
        .map_err(|error| CommandFailure::world("cannot wait for signals", error))
}
