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
