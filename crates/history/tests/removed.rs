//! A store whose file is removed or replaced while in use: it is recreated, and nothing that it held is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_history::{IncidentFilter, Store, Writer, WriterHandle};
use tempfile::TempDir;

/// A guard against hanging only.
const SOON: Duration = Duration::from_secs(60);
/// A minute that is not too old to be kept, whenever the test runs.
const IN_2100: i64 = 68_374_080;

fn incident(number: u32) -> evenkeel_fault::Incident {
    // Not over, so that it is never too old to be kept.
    common::open(number, number)
}

fn start() -> (TempDir, PathBuf, WriterHandle) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state/evenkeel.db");
    let handle = Writer::start(Store::open(Some(&path)).unwrap().store).unwrap();
    (folder, path, handle)
}

fn save(handle: &WriterHandle, number: u32) {
    handle.save(incident(number));
    assert!(handle.flush(SOON), "{:?}", handle.health());
}

/// The numbers of the incidents in the file.
fn in_file(path: &Path) -> Vec<String> {
    let store = Store::open_read_only(path).unwrap();
    numbers(store.list(&IncidentFilter::default()).unwrap())
}

fn numbers(incidents: Vec<evenkeel_fault::Incident>) -> Vec<String> {
    let mut ids: Vec<String> = incidents.into_iter().map(|one| one.id).collect();
    ids.sort();
    ids
}

fn id(number: u32) -> String {
    incident(number).id
}

#[test]
fn a_folder_that_is_removed_is_made_again_with_all_that_was_kept() {
    let (_folder, path, handle) = start();
    handle.add_traffic("shop", IN_2100, 3, 1);
    save(&handle, 1);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    save(&handle, 2);
    assert_eq!(in_file(&path), [id(1), id(2)]);
    let health = handle.health();
    assert!(health.ok && health.recreated == 1, "{health:?}");
    save(&handle, 3);
    assert!(handle.stop(SOON));
    assert_eq!(in_file(&path), [id(1), id(2), id(3)]);
    let report = Store::open_read_only(&path).unwrap();
    let report = report.report("1970-01-01T00:00:00Z");
    assert_eq!(report.unwrap()[0].requests, 3);
}

#[test]
fn a_file_that_is_removed_is_made_again_under_the_same_lock() {
    let (_folder, path, handle) = start();
    save(&handle, 1);
    fs::remove_file(&path).unwrap();
    save(&handle, 2);
    assert_eq!(in_file(&path), [id(1), id(2)]);
    assert!(Store::open(Some(&path)).is_err(), "it is still locked");
}

#[test]
fn while_it_cannot_be_made_again_all_is_known_and_the_health_says_so() {
    let (_folder, path, handle) = start();
    save(&handle, 1);
    let state = path.parent().unwrap();
    fs::remove_dir_all(state).unwrap();
    fs::write(state, "no folder").unwrap();
    save(&handle, 2);
    let health = handle.health();
    let why = health.last_error.unwrap();
    assert!(!health.ok && why.contains("removed or replaced"), "{why}");
    let known = handle
        .list(&IncidentFilter::default(), SOON)
        .unwrap()
        .unwrap();
    assert_eq!(numbers(known), [id(1), id(2)]);
    fs::remove_file(state).unwrap();
    save(&handle, 3);
    assert_eq!(in_file(&path), [id(1), id(2), id(3)]);
    assert!(handle.health().ok);
}

#[test]
fn a_file_that_is_replaced_keeps_what_it_holds_and_gets_what_was_known() {
    let (folder, path, handle) = start();
    save(&handle, 1);
    let other = folder.path().join("other.db");
    Store::open(Some(&other))
        .unwrap()
        .store
        .save(&incident(9))
        .unwrap();
    fs::rename(&other, &path).unwrap();
    save(&handle, 2);
    assert_eq!(in_file(&path), [id(1), id(2), id(9)]);
}
