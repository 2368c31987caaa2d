//! Finds the running evenkeel: `--admin URL`, else `[admin].address` of the configuration, else the default address.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use evenkeel_core::Endpoint;
use serde::de::DeserializeOwned;

use super::client;
use crate::output::{CommandFailure, Result};
use crate::place::state_directory;

/// The default configuration file.
pub(super) const DEFAULT_FILE: &str = "evenkeel.toml";
/// The default address of the admin API.
const DEFAULT_ADMIN: &str = "127.0.0.1:7070";
/// The default name of the token file in the state directory.
const DEFAULT_TOKEN: &str = "admin.token";

/// The options that select an evenkeel.
#[derive(Debug, Clone, Args)]
pub(super) struct AdminAddress {
    /// The configuration of the evenkeel to talk to [default: evenkeel.toml, if it exists].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The address of its admin API, as printed by `run`, `proxy` and `demo`: http://IP:PORT or unix:/PATH.
    #[arg(long, value_name = "URL", conflicts_with = "config", global = true)]
    admin: Option<String>,
    /// The file with the admin token, required for orders, and for reading too if the admin address is not loopback
    /// [default: as configured].
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// A client of the admin API of an evenkeel that may be running.
#[derive(Debug)]
pub(super) struct AdminClient {
    address: Endpoint,
    token: Option<String>,
    /// Where the address comes from, for messages.
    origin: String,
}

impl AdminClient {
    /// Status and body of `path`; an error if there is no response.
    pub(super) fn ask(&self, path: &str) -> Result<(u16, String)> {
        client::get(&self.address, path, self.token.as_deref()).map_err(|why| {
            CommandFailure::World(format!("no evenkeel responds: {why} ({})", self.origin))
        })
    }

    /// The content of `path` as JSON text.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        let (status, body) = self.ask(path)?;
        self.success(status, body)
    }

    /// The content of `path`.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.understand(&self.text(path)?)
    }

    /// The content of `path`, if it exists.
    pub(super) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.ask(path)? {
            (404, _) => Ok(None),
            (status, body) => self.understand(&self.success(status, body)?).map(Some),
        }
    }

    /// Gives an order, and returns its outcome. With `wait` the response comes once the order has been executed.
    pub(super) fn order(&self, path: &str, wait: Duration) -> Result<String> {
        self.change("POST", path, "", wait)
    }

    /// Sends a change with this method and body, and returns its outcome. The response may take `wait` longer than others.
    pub(super) fn change(
        &self,
        method: &'static str,
        path: &str,
        body: &str,
        wait: Duration,
    ) -> Result<String> {
        let request = (method, path, body);
        let answer = client::send(&self.address, request, self.token.as_deref(), wait);
        let (status, body) = answer.map_err(|why| {
            CommandFailure::World(format!("no evenkeel responds: {why} ({})", self.origin))
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
        Err(CommandFailure::world(
            &self.address,
            evenkeel_admin::text::error_of(status, &body),
        ))
    }

    /// Deserialises `body`.
    pub(super) fn understand<T: DeserializeOwned>(&self, body: &str) -> Result<T> {
        serde_json::from_str(body).map_err(|error| {
            let address = &self.address;
            CommandFailure::world(
                format_args!("{address} is not an evenkeel of this version"),
                error,
            )
        })
    }
}

impl AdminAddress {
    /// The evenkeel that has this configuration file, unless another one is named.
    pub(super) fn or_of(&self, file: &Path) -> Self {
        let mut found = self.clone();
        if found.config.is_none() && found.admin.is_none() {
            found.config = Some(file.to_owned());
        }
        found
    }

    /// The configuration file to use, if there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        if self.admin.is_some() {
            return None;
        }
        self.config
            .clone()
            .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()))
    }

    /// The client for queries.
    pub(super) fn admin(&self) -> Result<AdminClient> {
        self.reach(false)
    }

    /// The client for orders, which always need the token.
    pub(super) fn commander(&self) -> Result<AdminClient> {
        self.reach(true)
    }

    fn reach(&self, to_command: bool) -> Result<AdminClient> {
        let (address, token_file, origin) = if let Some(url) = &self.admin {
            let address = parse(url).ok_or_else(|| {
                CommandFailure::Call(format!(
                    "--admin {url}: expected an address such as http://127.0.0.1:7070 or unix:/run/evenkeel.sock"
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
        Ok(AdminClient {
            token: self.token(&address, &token_file, to_command)?,
            address,
            origin,
        })
    }

    /// The token, if the address may require it. It is never sent elsewhere.
    fn token(
        &self,
        address: &Endpoint,
        configured: &Path,
        to_command: bool,
    ) -> Result<Option<String>> {
        if self.token_file.is_none() && address.is_local() && !to_command {
            return Ok(None);
        }
        let file = self.token_file.as_deref().unwrap_or(configured);
        match evenkeel_admin::load_token(file) {
            Ok(token) => Ok(Some(token)),
            // Then the answer says that it is needed.
            Err(error) if self.token_file.is_none() && error.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(CommandFailure::world(
                format_args!("the admin token {}", file.display()),
                error,
            )),
        }
    }
}

fn default_token() -> PathBuf {
    state_directory().join(DEFAULT_TOKEN)
}

fn parse(url: &str) -> Option<Endpoint> {
    if let Some(socket) = Endpoint::parse_socket(url) {
        return socket.ok();
    }
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
        let socket = parse("unix:/run/evenkeel.sock").unwrap();
        assert_eq!(socket.to_string(), "unix:/run/evenkeel.sock");
        assert_eq!(parse("unix:evenkeel.sock"), None);
        assert_eq!(parse("https://127.0.0.1:7070"), None);
        assert_eq!(parse("here"), None);
    }
}
