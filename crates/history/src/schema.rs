//! The tables, and the migrations from older versions.
//!
//! A migration that has been released never changes; new ones are appended.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// Each brings a file from the version of its place to the next.
const STEPS: [&str; 4] = [
    "CREATE TABLE incidents (
         id      TEXT PRIMARY KEY NOT NULL,
         service TEXT NOT NULL,
         status  TEXT NOT NULL,
         onset   TEXT NOT NULL,
         closed  TEXT,
         body    TEXT NOT NULL
     ) STRICT;
     CREATE INDEX incidents_by_onset ON incidents (onset);
     CREATE INDEX incidents_by_closed ON incidents (closed) WHERE closed IS NOT NULL;",
    "CREATE TABLE traffic (
         service  TEXT NOT NULL,
         minute   INTEGER NOT NULL,
         requests INTEGER NOT NULL,
         failed   INTEGER NOT NULL,
         PRIMARY KEY (service, minute)
     ) STRICT, WITHOUT ROWID;",
    // The server is empty for a whole service.
    "CREATE TABLE maintenance (
         service TEXT NOT NULL,
         server  TEXT NOT NULL,
         body    TEXT NOT NULL,
         PRIMARY KEY (service, server)
     ) STRICT, WITHOUT ROWID;",
    // At most one row.
    "CREATE TABLE runtime_changes (
         one  INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
         body TEXT NOT NULL
     ) STRICT;",
];

/// The version that this program writes.
pub(crate) const CURRENT: u32 = STEPS.len() as u32;
/// The first version that has the table of traffic.
pub(crate) const WITH_TRAFFIC: u32 = 2;
/// The first version that has the table of changes made at run time.
pub(crate) const WITH_RUNTIME_CHANGES: u32 = 4;

/// The version of the file.
pub(crate) fn version(connection: &Connection) -> Result<u32, StoreError> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > CURRENT {
        return Err(StoreError::Newer {
            found: version,
            known: CURRENT,
        });
    }
    Ok(version)
}

/// Brings the file to the current version, all steps or none. Says from which version, if there was anything to do.
pub(crate) fn migrate(connection: &mut Connection) -> Result<Option<u32>, StoreError> {
    if version(connection)? == CURRENT {
        return Ok(None);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Checked again inside the transaction: no other process can be migrating now.
    let from = version(&transaction)?;
    for step in STEPS.iter().skip(from as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", CURRENT)?;
    transaction.commit()?;
    Ok(Some(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::IncidentFilter;
    use crate::store::Store;

    const OLD_INCIDENT: &str = r#"{"id":"2026-01-02-0003","drill":false,"status":"closed","service":"shop",
        "servers":["one"],"onset":"2026-01-02T03:04:05.000Z","closed":"2026-01-02T03:05:00.000Z","durations_ms":{},
        "detected_by":"process-exit","diagnosis":[],"actions":[],
        "impact":{"requests":1,"failed":0,"saved_by_retry":1,"budget_spent":0.0},"timeline":[]}"#;

    fn old_file(path: &std::path::Path) {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(STEPS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let values = [
            "2026-01-02-0003",
            "shop",
            "closed",
            "2026-01-02T03:04:05.000Z",
            "2026-01-02T03:05:00.000Z",
        ];
        let [id, service, status, onset, closed] = values;
        connection
            .execute(
                "INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (id, service, status, onset, closed, OLD_INCIDENT),
            )
            .unwrap();
    }

    #[test]
    fn a_file_of_the_first_version_is_brought_to_this_one_with_all_it_holds() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("evenkeel.db");
        old_file(&path);
        let reader = Store::open_read_only(&path).unwrap();
        let since = "2026-01-01T00:00:00Z";
        assert_eq!(
            reader.report(since).unwrap()[0].incidents,
            1,
            "an old file can be read as it is"
        );
        drop(reader);
        let opened = Store::open(Some(&path)).unwrap();
        assert_eq!(
            opened.notes,
            [format!(
                "the incident store was migrated from version 1 to {CURRENT}"
            )]
        );
        assert_eq!(
            opened.store.list(&IncidentFilter::default()).unwrap()[0].id,
            "2026-01-02-0003"
        );
        opened.store.add_traffic("shop", 29455385, 10, 1).unwrap();
        assert_eq!(
            opened.store.report(since).unwrap()[0].availability,
            Some(0.9)
        );
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("evenkeel.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "user_version", CURRENT + 1)
            .unwrap();
        drop(connection);
        let error = Store::open(Some(&path)).unwrap_err();
        assert!(matches!(error, StoreError::Newer { .. }), "{error}");
        assert!(matches!(
            Store::open_read_only(&path).unwrap_err(),
            StoreError::Newer { .. }
        ));
        let connection = Connection::open(&path).unwrap();
        assert_eq!(
            version(&connection).unwrap_err().to_string(),
            error.to_string()
        );
    }
}
