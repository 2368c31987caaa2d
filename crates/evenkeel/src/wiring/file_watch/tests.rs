//! Real files, changed as editors and deployments do. Nothing but the kernel tells of it, unless a test says otherwise.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const BY_INOTIFY: WatchMeans = WatchMeans {
    open: open_inotify,
    look_every: Duration::from_secs(3600),
};

/// What was read of a file.
#[derive(Debug, Clone)]
struct Reader(Arc<ReaderInner>);

#[derive(Debug)]
struct ReaderInner {
    file: PathBuf,
    clock: Clock,
    last: Mutex<Option<FileState>>,
    texts: Mutex<Vec<String>>,
    looks: AtomicUsize,
    by: Mutex<Option<WatchedBy>>,
}

impl WatchTarget for Reader {
    fn file(&self) -> Option<PathBuf> {
        Some(self.0.file.clone())
    }
    fn is_wanted(&self) -> bool {
        true
    }
    fn may_be_wanted(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
    fn last_read(&self) -> Option<FileState> {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        *self.0.last.lock().unwrap()
    }
    fn read(&self) {
        *self.0.last.lock().unwrap() = FileState::of(&self.0.file);
        let text = fs::read_to_string(&self.0.file).unwrap();
        self.0.texts.lock().unwrap().push(text);
    }
    fn is_watched_by(&self, by: Option<WatchedBy>) {
        *self.0.by.lock().unwrap() = by;
    }
}

impl Reader {
    /// Watches `file`, as it is now the one that was read last.
    async fn watch(file: &Path, means: WatchMeans) -> Self {
        let reader = Self(Arc::new(ReaderInner {
            file: file.to_owned(),
            clock: Clock::start(),
            last: Mutex::new(FileState::of(file)),
            texts: Mutex::default(),
            looks: AtomicUsize::new(0),
            by: Mutex::default(),
        }));
        let clock = reader.0.clock;
        tokio::task::spawn(watch_by(reader.clone(), clock, means));
        reader.until("it is watched", |it| it.by().is_some()).await;
        reader
    }

    fn by(&self) -> Option<WatchedBy> {
        *self.0.by.lock().unwrap()
    }

    fn texts(&self) -> Vec<String> {
        self.0.texts.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let end = self.0.clock.now() + LONG;
        while !enough(self) {
            assert!(self.0.clock.now() < end, "in vain for {what}: {self:?}");
            self.pause(5).await;
        }
    }

    async fn pause(&self, millis: u64) {
        let clock = self.0.clock;
        clock
            .sleep_until(clock.now() + Duration::from_millis(millis))
            .await;
    }

    /// Waits until this was read last.
    async fn reads(&self, text: &str) {
        let is_last = |it: &Self| it.texts().last().is_some_and(|last| last == text);
        self.until(text, is_last).await;
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    (folder, root)
}

/// Puts a link in the place of another one at once.
fn swap(target: &str, link: &Path) {
    let next = link.with_file_name("next");
    symlink(target, &next).unwrap();
    fs::rename(&next, link).unwrap();
}

#[tokio::test]
async fn written_in_place_renamed_over_and_put_back() {
    let (_folder, root) = folder();
    let (file, next) = (root.join("a.toml"), root.join("a.toml~"));
    fs::write(&file, "1").unwrap();
    let reader = Reader::watch(&file, BY_INOTIFY).await;
    assert_eq!(reader.by(), Some(WatchedBy::Inotify));
    fs::write(&file, "in place").unwrap();
    reader.reads("in place").await;
    fs::write(&next, "renamed").unwrap();
    fs::rename(&next, &file).unwrap();
    reader.reads("renamed").await;
    // An editor that keeps the old one.
    fs::rename(&file, &next).unwrap();
    fs::write(&file, "beside it").unwrap();
    reader.reads("beside it").await;
    fs::remove_file(&file).unwrap();
    reader.pause(700).await;
    fs::write(&file, "again").unwrap();
    reader.reads("again").await;
    assert_eq!(reader.texts().len(), 4);
}

#[tokio::test]
async fn links_that_are_swapped_also_two_levels_up() {
    let (_folder, root) = folder();
    for version in ["1", "2", "3"] {
        fs::create_dir_all(root.join(version).join("etc")).unwrap();
        fs::write(root.join(version).join("etc/a.toml"), version).unwrap();
    }
    fs::create_dir(root.join("mount")).unwrap();
    let (data, file) = (root.join("mount/..data"), root.join("mount/a.toml"));
    symlink("../1", &data).unwrap();
    symlink("..data/etc/a.toml", &file).unwrap();
    let reader = Reader::watch(&file, BY_INOTIFY).await;
    swap("../2", &data);
    reader.reads("2").await;
    swap("../3/etc/a.toml", &file);
    reader.reads("3").await;
    // What was on the way before is not any more.
    swap("../1", &data);
    swap("../1/etc/a.toml", &file);
    reader.reads("1").await;
    fs::write(root.join("1/etc/a.toml"), "written").unwrap();
    reader.reads("written").await;
}

#[tokio::test]
async fn a_folder_on_the_way_that_is_replaced_itself() {
    let (_folder, root) = folder();
    for version in ["now", "next"] {
        fs::create_dir_all(root.join(version).join("etc")).unwrap();
        fs::write(root.join(version).join("etc/a.toml"), version).unwrap();
    }
    let file = root.join("now/etc/a.toml");
    let reader = Reader::watch(&file, BY_INOTIFY).await;
    fs::rename(root.join("now"), root.join("before")).unwrap();
    reader.pause(200).await;
    fs::rename(root.join("next"), root.join("now")).unwrap();
    reader.reads("next").await;
}

/// No piece is taken for the whole, as long as they come fast enough.
#[tokio::test]
async fn a_file_that_is_written_in_pieces_is_read_when_it_is_whole() {
    let (_folder, root) = folder();
    let file = root.join("a.toml");
    fs::write(&file, "").unwrap();
    let reader = Reader::watch(&file, BY_INOTIFY).await;
    let clock = reader.0.clock;
    let (mut text, mut longest) = (String::new(), Duration::ZERO);
    let mut before = clock.now();
    for piece in 0..12 {
        text.push_str(&format!("{piece} "));
        fs::write(&file, &text).unwrap();
        longest = longest.max(clock.now() - before);
        before = clock.now();
        reader.pause(100).await;
    }
    reader.reads(&text).await;
    // A busy machine may have paused for longer.
    if longest < QUIET {
        assert_eq!(reader.texts(), [text]);
    }
}

#[tokio::test]
async fn without_inotify_it_is_looked_at() {
    let (_folder, root) = folder();
    let file = root.join("a.toml");
    fs::write(&file, "1").unwrap();
    let means = WatchMeans {
        open: || Err(io::Error::other("there are too many")),
        ..BY_INOTIFY
    };
    let reader = Reader::watch(&file, means).await;
    assert_eq!(reader.by(), Some(WatchedBy::Polling));
    fs::write(&file, "12").unwrap();
    reader.reads("12").await;
    fs::remove_file(&file).unwrap();
    fs::write(&file, "put back").unwrap();
    reader.reads("put back").await;
}

/// As on a network file system, which tells nothing of what other machines do.
#[tokio::test]
async fn what_the_kernel_does_not_tell_is_found_by_a_look_now_and_then() {
    let (_folder, root) = folder();
    let file = root.join("a.toml");
    fs::write(&file, "1").unwrap();
    let means = WatchMeans {
        look_every: Duration::from_millis(100),
        ..BY_INOTIFY
    };
    let reader = Reader::watch(&file, means).await;
    assert_eq!(reader.by(), Some(WatchedBy::Inotify));
    // Nothing happens to the file, and it is not the one that was read.
    *reader.0.last.lock().unwrap() = None;
    reader.reads("1").await;
}

/// Other files in the same folder are none of its business.
#[tokio::test]
async fn what_else_happens_in_the_folder_wakes_nobody() {
    let (_folder, root) = folder();
    let file = root.join("a.toml");
    fs::write(&file, "1").unwrap();
    let reader = Reader::watch(&file, BY_INOTIFY).await;
    let looks = || reader.0.looks.load(Ordering::Relaxed);
    reader.pause(200).await;
    let before = looks();
    for n in 0..2_000 {
        fs::write(root.join(format!("{n}.log")), "line").unwrap();
        fs::read(&file).unwrap();
    }
    reader.pause(200).await;
    assert_eq!(looks(), before);
    fs::write(&file, "12").unwrap();
    reader.reads("12").await;
}
