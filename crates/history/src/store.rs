//! The store: incidents by id, traffic by minute, and queries on both.
//!
//! Separate from the writer because the command line reads the store without one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use evenkeel_fault::Incident;
use evenkeel_fault::incident::{CloseReason, IncidentStatus, TimelineEntry, invariants};
use evenkeel_fault::{Maintenance, MaintenanceRecord};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::error::StoreError;
use crate::file::Identities;
use crate::filter::{IncidentFilter, minute, normal};
use crate::report::{self, PeriodReport};
use crate::schema;

/// The maximum length of a list, whatever the request says.
pub(crate) const LONGEST_LIST: u32 = 10_000;

/// Incidents and traffic, in a file or in memory.
#[derive(Debug)]
pub struct Store {
    pub(crate) connection: Connection,
    pub(crate) path: Option<PathBuf>,
    pub(crate) version: u32,
    /// Held while this writes the file.
    pub(crate) lock: Option<File>,
    /// Of the files, when they were opened to be written.
    pub(crate) identity: Option<Identities>,
    /// Why this is in memory although a file was wanted.
    pub(crate) only_memory: Option<String>,
}

impl Store {
    /// Keeps the incident as it is now, instead of what was kept under its id.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, incident: &Incident) -> Result<(), StoreError> {
        let body = serde_json::to_string(incident).map_err(|source| StoreError::Body {
            id: incident.id.clone(),
            source,
        })?;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO incidents (id, service, status, onset, closed, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE SET service = ?2, status = ?3, onset = ?4, closed = ?5, body = ?6",
        )?;
        let status = incident.status.word();
        statement.execute(params![
            incident.id,
            incident.service,
            status,
            incident.onset,
            incident.closed,
            body
        ])?;
        Ok(())
    }

    /// Adds to the requests of a service in a minute (minutes since 1970-01-01 UTC).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_traffic(
        &self,
        service: &str,
        minute: i64,
        requests: u64,
        failed: u64,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO traffic (service, minute, requests, failed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (service, minute) DO UPDATE SET requests = requests + ?3, failed = failed + ?4",
        )?;
        let most = i64::MAX / 2;
        let (requests, failed) = (i64::try_from(requests), i64::try_from(failed));
        statement.execute(params![
            service,
            minute,
            requests.unwrap_or(most),
            failed.unwrap_or(most)
        ])?;
        Ok(())
    }

    /// Keeps a maintenance by its names, or forgets it if it is over.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_maintenance(
        &self,
        service: &str,
        server: Option<&str>,
        maintenance: Option<&Maintenance>,
    ) -> Result<(), StoreError> {
        let server = server.unwrap_or_default();
        let Some(maintenance) = maintenance else {
            let mut statement = self
                .connection
                .prepare_cached("DELETE FROM maintenance WHERE service = ?1 AND server = ?2")?;
            statement.execute([service, server])?;
            return Ok(());
        };
        let body = serde_json::to_string(maintenance).map_err(|source| StoreError::Body {
            id: format!("{service}/{server}"),
            source,
        })?;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO maintenance (service, server, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (service, server) DO UPDATE SET body = ?3",
        )?;
        statement.execute([service, server, &body])?;
        Ok(())
    }

    /// The maintenance records. A record that cannot be parsed is skipped and logged.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn maintenance(&self) -> Result<Vec<MaintenanceRecord>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT service, server, body FROM maintenance ORDER BY 1, 2")?;
        let read = |row: &Row<'_>| -> rusqlite::Result<(String, String, String)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let mut records = Vec::new();
        for row in statement.query_map([], read)? {
            let (service, server, body) = row?;
            match serde_json::from_str(&body) {
                Ok(maintenance) => records.push(MaintenanceRecord {
                    service,
                    server: Some(server).filter(|server| !server.is_empty()),
                    maintenance,
                }),
                Err(error) => {
                    tracing::warn!(service, server, %error, "a maintenance record in the store cannot be parsed");
                }
            }
        }
        Ok(records)
    }

    /// Keeps the changes of the configuration that were made at run time and are to hold after a restart, as text, in place of those
    /// before.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn set_runtime_changes(&self, body: &str) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO runtime_changes (one, body) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET body = ?1",
        )?;
        statement.execute([body])?;
        Ok(())
    }

    /// The text that was last given to [`Store::set_runtime_changes`], if there is one.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn runtime_changes(&self) -> Result<Option<String>, StoreError> {
        if self.version < schema::WITH_RUNTIME_CHANGES {
            return Ok(None);
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT body FROM runtime_changes WHERE one = 1")?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?)
    }

    /// The incident with this id.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT body FROM incidents WHERE id = ?1")?;
        let body: Option<String> = statement.query_row([id], |row| row.get(0)).optional()?;
        let parse = |body: String| {
            serde_json::from_str(&body).map_err(|source| StoreError::Body {
                id: id.to_owned(),
                source,
            })
        };
        body.map(parse).transpose()
    }

    /// The incidents that pass the filter, the newest first. One that cannot be understood is left out and logged.
    ///
    /// # Errors
    /// If the store cannot be read, or the filter's time is none.
    pub fn list(&self, filter: &IncidentFilter) -> Result<Vec<Incident>, StoreError> {
        let mut sql = "SELECT id, body FROM incidents WHERE 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        let mut and = |condition: &str, value: String| {
            sql.push_str(condition);
            values.push(Value::Text(value));
        };
        if let Some(service) = &filter.service {
            and(" AND service = ?", service.clone());
        }
        if let Some(since) = &filter.since {
            and(" AND onset >= ?", normal(since)?);
        }
        if let Some(status) = filter.status {
            and(" AND status = ?", status.word().to_owned());
        }
        sql.push_str(" ORDER BY onset DESC, length(id) DESC, id DESC LIMIT ?");
        values.push(Value::Integer(
            filter
                .limit
                .unwrap_or(LONGEST_LIST)
                .min(LONGEST_LIST)
                .into(),
        ));
        self.incidents(&sql, values)
    }

    /// The latest incidents that are closed, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn recent_closed(&self, limit: u32) -> Result<Vec<Incident>, StoreError> {
        let sql =
            "SELECT id, body FROM incidents WHERE closed IS NOT NULL ORDER BY closed DESC LIMIT ?";
        let mut recent =
            self.incidents(sql, vec![Value::Integer(limit.min(LONGEST_LIST).into())])?;
        recent.reverse();
        Ok(recent)
    }

    /// The latest incidents of each service that are closed, at most `most` of each, oldest first: a service with many incidents leaves those
    /// of others their place.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn recent_closed_of_each(&self, most: u32) -> Result<Vec<Incident>, StoreError> {
        let sql = "SELECT id, body FROM incidents WHERE id IN
                (SELECT id FROM
                    (SELECT id, row_number() OVER (PARTITION BY service ORDER BY closed DESC) AS place
                     FROM incidents WHERE closed IS NOT NULL)
                 WHERE place <= ?)
             ORDER BY closed";
        self.incidents(sql, vec![Value::Integer(most.min(LONGEST_LIST).into())])
    }

    /// Per date (`2026-11-22`) the highest number that an incident has; numbers go on from there.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn last_numbers(&self) -> Result<Vec<(String, u32)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT substr(id, 1, 10), max(CAST(substr(id, 12) AS INTEGER)) FROM incidents GROUP BY 1 ORDER BY 1",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Closes the incidents that an earlier run left open, at `at` (RFC 3339), with an entry that gives the reason.
    /// Call it once at the start, before the first [`Store::save`]. Returns their number.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn close_left_over(&self, at: &str) -> Result<usize, StoreError> {
        let at = normal(at)?;
        let sql = "SELECT id, body FROM incidents WHERE closed IS NULL LIMIT ?";
        let left = self.incidents(sql, vec![Value::Integer(LONGEST_LIST.into())])?;
        for incident in &left {
            let text =
                "evenkeel ended before this incident was over; what became of it is not known";
            let mut incident = incident.clone();
            incident.timeline.push(TimelineEntry {
                at: at.clone(),
                kind: "analysis".to_owned(),
                text: text.to_owned(),
            });
            incident.status = IncidentStatus::Closed;
            incident.closed = Some(at.clone());
            incident.end = Some(CloseReason::EvenkeelEnded);
            // The outcome of what was in flight is unknown.
            invariants::correct(&mut incident);
            self.save(&incident)?;
        }
        Ok(left.len())
    }

    /// How each service fared since (RFC 3339). Nothing bounds it above: entries with later timestamps were written
    /// before the system clock was set back, and count nevertheless.
    ///
    /// # Errors
    /// If the store cannot be read, or a time is none.
    pub fn report(&self, since: &str) -> Result<Vec<PeriodReport>, StoreError> {
        let since = normal(since)?;
        let sql = "SELECT id, body FROM incidents WHERE onset >= ? ORDER BY onset LIMIT ?";
        let bounds = vec![
            Value::Text(since.clone()),
            Value::Integer(LONGEST_LIST.into()),
        ];
        let incidents = self.incidents(sql, bounds)?;
        Ok(report::reports(&incidents, &self.traffic(minute(&since)?)?))
    }

    /// Removes what is older than `days`, and incidents beyond the newest `most`. Open ones stay.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn prune(&self, now: Timestamp, days: u32, most: u32) -> Result<usize, StoreError> {
        let oldest = now.as_second().saturating_sub(i64::from(days) * 86_400);
        let oldest = Timestamp::from_second(oldest).unwrap_or(Timestamp::MIN);
        let by_age = self.connection.execute(
            "DELETE FROM incidents WHERE closed IS NOT NULL AND onset < ?",
            [format!("{oldest:.3}")],
        )?;
        let by_number = self.connection.execute(
            "DELETE FROM incidents WHERE closed IS NOT NULL AND id IN
                 (SELECT id FROM incidents ORDER BY onset DESC, id DESC LIMIT -1 OFFSET ?)",
            [most],
        )?;
        self.connection.execute(
            "DELETE FROM traffic WHERE minute < ?",
            [oldest.as_second() / 60],
        )?;
        Ok(by_age + by_number)
    }

    /// Limits the file to this many pages, to simulate a full disk.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    }

    /// Does `work` as one: all of it is kept or nothing.
    pub(crate) fn together(
        &self,
        work: impl FnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        work(self)?;
        Ok(transaction.commit()?)
    }

    fn incidents(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Incident>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let mut incidents = Vec::new();
        for row in statement.query_map(params_from_iter(values), pair)? {
            let (id, body) = row?;
            match serde_json::from_str(&body) {
                Ok(incident) => incidents.push(incident),
                Err(error) => {
                    tracing::warn!(incident = id, %error, "an incident in the store cannot be parsed");
                }
            }
        }
        Ok(incidents)
    }

    /// Per service requests and failed ones, from this minute on.
    fn traffic(&self, from: i64) -> Result<BTreeMap<String, (u64, u64)>, StoreError> {
        if self.version < schema::WITH_TRAFFIC {
            return Ok(BTreeMap::new());
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT service, sum(requests), sum(failed) FROM traffic WHERE minute >= ? GROUP BY service",
        )?;
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let rows = statement.query_map([from], |row| {
            Ok((row.get(0)?, (whole(row.get(1)?), whole(row.get(2)?))))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
