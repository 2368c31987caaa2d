//! Writes the corpus of the codec's tests as first inputs of the targets: `cargo run --example seeds`, in the folder `fuzz`.

use std::path::Path;

use evenkeel_http1::Method;

#[path = "../../crates/http1/tests/corpus/mod.rs"]
mod corpus;

fn main() -> std::io::Result<()> {
    for (name, bytes, _) in corpus::PROBE.iter().chain(corpus::REQUESTS) {
        write("request_head", name, &[bytes])?;
    }
    for (name, head, follows) in corpus::GOOD_REQUESTS {
        write("request_head", name, &[head, follows])?;
    }
    for (name, bytes, _) in corpus::RESPONSES {
        write("response_head", name, &[b"g", bytes])?;
    }
    for (name, method, head, follows) in corpus::GOOD_RESPONSES {
        let method: &[u8] = if *method == Method::Head { b"h" } else { b"g" };
        write("response_head", name, &[method, head, follows])?;
    }
    let cuts = &[2, 5, 9, 16];
    for (name, bytes, _) in corpus::CHUNKED {
        write("chunked", name, &[cuts, bytes])?;
    }
    for (name, bytes, _, _) in corpus::GOOD_CHUNKED {
        write("chunked", name, &[cuts, bytes])?;
    }
    untidy(cuts)
}

/// What is put right, and as much that is tidy or stays refused.
fn untidy(cuts: &[u8]) -> std::io::Result<()> {
    for (name, head, ..) in corpus::untidy::HEADS {
        write("tidied_head", name, &[b"g\x05", head.as_bytes(), b"5\r\n"])?;
    }
    for (at, (head, ..)) in corpus::untidy::REFUSED_HEADS.iter().enumerate() {
        let name = format!("refused {at}");
        write("tidied_head", &name, &[b"g\x05", head.as_bytes()])?;
    }
    for (name, _, head, follows) in corpus::GOOD_RESPONSES {
        write("tidied_head", name, &[b"h\x11", head, follows])?;
    }
    for (at, (body, _)) in corpus::untidy::BODIES.iter().enumerate() {
        write("tidied_body", &format!("{at}"), &[cuts, body.as_bytes()])?;
    }
    for (at, body) in corpus::untidy::REFUSED_BODIES.iter().enumerate() {
        let name = format!("refused {at}");
        write("tidied_body", &name, &[cuts, body.as_bytes()])?;
    }
    for (name, body, ..) in corpus::GOOD_CHUNKED {
        write("tidied_body", name, &[cuts, body])?;
    }
    Ok(())
}

fn write(target: &str, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
    let folder = Path::new("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    std::fs::write(folder.join(format!("seed-{name}")), parts.concat())
}
