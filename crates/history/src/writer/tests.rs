//! Pending data is written eventually, whatever the disk does.

use evenkeel_fault::Incident;

use super::*;
use crate::filter::IncidentFilter;
use crate::pending::MOST_INCIDENTS;

const SOON: Duration = Duration::from_secs(20);

fn incident(number: u32, text: &str) -> Incident {
    let json = format!(
        r#"{{"id":"2026-01-02-{number:04}","drill":false,"status":"open","service":"shop","servers":[],
        "onset":"2026-01-02T03:04:05.000Z","durations_ms":{{}},"detected_by":"{text}","diagnosis":[],"actions":[],
        "impact":{{"requests":0,"failed":0,"saved_by_retry":0,"budget_spent":0.0}},"timeline":[]}}"#
    );
    serde_json::from_str(&json).unwrap()
}

fn in_file() -> (tempfile::TempDir, Store) {
    let folder = tempfile::TempDir::new().unwrap();
    let store = Store::open(Some(&folder.path().join("evenkeel.db")))
        .unwrap()
        .store;
    (folder, store)
}

fn kept(handle: &WriterHandle) -> Vec<Incident> {
    handle
        .ask(SOON, |store| {
            store.list(&IncidentFilter::default()).unwrap()
        })
        .unwrap()
}

#[test]
fn what_is_flushed_is_there_and_the_newest_state_wins() {
    let (_folder, store) = in_file();
    let handle = Writer::start(store).unwrap();
    for text in ["first", "second", "third"] {
        handle.save(incident(1, text));
    }
    handle.add_traffic("shop", 7, 3, 1);
    assert!(handle.flush(SOON));
    assert_eq!(kept(&handle), [incident(1, "third")]);
    assert_eq!(
        handle.health(),
        StoreHealth {
            ok: true,
            last_error: None,
            dropped: 0,
            failures: 0,
            recreated: 0,
            lost: false,
        }
    );
    assert!(handle.stop(SOON));
    assert_eq!(handle.ask(SOON, |_| ()), None);
}

#[test]
fn a_lost_writer_thread_is_reported_and_blocks_no_caller() {
    let (_folder, store) = in_file();
    let handle = Writer::start(store).unwrap();
    handle.0.0.lock().fault = true;
    // It is written before the thread comes to where it panics, or it is not.
    handle.save(incident(1, "first"));
    let _written: bool = handle.flush(SOON);
    let lost = handle.0.0.lock();
    let lost = (handle.0.0.done).wait_timeout_while(lost, SOON, |state| !state.lost);
    drop(lost);
    let health = handle.health();
    assert!(health.lost && !health.ok, "{health:?}");
    handle.save(incident(2, "second"));
    assert!(!handle.flush(SOON));
    assert_eq!(handle.ask(SOON, |_| ()), None);
    assert!(!handle.stop(SOON));
}

#[test]
fn on_a_full_disk_the_newest_state_waits_until_there_is_room() {
    let (folder, store) = in_file();
    store.limit_pages(12);
    let handle = Writer::start(store).unwrap();
    let large = "x".repeat(50_000);
    handle.save(incident(1, &large));
    assert!(!handle.flush(Duration::from_millis(50)));
    let health = handle.health();
    assert!(!health.ok && health.failures > 0);
    assert_eq!(
        health.last_error.as_deref(),
        Some("the incident store: database or disk is full")
    );
    // Meanwhile life goes on, and questions are answered.
    handle.save(incident(1, "small"));
    handle.save(incident(2, &large));
    assert_eq!(kept(&handle), []);
    // Whoever asks what happened sees what waits, in its newest state.
    let all = IncidentFilter::default();
    let known = handle.list(&all, SOON).unwrap().unwrap();
    assert_eq!(known, [incident(2, &large), incident(1, "small")]);
    let one = IncidentFilter {
        limit: Some(1),
        ..IncidentFilter::default()
    };
    assert_eq!(handle.list(&one, SOON).unwrap().unwrap().len(), 1);
    let other = IncidentFilter {
        service: Some("other".to_owned()),
        ..IncidentFilter::default()
    };
    assert_eq!(handle.list(&other, SOON).unwrap().unwrap(), []);
    let later = IncidentFilter {
        since: Some("2026-01-03".to_owned()),
        ..IncidentFilter::default()
    };
    assert_eq!(handle.list(&later, SOON).unwrap().unwrap(), []);
    let first = handle.get("2026-01-02-0001", SOON).unwrap().unwrap();
    assert_eq!(first, Some(incident(1, "small")));
    assert_eq!(handle.get("2026-01-02-0003", SOON).unwrap().unwrap(), None);
    handle.ask(SOON, |store| store.limit_pages(10_000)).unwrap();
    assert!(handle.flush(SOON));
    assert!(handle.health().ok);
    assert_eq!(handle.health().dropped, 0);
    assert!(handle.stop(SOON));
    let reader = Store::open_read_only(&folder.path().join("evenkeel.db")).unwrap();
    assert_eq!(
        reader.list(&IncidentFilter::default()).unwrap(),
        [incident(2, &large), incident(1, "small")]
    );
}

#[test]
fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
    let (_folder, store) = in_file();
    store.limit_pages(1);
    let handle = Writer::start(store).unwrap();
    let surplus = 10;
    for number in 1..=u32::try_from(MOST_INCIDENTS).unwrap() + surplus {
        // More than fits in the pages that are there.
        handle.save(incident(number, &"x".repeat(5_000)));
    }
    assert!(!handle.flush(Duration::from_millis(10)));
    handle.ask(SOON, |store| store.limit_pages(10_000)).unwrap();
    assert!(handle.flush(SOON));
    let health = handle.health();
    assert_eq!(health.dropped, u64::from(surplus));
    let kept = kept(&handle);
    assert_eq!(kept.len(), MOST_INCIDENTS);
    assert_eq!(
        kept.last().unwrap().id,
        "2026-01-02-0011",
        "the oldest went"
    );
}

#[test]
fn a_file_that_breaks_while_it_is_written_gives_way_to_a_new_one() {
    let (folder, store) = in_file();
    let path = folder.path().join("evenkeel.db");
    for number in 1..200 {
        store.save(&incident(number, "before")).unwrap();
    }
    drop(store);
    let store = Store::open(Some(&path)).unwrap().store;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let handle = Writer::start(store).unwrap();
    // More than the connection still remembers of the file.
    for number in 200..400 {
        handle.save(incident(number, &"after".repeat(1_000)));
    }
    assert!(handle.flush(SOON), "{:?}", handle.health());
    assert!(handle.stop(SOON));
    let mut names = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        names.any(|name| name.to_string_lossy().contains(".corrupt-")),
        "the broken file was found"
    );
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(reader.list(&IncidentFilter::default()).unwrap().len(), 200);
}

#[test]
fn the_thread_ends_with_its_last_handle_and_writes_what_waits() {
    let (folder, store) = in_file();
    let handle = Writer::start(store).unwrap();
    let shared = Arc::clone(&handle.0.0);
    handle.save(incident(1, "last"));
    drop(handle);
    let ended = shared
        .done
        .wait_timeout_while(shared.lock(), SOON, |state| !state.ended);
    assert!(ended.unwrap().0.ended);
    let reader = Store::open_read_only(&folder.path().join("evenkeel.db")).unwrap();
    assert_eq!(reader.list(&IncidentFilter::default()).unwrap().len(), 1);
}

#[test]
fn a_panic_in_a_query_affects_no_other_query() {
    let (_folder, store) = in_file();
    let handle = Writer::start(store).unwrap();
    assert_eq!(
        handle.ask(SOON, |_| panic!("as the test wants it")),
        None::<()>
    );
    handle.save(incident(1, "after"));
    assert!(handle.flush(SOON));
    assert_eq!(kept(&handle), [incident(1, "after")]);
}
