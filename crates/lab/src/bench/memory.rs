//! Measures the memory of idle connections, and the time of a start.

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::pause;

use super::proxy::{BenchLayout, BenchProxy, ask, start_origin};
use super::report::median;
use super::{machine, usage, write_json};

/// Descriptors that the programs need beside the connections.
const SPARE: usize = 300;

/// Measures each proxy and prints a table.
///
/// # Errors
/// If a program cannot be started or stops answering, or the results cannot be written.
pub fn run(
    place: &BenchLayout,
    proxies: &[BenchProxy],
    wanted: usize,
    starts: usize,
    results: Option<&Path>,
    commit: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    // A proxy keeps a second descriptor back for each client, for its server: evenkeel takes no more clients than that.
    let connections = wanted.min((usage::descriptor_limit() / 2).saturating_sub(SPARE));
    if connections < wanted {
        writeln!(
            out,
            "note: the limit on open files allows {connections} connections, not {wanted}"
        )?;
    }
    let _origin = start_origin(place)?;
    writeln!(
        out,
        "{:<9} {:>16} {:>14} {:>14} {:>12}",
        "proxy", "first answer ms", "RSS before KiB", "RSS after KiB", "bytes/conn"
    )?;
    let mut rows = Vec::new();
    for &proxy in proxies {
        let mut times = Vec::new();
        for _ in 0..starts.max(1) {
            times.push(proxy.start(place)?.1.as_secs_f64() * 1e3);
        }
        let first_answer = median(times.clone()).unwrap_or(0.0);
        let (before, after) = idle(place, proxy, connections)?;
        let each = after.saturating_sub(before) as f64 / connections.max(1) as f64;
        writeln!(
            out,
            "{:<9} {first_answer:>16.1} {:>14} {:>14} {each:>12.0}",
            proxy.name(),
            before / 1024,
            after / 1024
        )?;
        rows.push(json!({
            "proxy": proxy.name(), "version": proxy.version(place), "first_answer_ms": first_answer,
            "first_answers_ms": times, "resident_before_bytes": before, "resident_after_bytes": after,
            "connections": connections, "bytes_per_connection": each,
        }));
    }
    if let Some(path) = results {
        write_json(
            path,
            &json!({ "commit": commit, "machine": machine(), "rows": rows }),
        )?;
        writeln!(out, "\nwritten to {}", path.display())?;
    }
    Ok(())
}

/// Resident memory before and after this many connections have made one request each and then stay idle.
fn idle(place: &BenchLayout, proxy: BenchProxy, connections: usize) -> io::Result<(u64, u64)> {
    let (process, _) = proxy.start(place)?;
    let mut first = TcpStream::connect(process.address)?;
    for _ in 0..1000 {
        ask(&mut first)?;
    }
    let settle = Duration::from_millis(500);
    pause(settle)?;
    // It would be one more than wanted, and perhaps than the proxy takes.
    drop(first);
    let before = process.tree()?.resident()?;
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(process.address)?;
        ask(&mut stream)?;
        open.push(stream);
    }
    pause(settle)?;
    let after = process.tree()?.resident()?;
    // All of them are still served: none was closed to save memory.
    for stream in open.iter_mut().step_by(100) {
        ask(stream)?;
    }
    Ok((before, after))
}
