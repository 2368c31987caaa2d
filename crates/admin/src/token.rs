//! The token file: created once, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A shorter token is rejected.
const SHORTEST: usize = 16;
/// A file longer than this holds something else.
const LONGEST: u64 = 4096;

/// The token in the file. If there is no file, it is made (mode 0600, and its folder) with a new token of 32 random
/// bytes.
///
/// # Errors
/// If it cannot be read or made, holds no token, or anybody may read it.
pub fn load_or_create_token(path: &Path) -> io::Result<String> {
    match load_token(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    let token = random()?;
    if write_missing_token(path, &token)? {
        Ok(token)
    } else {
        load_token(path)
    }
}

/// Writes `token` to its file (mode 0600, and its folder) if there is none; says whether there was none.
///
/// # Errors
/// If it cannot be written.
pub fn write_missing_token(path: &Path, token: &str) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    // Written under another name first, so that a concurrent reader sees a complete token or none.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = Path::new(&draft);
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    let linked = file
        .write_all(format!("{token}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(draft, path));
    fs::remove_file(draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The token in the file.
///
/// # Errors
/// If there is none or it cannot be read, if the file holds something else, or if anybody may read it.
pub fn load_token(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        let why = "every user of this machine can read or write the token: run chmod 600 on the file, or remove it to get a new one";
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "does not contain a token of at least 16 visible characters; remove the file to get a new one";
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(token.to_owned())
}

fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_for_its_owner_only() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("state/admin.token");
        let token = load_or_create_token(&path).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(load_or_create_token(&path).unwrap(), token);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no draft is left"
        );
        let other = load_or_create_token(&folder.path().join("other.token")).unwrap();
        assert_ne!(other, token);
    }

    #[test]
    fn a_token_that_is_missing_is_written_again_and_another_is_left() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("state/admin.token");
        let token = load_or_create_token(&path).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(write_missing_token(&path, &token).unwrap());
        assert_eq!(load_token(&path).unwrap(), token);
        assert!(!write_missing_token(&path, "another of 16 letters").unwrap());
        assert_eq!(load_token(&path).unwrap(), token);
    }

    #[test]
    fn a_file_that_all_may_read_or_that_holds_no_token_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("admin.token");
        for (content, mode, kind) in [
            ("0123456789abcdef\n", 0o644, ErrorKind::PermissionDenied),
            ("", 0o600, ErrorKind::InvalidData),
            ("short", 0o600, ErrorKind::InvalidData),
            (
                "two words of a token that is none",
                0o600,
                ErrorKind::InvalidData,
            ),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                load_or_create_token(&path).unwrap_err().kind(),
                kind,
                "{content}"
            );
        }
    }
}
