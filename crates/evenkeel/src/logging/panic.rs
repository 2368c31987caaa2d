//! Panics as log events. The standard library's hook would write to standard error directly, and block on it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use evenkeel_runtime::contain::note_panic;

/// From now on each panic is counted, and is an error event of the log: thread, place, message, and a backtrace if
/// `RUST_BACKTRACE` asks for one.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    note_panic(info);
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, location, backtrace, "a thread panicked: {message}");
}
