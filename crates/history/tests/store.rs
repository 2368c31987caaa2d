//! Stored data comes back: after an upgrade, beside a reader, and after a corrupt file.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may end where something is wrong"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{incident, open};
use evenkeel_fault::incident::invariants::violations;
use evenkeel_fault::incident::{ActionOutcome, ActionRecord, CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::TakenOut;
use evenkeel_fault::{Incident, Maintenance, MaintenanceRecord};
use evenkeel_history::{IncidentFilter, Store, StoreError};
use tempfile::TempDir;

fn store(path: &Path) -> Store {
    let opened = Store::open(Some(path)).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    opened.store
}

fn ids(incidents: &[Incident]) -> Vec<&str> {
    incidents
        .iter()
        .map(|incident| incident.id.as_str())
        .collect()
}

#[test]
fn an_incident_comes_back_as_it_was_saved_last() {
    let store = Store::open(None).unwrap().store;
    store.save(&open(1, 0)).unwrap();
    store.save(&incident(1, 0)).unwrap();
    assert_eq!(store.get("2026-11-22-0001").unwrap(), Some(incident(1, 0)));
    assert_eq!(
        store.list(&IncidentFilter::default()).unwrap(),
        [incident(1, 0)]
    );
    assert_eq!(store.get("2026-11-22-0002").unwrap(), None);
}

#[test]
fn a_service_with_many_incidents_leaves_those_of_others_their_place() {
    let store = Store::open(None).unwrap().store;
    let of = |service: &str, incident: Incident| {
        let service = service.to_owned();
        store
            .save(&Incident {
                service,
                ..incident
            })
            .unwrap();
    };
    of("api", incident(1, 0));
    for number in 2..6 {
        of("shop", incident(number, number * 10));
    }
    of("api", open(6, 70));
    assert_eq!(
        ids(&store.recent_closed_of_each(2).unwrap()),
        ["2026-11-22-0001", "2026-11-22-0004", "2026-11-22-0005"]
    );
}

#[test]
fn a_list_is_filtered_and_the_newest_come_first() {
    let store = Store::open(None).unwrap().store;
    for (number, minute) in [(1, 0), (2, 10), (3, 20)] {
        store.save(&incident(number, minute)).unwrap();
    }
    store
        .save(&Incident {
            service: "api".to_owned(),
            ..open(4, 30)
        })
        .unwrap();
    let list = |filter: IncidentFilter| {
        let found = store.list(&filter).unwrap();
        ids(&found)
            .iter()
            .map(|id| id[14..].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(list(IncidentFilter::default()), "4 3 2 1");
    assert_eq!(
        list(IncidentFilter {
            limit: Some(2),
            ..IncidentFilter::default()
        }),
        "4 3"
    );
    assert_eq!(
        list(IncidentFilter {
            service: Some("shop".to_owned()),
            ..IncidentFilter::default()
        }),
        "3 2 1"
    );
    assert_eq!(
        list(IncidentFilter {
            status: Some(IncidentStatus::Recovering),
            ..IncidentFilter::default()
        }),
        "4"
    );
    // The same moment, written in another place of the world.
    assert_eq!(
        list(IncidentFilter {
            since: Some("2026-11-22T12:10:00+02:00".to_owned()),
            ..IncidentFilter::default()
        }),
        "4 3 2"
    );
    for (since, found) in [
        ("2026-11-22", "4 3 2 1"),
        ("2026-11-22T10:20:00", "4 3"),
        ("2026-11-23", ""),
    ] {
        assert_eq!(
            list(IncidentFilter {
                since: Some(since.to_owned()),
                ..IncidentFilter::default()
            }),
            found,
            "{since}"
        );
    }
    let wrong = store.list(&IncidentFilter {
        since: Some("yesterday".to_owned()),
        ..IncidentFilter::default()
    });
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "\"yesterday\" is not a time such as 2026-11-22T10:00:00Z"
    );
}

#[test]
fn numbers_go_on_from_the_highest_also_beyond_four_digits() {
    let store = Store::open(None).unwrap().store;
    for number in [1, 9_999, 10_000, 7] {
        store.save(&incident(number, 0)).unwrap();
    }
    assert_eq!(
        store.last_numbers().unwrap(),
        [("2026-11-22".to_owned(), 10_000)]
    );
}

#[test]
fn recent_incidents_are_the_last_that_closed_oldest_first() {
    let store = Store::open(None).unwrap().store;
    for number in 1..=5 {
        store.save(&incident(number, number)).unwrap();
    }
    store.save(&open(6, 6)).unwrap();
    assert_eq!(
        ids(&store.recent_closed(2).unwrap()),
        ["2026-11-22-0004", "2026-11-22-0005"]
    );
}

#[test]
fn a_report_has_the_means_and_the_availability_of_the_period() {
    let store = Store::open(None).unwrap().store;
    for (number, minute) in [(1, 0), (2, 10), (3, 30)] {
        store.save(&incident(number, minute)).unwrap();
    }
    store
        .save(&Incident {
            drill: true,
            ..incident(50, 35)
        })
        .unwrap();
    let ten = 29_922_360; // 2026-11-22T10:00Z in minutes
    store.add_traffic("shop", ten, 600, 0).unwrap();
    store.add_traffic("shop", ten, 300, 8).unwrap();
    store.add_traffic("shop", ten + 1, 100, 2).unwrap();
    store.add_traffic("shop", ten - 1, 1_000, 1_000).unwrap();
    store.add_traffic("api", ten, 10, 0).unwrap();
    let reports = store.report("2026-11-22T10:00:00Z").unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!(
        (
            reports[0].service.as_str(),
            reports[0].availability,
            reports[0].mttr_ms
        ),
        ("api", Some(1.0), None)
    );
    let shop = &reports[1];
    assert_eq!((shop.incidents, shop.open, shop.drills), (3, 0, 1));
    assert_eq!(shop.mttd_ms, Some(1_000.0));
    assert_eq!(shop.mttr_ms, Some(3_500.0));
    assert_eq!(shop.mtbf_ms, Some(15.0 * 60_000.0));
    assert_eq!(
        (shop.p50_restore_ms, shop.p90_restore_ms),
        (Some(3_500.0), Some(4_500.0))
    );
    assert_eq!(
        (shop.requests, shop.failed, shop.availability),
        (1_000, 10, Some(0.99))
    );
}

#[test]
fn an_old_incident_goes_and_an_open_one_stays() {
    let store = Store::open(None).unwrap().store;
    for number in 1..=4 {
        store.save(&incident(number, number)).unwrap();
    }
    store.save(&open(5, 0)).unwrap();
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    assert_eq!(store.prune(now, 400, 100).unwrap(), 0);
    assert_eq!(store.prune(now, 400, 2).unwrap(), 2);
    assert_eq!(
        ids(&store.list(&IncidentFilter::default()).unwrap()).len(),
        3
    );
    let later = "2028-11-23T10:00:00Z".parse().unwrap();
    assert_eq!(store.prune(later, 400, 100).unwrap(), 2);
    assert_eq!(
        ids(&store.list(&IncidentFilter::default()).unwrap()),
        ["2026-11-22-0005"]
    );
}

#[test]
fn what_an_earlier_run_left_open_is_closed_with_a_reason() {
    let store = Store::open(None).unwrap().store;
    store.save(&incident(1, 0)).unwrap();
    let mut left = open(2, 0);
    left.actions.push(ActionRecord {
        action: "restart".to_owned(),
        server: "one".to_owned(),
        started: "2026-11-22T10:00:03.000Z".to_owned(),
        ended: None,
        outcome: None,
        detail: None,
        by_person: false,
    });
    store.save(&left).unwrap();
    assert_eq!(
        store.close_left_over("2026-11-22T11:00:00.000Z").unwrap(),
        1
    );
    let closed = store.get("2026-11-22-0002").unwrap().unwrap();
    assert_eq!(
        (closed.status, closed.closed.as_deref()),
        (IncidentStatus::Closed, Some("2026-11-22T11:00:00.000Z"))
    );
    assert!(closed.timeline[0].text.starts_with("evenkeel ended before"));
    assert_eq!(closed.end, Some(CloseReason::EvenkeelEnded));
    assert_eq!(closed.actions[0].outcome, Some(ActionOutcome::Failed));
    assert_eq!(violations(&closed), Vec::<String>::new());
    assert_eq!(
        store.close_left_over("2026-11-22T11:00:00.000Z").unwrap(),
        0
    );
}

#[test]
fn folder_and_file_are_made_for_the_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state/evenkeel/evenkeel.db");
    let store = store(&path);
    store.save(&incident(1, 0)).unwrap();
    for file in fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
    assert_eq!(
        fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
}

#[test]
fn a_second_evenkeel_is_refused_until_the_first_has_ended() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    let first = store(&path);
    let second = Store::open(Some(&path)).unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    let opened = Store::open_or_memory(Some(&path)).unwrap();
    assert!(
        opened.notes[0].contains("in use by another evenkeel"),
        "{:?}",
        opened.notes
    );
    assert!(opened.notes[0].ends_with("Incidents are kept in memory only, until evenkeel ends"));
    drop(first);
    store(&path);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_and_memory_does_instead() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let path = file.join("evenkeel.db");
    assert!(matches!(
        Store::open(Some(&path)).unwrap_err(),
        StoreError::File { .. }
    ));
    let opened = Store::open_or_memory(Some(&path)).unwrap();
    assert_eq!(opened.notes.len(), 1);
    opened.store.save(&incident(1, 0)).unwrap();
}

#[test]
fn a_reader_sees_what_is_written_while_it_reads_and_after_the_writer_ended() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    assert!(matches!(
        Store::open_read_only(&path).unwrap_err(),
        StoreError::Absent { .. }
    ));
    let writer = store(&path);
    let reader = Store::open_read_only(&path).unwrap();
    writer.save(&incident(1, 0)).unwrap();
    assert_eq!(reader.list(&IncidentFilter::default()).unwrap().len(), 1);
    writer.save(&incident(2, 0)).unwrap();
    assert_eq!(reader.list(&IncidentFilter::default()).unwrap().len(), 2);
    assert!(reader.save(&incident(3, 0)).is_err());
    drop((reader, writer));
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(
        reader.report("2026-11-22T00:00:00Z").unwrap()[0].incidents,
        2
    );
}

#[test]
fn a_file_that_is_no_store_is_moved_aside_and_a_new_one_begun() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    fs::write(
        &path,
        "this is a letter to my aunt, and no database at all. ".repeat(100),
    )
    .unwrap();
    let opened = Store::open(Some(&path)).unwrap();
    let note = &opened.notes[0];
    assert!(
        note.contains("is corrupt (file is not a database). It was moved to "),
        "{note}"
    );
    let aside = note
        .split("moved to ")
        .nth(1)
        .unwrap()
        .split(", and")
        .next()
        .unwrap();
    assert!(
        fs::read_to_string(aside)
            .unwrap()
            .starts_with("this is a letter")
    );
    assert!(aside.contains("evenkeel.db.corrupt-20"), "{aside}");
    opened.store.save(&incident(1, 0)).unwrap();
    drop(opened);
    assert_eq!(
        store(&path).list(&IncidentFilter::default()).unwrap().len(),
        1
    );
}

#[test]
fn a_store_with_damaged_pages_is_moved_aside_with_what_is_wrong_in_the_note() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    let whole = store(&path);
    for number in 1..200 {
        whole.save(&incident(number, 0)).unwrap();
    }
    drop(whole);
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page, which holds the tables' names.
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let opened = Store::open(Some(&path)).unwrap();
    assert_eq!(opened.notes.len(), 1);
    println!("{}", opened.notes[0]);
    assert_eq!(opened.store.list(&IncidentFilter::default()).unwrap(), []);
    // Once more on the same day: neither takes the other's name.
    drop(opened);
    fs::write(&path, "x".repeat(5_000)).unwrap();
    drop(Store::open(Some(&path)).unwrap());
    let names = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let asides = names.filter(|name| {
        name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    });
    assert_eq!(asides.count(), 2);
}

#[test]
fn a_maintenance_is_kept_until_it_is_over() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    let maintenance = |reason: &str| Maintenance {
        how: Some(TakenOut::Drained),
        since: "2026-11-22T10:00:00.000Z".to_owned(),
        until: None,
        by: Some("ada".to_owned()),
        reason: Some(reason.to_owned()),
        address: None,
    };
    let first = store(&path);
    let (one, two) = (maintenance("a new disk"), maintenance("a new kernel"));
    first
        .set_maintenance("shop", Some("one"), Some(&one))
        .unwrap();
    first
        .set_maintenance("shop", Some("one"), Some(&two))
        .unwrap();
    first.set_maintenance("shop", None, Some(&one)).unwrap();
    first
        .set_maintenance("api", Some("one"), Some(&one))
        .unwrap();
    first.set_maintenance("api", Some("one"), None).unwrap();
    drop(first);
    let record = |server: Option<&str>, maintenance| MaintenanceRecord {
        service: "shop".to_owned(),
        server: server.map(str::to_owned),
        maintenance,
    };
    assert_eq!(
        store(&path).maintenance().unwrap(),
        [record(None, one), record(Some("one"), two)]
    );
}

#[test]
fn changes_made_at_run_time_are_kept_until_others_take_their_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    let first = store(&path);
    assert_eq!(first.runtime_changes().unwrap(), None);
    first.set_runtime_changes("{\"shop\":1}").unwrap();
    first.set_runtime_changes("{\"shop\":2}").unwrap();
    drop(first);
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(
        reader.runtime_changes().unwrap().as_deref(),
        Some("{\"shop\":2}")
    );
}

/// The system clock was set back: entries with later timestamps belong to the report nevertheless.
#[test]
fn a_report_includes_both_sides_of_a_clock_that_was_set_back() {
    let store = Store::open(None).unwrap().store;
    store.save(&incident(1, 50)).unwrap();
    store.save(&incident(2, 5)).unwrap();
    let ten = 29_922_360; // 2026-11-22T10:00Z in minutes
    store.add_traffic("shop", ten + 50, 100, 1).unwrap();
    store.add_traffic("shop", ten + 5, 100, 1).unwrap();
    let report = store.report("2026-11-22T10:00:00Z").unwrap().remove(0);
    assert_eq!(
        (report.incidents, report.requests, report.failed),
        (2, 200, 2)
    );
}
