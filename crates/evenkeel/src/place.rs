//! The directory for evenkeel's files when the configuration gives a relative path.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The state directory: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/evenkeel`, else `~/.local/state/evenkeel`, else here.
pub(crate) fn state_directory() -> PathBuf {
    choose(|name| std::env::var_os(name))
}

fn choose(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(given) = set("STATE_DIRECTORY") {
        // systemd gives a list if a unit asks for several; the first is ours.
        let text = given.to_string_lossy();
        return PathBuf::from(text.split(':').next().unwrap_or_default());
    }
    if let Some(state) = set("XDG_STATE_HOME").filter(|state| Path::new(state).is_absolute()) {
        return Path::new(&state).join("evenkeel");
    }
    set("HOME").map_or_else(
        || PathBuf::from("."),
        |home| Path::new(&home).join(".local/state/evenkeel"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> PathBuf {
        choose(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_first_that_is_set_wins() {
        let all = [
            ("STATE_DIRECTORY", "/s:/t"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(with(&all), Path::new("/s"));
        assert_eq!(with(&all[1..]), Path::new("/x/evenkeel"));
        assert_eq!(with(&all[2..]), Path::new("/h/.local/state/evenkeel"));
        assert_eq!(
            with(&[("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "relative")]),
            Path::new(".")
        );
    }
}
