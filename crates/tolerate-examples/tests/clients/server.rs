//! A small HTTP server that answers as it is told, one connection after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// With this status and the number of the request as the body.
    Status(u16),
    /// With this status and the wish to be asked again after so many seconds.
    After(u16, u32),
    /// Closed without a word.
    Close,
    /// Held open without a word.
    Hang,
}

/// A server that answers by the script, and like its last line from then on.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(script: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else {
                    return;
                };
                let mut head = Vec::new();
                let mut piece = [0; 4096];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match connection.read(&mut piece) {
                        Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                if head.is_empty() {
                    continue;
                }
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let answer = script.get(number - 1).or(script.last());
                let (status, more) = match answer {
                    Some(Answer::Status(status)) => (*status, String::new()),
                    Some(Answer::After(status, seconds)) => {
                        (*status, format!("retry-after: {seconds}\r\n"))
                    }
                    Some(Answer::Hang) => {
                        held.push(connection);
                        continue;
                    }
                    Some(Answer::Close) | None => continue,
                };
                let body = number.to_string();
                let text = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
                    body.len()
                );
                // Whoever asked may be gone.
                drop(connection.write_all(text.as_bytes()));
            }
        });
        Self { address, asked }
    }

    /// Requests up to now.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    evenkeel_lab::ports::refusing().expect("a free port")
}
