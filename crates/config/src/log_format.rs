//! The log format that an invalid file asks for: its diagnostics are printed in that format.

use crate::plan::LogFormat;

/// `log.format` of the file with this text, whatever else is wrong with it; `None` if it is absent or cannot be read.
#[must_use]
pub fn log_format(text: &str) -> Option<LogFormat> {
    let table: toml::Table = text.parse().ok()?;
    match table.get("log")?.get("format")?.as_str()? {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_although_other_keys_are_wrong() {
        let text = "[log]\nformat = \"json\"\n[listen.web]\nadress = 7\n";
        assert_eq!(log_format(text), Some(LogFormat::Json));
        for text in [
            "",
            "[log]\nformat = \"xml\"",
            "[log]\nformat = \"json\"\n= 1",
        ] {
            assert_eq!(log_format(text), None, "{text}");
        }
    }
}
