//! Logs new entries of an incident's timeline.

use evenkeel_fault::Incident;
use evenkeel_fault::incident::TimelineEntry;

/// The entries of the timeline that came since the record was last seen. A long timeline drops entries from its middle, so
/// they are counted from the last one that was seen.
pub(crate) fn fresh<'a>(known: Option<&Incident>, incident: &'a Incident) -> &'a [TimelineEntry] {
    let last = known.and_then(|known| known.timeline.last());
    let place = last.and_then(|last| incident.timeline.iter().rposition(|entry| entry == last));
    &incident.timeline[place.map_or(0, |place| place + 1)..]
}

/// An entry of a timeline as a log line: a warning where an operator is needed.
pub(crate) fn log(incident: &Incident, entry: &TimelineEntry) {
    let (id, service, kind) = (&incident.id, &incident.service, &entry.kind);
    let server = incident.servers.join(" ");
    if kind == "escalation" {
        tracing::warn!(incident = id, service, server, kind, "{}", entry.text);
    } else {
        tracing::info!(incident = id, service, server, kind, "{}", entry.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(texts: &[u32]) -> Incident {
        let entries: Vec<String> = texts
            .iter()
            .map(|text| {
                format!(r#"{{"at":"2026-01-02T03:04:05.000Z","kind":"signal","text":"{text}"}}"#)
            })
            .collect();
        let entries = entries.join(",");
        serde_json::from_str(&format!(
            r#"{{"id":"2026-01-02-0001","drill":false,"status":"open","service":"shop","servers":[],
            "onset":"2026-01-02T03:04:05.000Z","durations_ms":{{}},"detected_by":"probe","diagnosis":[],"actions":[],
            "impact":{{"requests":0,"failed":0,"saved_by_retry":0,"budget_spent":0.0}},"timeline":[{entries}]}}"#
        ))
        .expect("parses")
    }

    #[test]
    fn only_new_entries_are_reported_even_if_the_middle_was_dropped() {
        let texts = |known: Option<&Incident>, now: &Incident| -> Vec<String> {
            let entries = fresh(known, now).iter();
            entries.map(|entry| entry.text.clone()).collect()
        };
        let (first, second) = (incident(&[1, 2]), incident(&[1, 2, 3]));
        assert_eq!(texts(None, &first), ["1", "2"]);
        assert_eq!(texts(Some(&first), &second), ["3"]);
        assert_eq!(texts(Some(&second), &second), Vec::<String>::new());
        // A full timeline drops an entry for each that comes.
        assert_eq!(texts(Some(&second), &incident(&[1, 3, 4])), ["4"]);
    }
}
