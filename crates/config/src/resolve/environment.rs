//! What the meaning of a file depends on besides its text, passed in so that parsing performs no I/O.

use std::net::SocketAddr;
use std::path::Path;

/// Looks at the path of a socket and the name of its group.
pub type SocketCheck = dyn Fn(&Path, Option<&str>) -> Result<(), String>;

/// Inputs of a file's meaning that are not in the file.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The folder of the file; relative working directories begin there.
    pub base_dir: &'a Path,
    /// The directory of the store and the admin token.
    pub state_dir: &'a Path,
    /// Processor cores: the default number of workers.
    pub cores: usize,
    /// The most descriptors that evenkeel may have open when it serves: they bound how many clients can be connected.
    pub descriptors: u64,
    /// Turns `host:port` into addresses, or says why not.
    pub resolver: &'a dyn Fn(&str) -> Result<Vec<SocketAddr>, String>,
    /// Whether a Unix domain socket of this group could be listened on now, or why not. One that is in use is no reason: that may be
    /// evenkeel itself.
    pub socket: &'a SocketCheck,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            base_dir,
            state_dir,
            cores,
            ..
        } = self;
        write!(
            f,
            "Surroundings {{ base_dir: {base_dir:?}, state_dir: {state_dir:?}, cores: {cores} }}"
        )
    }
}
