//! The file's top level, and what concerns the program as a whole.

use super::address::ListenAddress;
use super::choice::{LogFormatWord, LogLevelWord};
use super::listen::Listen;
use super::service::Service;
use super::table;
use super::value::{Flag, Named, Text, Whole};
use crate::defaults;

table! {
    /// The configuration file of evenkeel. It needs one listener and one service; everything else has a default.
    pub struct File {
        /// Worker threads that carry traffic. Default: one for each processor core.
        workers: Whole<1, 1024>;
        /// The zone in which this evenkeel runs: servers with the same `zone` are used before others of their tier.
        zone: Text;
        /// Where status, API and metrics are served.
        admin: Admin;
        /// Where incidents are kept.
        store: Store;
        /// What is logged, and how.
        log: Log;
        /// The listeners, by name: where traffic is accepted.
        listen: Named<Listen>;
        /// The services, by name: servers that can answer the same requests, and how they are looked after.
        service: Named<Service>;
    }
    later {}
}

table! {
    /// Where status, API and metrics are served.
    pub struct Admin {
        /// The address. Port 0 takes a free one.
        address: ListenAddress = defaults::ADMIN_ADDRESS;
        /// The token that every call which changes something needs.
        token: Token;
    }
    later {}
}

table! {
    /// Where the admin token is kept.
    pub struct Token {
        /// The file, relative to the state directory; made with mode 0600 if it is not there.
        file: Text = defaults::ADMIN_TOKEN_FILE;
    }
    later {}
}

table! {
    /// Where incidents are kept.
    pub struct Store {
        /// `sqlite:FILE`, relative to the state directory (`$STATE_DIRECTORY`, else the XDG state directory), or
        /// `memory:` to keep nothing.
        url: Text = defaults::STORE_URL;
    }
    later {}
}

table! {
    /// What is logged, and how. Logs go to standard error.
    pub struct Log {
        /// The form of a line.
        format: LogFormatWord = defaults::LOG_FORMAT;
        /// The least important level that is logged.
        level: LogLevelWord = defaults::LOG_LEVEL;
        /// Whether each request is logged.
        access: Flag = defaults::LOG_ACCESS;
    }
    later {}
}
