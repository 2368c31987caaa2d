//! Finds the evenkeel that runs: `--admin URL`, else `[admin].address` of the configuration, else the default address.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use super::client;
use crate::output::{Failure, Result};
use crate::place::state_directory;

/// The file that is read when none is named.
pub(super) const DEFAULT_FILE: &str = "evenkeel.toml";
/// Where the admin API is when no configuration says otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:7070";
/// The token's file in the state directory when no configuration says otherwise.
const DEFAULT_TOKEN: &str = "admin.token";

/// Which evenkeel is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct Find {
    /// The configuration of the evenkeel that is meant [default: evenkeel.toml, if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The address of its admin API, as `run`, `proxy` and `demo` print it.
    #[arg(long, value_name = "URL", conflicts_with = "config", global = true)]
    admin: Option<String>,
    /// The file with the admin token, which orders need, and reading too where the admin address is not loopback
    /// [default: as configured].
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// An evenkeel that may run, as its admin API is reached.
#[derive(Debug)]
pub(super) struct Admin {
    address: SocketAddr,
    token: Option<String>,
    /// Whose address it is, for messages.
    origin: String,
}

impl Admin {
    /// Status and body of `path`; an error if nothing answers.
    pub(super) fn ask(&self, path: &str) -> Result<(u16, String)> {
        client::get(self.address, path, self.token.as_deref())
            .map_err(|why| Failure::World(format!("no evenkeel answers: {why} ({})", self.origin)))
    }

    /// What `path` holds, as JSON text.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        let (status, body) = self.ask(path)?;
        self.success(status, body)
    }

    /// What `path` holds.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.understand(&self.text(path)?)
    }

    /// What `path` holds, if there is such a thing.
    pub(super) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.ask(path)? {
            (404, _) => Ok(None),
            (status, body) => self.understand(&self.success(status, body)?).map(Some),
        }
    }

    /// Gives an order; what came of it. With `wait` the answer comes when it is carried out.
    pub(super) fn order(&self, path: &str, wait: Duration) -> Result<String> {
        let answer = client::post(self.address, path, self.token.as_deref(), wait);
        let (status, body) = answer.map_err(|why| {
            Failure::World(format!("no evenkeel answers: {why} ({})", self.origin))
        })?;
        let body = self.success(status, body)?;
        let value: serde_json::Value = self.understand(&body)?;
        let message = value.get("message").and_then(serde_json::Value::as_str);
        Ok(message.unwrap_or("ordered").to_owned())
    }

    fn success(&self, status: u16, body: String) -> Result<String> {
        if matches!(status, 200 | 202) {
            return Ok(body);
        }
        Err(Failure::world(
            self.address,
            evenkeel_admin::text::error_of(status, &body),
        ))
    }

    /// `body` as what it should be.
    pub(super) fn understand<T: DeserializeOwned>(&self, body: &str) -> Result<T> {
        serde_json::from_str(body).map_err(|error| {
            let address = self.address;
            Failure::world(
                format_args!("{address} is no evenkeel of this version"),
                error,
            )
        })
    }
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

    /// The evenkeel that is meant, to be asked.
    pub(super) fn admin(&self) -> Result<Admin> {
        self.reach(false)
    }

    /// The evenkeel that is meant, to be given an order, for which the token is always needed.
    pub(super) fn commander(&self) -> Result<Admin> {
        self.reach(true)
    }

    fn reach(&self, to_command: bool) -> Result<Admin> {
        let (address, token_file, origin) = if let Some(url) = &self.admin {
            let address = parse(url).ok_or_else(|| {
                Failure::Call(format!(
                    "--admin {url}: expected an address like http://127.0.0.1:7070"
                ))
            })?;
            (address, default_token(), "--admin".to_owned())
        } else if let Some(file) = self.file() {
            let admin = crate::configuration::read(&file)?.plan.admin;
            let origin = format!("[admin].address of {}", file.display());
            (admin.address, admin.token_file, origin)
        } else {
            let address = DEFAULT_ADMIN.parse().expect("the default address is one");
            let origin = "the default address; name the file with --config, or with --admin the \
                          address that `run`, `proxy` or `demo` has printed";
            (address, default_token(), origin.to_owned())
        };
        Ok(Admin {
            address,
            token: self.token(address, &token_file, to_command)?,
            origin,
        })
    }

    /// The token, where it may be asked for. It is sent nowhere else.
    fn token(
        &self,
        address: SocketAddr,
        configured: &Path,
        to_command: bool,
    ) -> Result<Option<String>> {
        if self.token_file.is_none() && address.ip().is_loopback() && !to_command {
            return Ok(None);
        }
        let file = self.token_file.as_deref().unwrap_or(configured);
        match evenkeel_admin::load_token(file) {
            Ok(token) => Ok(Some(token)),
            // Then the answer says that it is needed.
            Err(error) if self.token_file.is_none() && error.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(Failure::world(
                format_args!("the admin token {}", file.display()),
                error,
            )),
        }
    }
}

fn default_token() -> PathBuf {
    state_directory().join(DEFAULT_TOKEN)
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
