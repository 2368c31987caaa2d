//! Finds the evenkeel that runs: `--admin URL`, else `[admin].address` of the configuration, else the default address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::output::{Failure, Result};

/// The file that is read when none is named.
pub(super) const DEFAULT_FILE: &str = "evenkeel.toml";
/// Where the admin API is when no configuration says otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:7070";

/// Which evenkeel is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct Find {
    /// The configuration of the evenkeel that is meant [default: evenkeel.toml, if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The address of its admin API, as `run`, `proxy` and `demo` print it.
    #[arg(long, value_name = "URL", conflicts_with = "config", global = true)]
    admin: Option<String>,
}

impl Find {
    /// The configuration file that is meant, if there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        if self.admin.is_some() {
            return None;
        }
        self.config
            .clone()
            .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()))
    }

    /// The admin address.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        if let Some(url) = &self.admin {
            return parse(url).ok_or_else(|| {
                Failure::Call(format!(
                    "--admin {url}: expected an address like http://127.0.0.1:7070"
                ))
            });
        }
        match self.file() {
            Some(file) => Ok(crate::configuration::read(&file)?.plan.admin.address),
            None => Ok(DEFAULT_ADMIN.parse().expect("the default address is one")),
        }
    }

    /// Whose address it is, for messages.
    pub(super) fn origin(&self) -> String {
        match (&self.admin, self.file()) {
            (Some(_), _) => "--admin".to_owned(),
            (None, Some(file)) => format!("[admin].address of {}", shown(&file)),
            (None, None) => {
                "the default address; name the file with --config or the address with --admin"
                    .to_owned()
            }
        }
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

fn parse(url: &str) -> Option<SocketAddr> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let host = rest.split('/').next()?;
    host.replace("localhost", "127.0.0.1").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_or_an_address() {
        for text in [
            "http://127.0.0.1:7070",
            "127.0.0.1:7070",
            "http://localhost:7070/",
            "http://127.0.0.1:7070/api",
        ] {
            assert_eq!(
                parse(text),
                Some("127.0.0.1:7070".parse().unwrap()),
                "{text}"
            );
        }
        assert_eq!(parse("https://127.0.0.1:7070"), None);
        assert_eq!(parse("here"), None);
    }
}
