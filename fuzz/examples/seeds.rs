//! Writes first inputs of the targets, most of them from the corpus of the codec's tests: `cargo run --example seeds`, in the folder `fuzz`.

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
    exchanges()?;
    untidy(cuts)
}

/// Requests that take each way through an exchange once: the service, then what happens and a detail of it.
fn exchanges() -> std::io::Result<()> {
    const STORIES: [(&str, &[u8]); 8] = [
        ("answered", b"\x00\x04\x00\x07\x00\x0f\x00"),
        (
            "retried",
            b"\x00\x04\x00\x07\x20\x03\x07\x07\x28\x07\x00\x0f\x00",
        ),
        (
            "hedged",
            b"\x05\x04\x00\x0a\x00\x03\x03\x0b\x00\x0c\x00\x0f\x00",
        ),
        (
            "hedge fails",
            b"\x05\x04\x00\x0a\x00\x03\x03\x0b\x00\x0c\x20\x07\x00\x0f\x00",
        ),
        (
            "queued",
            b"\x01\x04\x00\x04\x01\x04\x02\x04\x03\x04\x04\x04\x05\x04\x06\x04\x07\x0e\x06\x11\x00\x03\x03\x07\x01",
        ),
        (
            "held",
            b"\x04\x12\x40\x12\x41\x12\x42\x12\x10\x04\x00\x12\x1c\x07\x00\x0f\x00",
        ),
        ("falls back", b"\x07\x04\x00\x07\x18\x07\x00\x0f\x00"),
        (
            "in quarantine",
            b"\x06\x04\x00\x13\x01\x07\x28\x04\x01\x0d\x00\x10\x00",
        ),
    ];
    for (name, story) in STORIES {
        write("exchange", name, &[story])?;
    }
    Ok(())
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
