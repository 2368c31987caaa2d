//! The file's top level, and settings of the program as a whole.

use super::address::ListenAddress;
use super::choice::{LogFormatWord, LogLevelWord, ReloadWord};
use super::listen::{ListenConfig, SocketConfig};
use super::service::ServiceConfig;
use super::table;
use super::value::{Boolean, Integer, NameMap, NonEmptyText};
use crate::defaults;

table! {
    /// The configuration file of evenkeel. It needs at least one listener and one service; everything else has a
    /// default.
    pub struct ConfigFile {
        /// When this file is read again while evenkeel runs: `manual`, when you ask for it, or `watch`, also when the file
        /// changes.
        reload: ReloadWord = defaults::RELOAD;
        /// The number of worker threads for traffic. Default: one per processor core.
        workers: Integer<1, 1024>;
        /// The zone in which this evenkeel runs: servers with the same `zone` are preferred within their tier.
        zone: NonEmptyText;
        /// The admin API: status and metrics.
        admin: AdminConfig;
        /// The incident store.
        store: StoreConfig;
        /// Logging.
        log: LogConfig;
        /// The listeners, by name.
        listen: NameMap<ListenConfig>;
        /// The services, by name: groups of equivalent servers, and how they are balanced, monitored and repaired.
        service: NameMap<ServiceConfig>;
    }
    later {}
}

table! {
    /// The admin API: status and metrics.
    pub struct AdminConfig {
        /// The address, or a Unix domain socket as `unix:/PATH`. Port 0 selects a free port.
        address: ListenAddress = defaults::ADMIN_ADDRESS;
        /// For a Unix domain socket: who may connect to it.
        socket: SocketConfig [off];
        /// The token that every change requires.
        token: TokenConfig;
    }
    later {}
}

table! {
    /// The file with the admin token.
    pub struct TokenConfig {
        /// The file, relative to the state directory; created with mode 0600 if it does not exist.
        file: NonEmptyText = defaults::ADMIN_TOKEN_FILE;
    }
    later {}
}

table! {
    /// The incident store.
    pub struct StoreConfig {
        /// `sqlite:FILE`, relative to the state directory (`$STATE_DIRECTORY`, else the XDG state directory), or
        /// `memory:` to store nothing.
        url: NonEmptyText = defaults::STORE_URL;
    }
    later {}
}

table! {
    /// Logging, to standard error.
    pub struct LogConfig {
        /// The format of a line.
        format: LogFormatWord = defaults::LOG_FORMAT;
        /// The lowest level that is logged.
        level: LogLevelWord = defaults::LOG_LEVEL;
        /// Whether each request is logged.
        access: Boolean = defaults::LOG_ACCESS;
    }
    later {}
}
