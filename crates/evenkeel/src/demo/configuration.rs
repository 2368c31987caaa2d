//! The configuration of the demo as text, so that the user sees exactly what evenkeel reads.

use std::fmt::Write as _;
use std::path::Path;

/// The demo's configuration for the program at `program` and servers on `ports`.
pub(crate) fn text(program: &Path, ports: &[u16]) -> String {
    let program = quoted(&program.to_string_lossy());
    let ports = ports
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        r#"[admin]
address = "127.0.0.1:0"                 # 0: a free port

[listen.web]
address = "127.0.0.1:0"
service = "shop"

[service.shop.run]                      # evenkeel starts the servers itself and looks after them
command = [{program}, "sample-server", "--port", "{{port}}"]
ports   = [{ports}]

[service.shop.balance]
slow_start = "1s"                       # sample servers have nothing to warm up

[service.shop.timeout]
attempt = "1s"                          # so that a request to a hung server costs one second at most

[service.shop.retry]
on = ["connect", "reset", "timeout", "500", "502", "503", "504"]   # "500" is not among the defaults

[service.shop.detect]
probe = {{ http = "/health", every = "500ms", timeout = "400ms", fast = "100ms" }}
slow  = {{ times_peers = 3.0, window = "3s", minimum_attempts = 20 }}
failure_ratio = {{ above = 0.1, window = "3s", minimum_attempts = 20 }}

[service.shop.objective]
availability = 0.999
latency = {{ quantile = 0.99, under = "300ms" }}
window = "30d"
"#
    )
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a string takes all");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_string() {
        assert_eq!(quoted("a \"b\\c\"\n"), r#""a \"b\\c\"\u000A""#);
        assert!(
            text(Path::new("/x y/evenkeel"), &[1, 2])
                .contains(r#"["/x y/evenkeel", "sample-server", "--port", "{port}"]"#)
        );
    }
}
