//! Starts the laboratory's processes and queries them.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel_runtime::Clock;

const PATIENCE: Duration = Duration::from_secs(20);

/// A process of the laboratory's program; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn server(name: &str, more: &[&str]) -> Self {
        let mut words = vec!["server", "--address", "127.0.0.1:0", "--name", name];
        words.extend_from_slice(more);
        Self::start(&words)
    }

    /// Starts a subcommand that says `… ADDRESS` in its first line.
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut child = command(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in the first line: {line:?}"));
        Self { child, address }
    }

    pub(crate) fn server_that_fails(more: &[&str]) -> Option<i32> {
        let mut words = vec!["server", "--address", "127.0.0.1:0"];
        words.extend_from_slice(more);
        command(&words)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code()
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<String> {
        self.get_within(path, PATIENCE)
    }

    pub(crate) fn get_within(&self, path: &str, patience: Duration) -> io::Result<String> {
        ask_within(
            self.address,
            &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            patience,
        )
    }

    pub(crate) fn mode(&self, mode: &str) {
        let text = ask(self.address, &post("/mode", mode)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel-lab"));
    command.args(words);
    command
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends `request` and gives all that comes until the end of the connection.
pub(crate) fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
    ask_within(address, request, PATIENCE)
}

pub(crate) fn ask_within(
    address: SocketAddr,
    request: &str,
    patience: Duration,
) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn body_of(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !holds() {
        assert!(
            clock.now().since(evenkeel_core::Instant::ZERO) < PATIENCE,
            "never: {what}"
        );
        std::thread::yield_now();
    }
}
