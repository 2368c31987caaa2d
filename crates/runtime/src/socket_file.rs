//! Unix domain sockets to listen on: their files are made with the permissions that are asked for, those that are left over are
//! replaced, and they are removed at the end.
//!
//! The kernel keeps a socket's file when its program ends, and refuses to bind to a file that is there. Whether a program still
//! listens is known only by connecting. What is not a socket, or cannot be looked at, is never removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

/// Where the names of groups are looked up.
const GROUPS: &str = "/etc/group";

/// Who may connect to a Unix domain socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAccess<'a> {
    /// The permissions of its file; connecting requires permission to write.
    pub mode: u32,
    /// The group of its file, by its name in `/etc/group` or its number; that of the process if absent.
    pub group: Option<&'a str>,
}

/// The file of a socket that this program listens on. It is removed when this is dropped, unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
    is_removed: AtomicBool,
}

/// Device and inode.
type FileIdentity = (u64, u64);

/// What is at the path of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketPathState {
    /// Nothing.
    Vacant,
    /// The file of a socket on which nothing listens.
    Stale(FileIdentity),
    /// A socket on which a program listens.
    InUse,
}

/// A non-blocking listening socket at `path`. A file on which nothing listens any more is replaced. Nobody can connect before the
/// permissions are set.
///
/// # Errors
/// In words: [`ErrorKind::AddrInUse`] if a program listens there; else if the file is not a socket, its folder is missing or may not
/// be written to, or its group is unknown or may not be set.
pub fn listen_unix(
    path: &Path,
    access: SocketAccess<'_>,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    let group = access.group.map(group_id).transpose()?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&SockAddr::unix(path)?)
        .map_err(|error| unbound(path, error))?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
        is_removed: AtomicBool::new(false),
    };
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(|error| {
            let name = access.group.unwrap_or_default();
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "; evenkeel's user must be one of its members",
                _ => "",
            };
            in_words(
                &error,
                format!("its group cannot be `{name}`: {error}{hint}"),
            )
        })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Whether a socket of this group could be listened on now. One that is in use is no reason against it.
///
/// # Errors
/// Why not, in words.
pub fn check_socket(path: &Path, group: Option<&str>) -> Result<(), String> {
    let group = group.map(group_id).transpose();
    group
        .and_then(|_| look(path))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Whether a program listens on the socket at `path`; `None` if that cannot be found out.
#[must_use]
pub fn is_listened_on(path: &Path) -> Option<bool> {
    match look(path) {
        Ok(state) => Some(state == SocketPathState::InUse),
        // There is no folder for it, or another kind of file.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
            Some(false)
        }
        Err(_) => None,
    }
}

/// Removes the file of a socket on which nothing listens; says whether there was one.
///
/// # Errors
/// As [`listen_unix`], of what is at the path.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    match look(path)? {
        SocketPathState::Vacant => Ok(false),
        SocketPathState::Stale(known) => {
            // Another program may have taken the place in the meantime.
            if identity(path).is_ok_and(|now| now == known) {
                fs::remove_file(path).map_err(|error| {
                    let text = format!("the file of an earlier socket cannot be removed: {error}");
                    in_words(&error, text)
                })?;
            }
            Ok(true)
        }
        SocketPathState::InUse => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "the address is in use",
        )),
    }
}

fn look(path: &Path) -> io::Result<SocketPathState> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            return if folder.is_dir() {
                Ok(SocketPathState::Vacant)
            } else {
                let text = format!("there is no folder {}", folder.display());
                Err(io::Error::new(ErrorKind::NotFound, text))
            };
        }
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        let text = "a file is there that is not a socket; it is left as it is";
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    let known = (file.dev(), file.ino());
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        // Its accept queue may be full.
        Ok(()) => Ok(SocketPathState::InUse),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(SocketPathState::InUse),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Ok(SocketPathState::Stale(known))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(SocketPathState::Vacant),
        Err(error) => {
            let text = format!("a socket is there, and whether it is in use is unknown: {error}");
            Err(in_words(&error, text))
        }
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn unbound(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    let folder = path.parent().unwrap_or(path).display();
    let user = rustix::process::geteuid().as_raw();
    let text = format!("the user {user} may not make files in {folder}");
    in_words(&error, text)
}

fn in_words(error: &io::Error, text: String) -> io::Error {
    io::Error::new(error.kind(), text)
}

fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string(GROUPS)?;
    find_group(&groups, group).ok_or_else(|| {
        let text = format!("there is no group `{group}` in {GROUPS}");
        io::Error::new(ErrorKind::InvalidInput, text)
    })
}

/// The number of a group in the lines `name:password:number:members` of group(5).
fn find_group(groups: &str, group: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let is_it = fields.next() == Some(group);
        fields.nth(1)?.parse().ok().filter(|_| is_it)
    })
}

impl SocketFile {
    /// Removes the file, once, unless another one has taken its place. Best done while the socket is still open: nobody else can have
    /// a file with its inode then.
    pub fn remove(&self) {
        if self.is_removed.swap(true, Ordering::Relaxed) {
            return;
        }
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // At worst it is left over, and replaced at the next start.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    const ALL: SocketAccess<'_> = SocketAccess {
        mode: 0o660,
        group: None,
    };

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn it_has_its_mode_and_group_and_is_gone_at_the_end() {
        let folder = folder();
        let path = folder.path().join("shop.sock");
        let group = rustix::process::getegid().as_raw().to_string();
        let access = SocketAccess {
            mode: 0o600,
            group: Some(&group),
        };
        let (listener, file) = listen_unix(&path, access, 16).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        assert_eq!(found.gid().to_string(), group);
        assert!(UnixStream::connect(&path).is_ok());
        file.remove();
        assert!(!path.exists());
        drop(listener);
        // It may have the same inode.
        let (_listener, _file) = listen_unix(&path, access, 16).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_one_in_use_is_not() {
        let folder = folder();
        let path = folder.path().join("shop.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, file) = listen_unix(&path, ALL, 16).unwrap();
        let error = listen_unix(&path, ALL, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(
            check_socket(&path, None),
            Ok(()),
            "that may be evenkeel itself"
        );
        // Another program has taken the place.
        fs::rename(&path, folder.path().join("old.sock")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_full_accept_queue_is_in_use() {
        let folder = folder();
        let path = folder.path().join("shop.sock");
        let (_listener, _file) = listen_unix(&path, ALL, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(
            remove_stale(&path).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
    }

    #[test]
    fn what_is_no_socket_is_left_as_it_is() {
        let folder = folder();
        let path = folder.path().join("data");
        fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link, &folder.path().to_owned()] {
            let error = listen_unix(path, ALL, 16).unwrap_err().to_string();
            assert!(error.contains("not a socket"), "{error}");
            assert!(check_socket(path, None).is_err());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn it_is_said_what_is_missing() {
        let folder = folder();
        let path = folder.path().join("no/shop.sock");
        let error = listen_unix(&path, ALL, 16).unwrap_err().to_string();
        assert!(error.starts_with("there is no folder "), "{error}");
        let path = folder.path().join("shop.sock");
        let error = check_socket(&path, Some("nobody-s group")).unwrap_err();
        assert!(error.starts_with("there is no group `nobody-s group`"));
        assert!(!path.exists());
        let groups = "root:x:0:\n\nwww-data:x:33:a,b\n";
        assert_eq!(find_group(groups, "www-data"), Some(33));
        assert_eq!(find_group(groups, "a"), None);
    }
}
