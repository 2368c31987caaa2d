//! A server that says its name, so that a test sees who answered.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A server that answers each request with its own name; one for `/hold` when it is let go.
pub(crate) struct NamedServer {
    pub(crate) address: SocketAddr,
    pub(crate) held: Receiver<()>,
    pub(crate) let_go: Sender<()>,
}

impl NamedServer {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_held, held) = channel();
        let (let_go, go) = channel();
        let go = std::sync::Arc::new(std::sync::Mutex::new(go));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (is_held, go) = (is_held.clone(), std::sync::Arc::clone(&go));
                std::thread::spawn(move || {
                    serve(stream, name, || {
                        is_held.send(()).ok();
                        // The test may have ended.
                        go.lock().unwrap().recv().ok();
                    });
                });
            }
        });
        Self {
            address,
            held,
            let_go,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

fn serve(stream: TcpStream, name: &str, hold: impl Fn()) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push(line),
            }
        }
        if head[0].starts_with("GET /hold ") {
            hold();
        }
        let length = name.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
