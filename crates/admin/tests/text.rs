//! The command line's output, compared with expected text.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod fake;

use evenkeel_admin::text;
use fake::check;

#[test]
fn status_is_formatted_as_text() {
    check("status.txt", &text::status(&fake::services(), false));
    assert_eq!(text::status(&[], true), "There are no services.\n");
}

#[test]
fn a_refused_reload_and_changes_made_at_run_time_stand_above_the_services() {
    let shown = text::instance(&fake::instance(), None);
    check("instance.txt", &shown);
    let of_one = text::instance(&fake::instance(), Some("empty"));
    assert!(
        of_one.contains("the last reload was refused") && !of_one.contains("server c"),
        "{of_one}"
    );
    assert_eq!(text::instance(&Default::default(), None), "");
}

#[test]
fn why_is_formatted_as_text_without_control_characters() {
    check("why.txt", &text::why(&fake::why(), false));
    let mut hostile = fake::why();
    hostile.servers[0].sentence = "\u{1b}[2J".to_owned();
    hostile.servers[0].name = "a\rb".to_owned();
    let shown = text::why(&hostile, false);
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\r'),
        "{shown:?}"
    );
    let empty = text::why(&Default::default(), false);
    assert!(empty.contains("no servers"), "{empty}");
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let coloured = text::status(&fake::services(), true);
    for painted in [
        "\u{1b}[1mshop\u{1b}[0m",
        "\u{1b}[32mup\u{1b}[0m ",
        "\u{1b}[31mejected\u{1b}[0m ",
    ] {
        assert!(coloured.contains(painted), "{coloured:?}");
    }
    let mut bare = coloured;
    for code in ["1", "31", "32", "33", "0"] {
        bare = bare.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(bare, text::status(&fake::services(), false));
}

#[test]
fn an_incident_is_formatted_as_text() {
    check("incident.txt", &text::incident(&fake::incident()));
}

#[test]
fn incident_as_markdown() {
    check("incident.md", &text::incident_markdown(&fake::incident()));
}

#[test]
fn an_incident_that_has_just_begun() {
    let begun: evenkeel_fault::Incident = serde_json::from_str(
        r#"{"id": "2026-11-22-0008", "drill": true, "status": "open", "service": "shop", "servers": ["shop-1", "shop-2"],
            "onset": "2026-11-22T10:00:00.000Z", "durations_ms": {}, "detected_by": "probe", "diagnosis": [], "actions": [],
            "impact": {"requests": 1, "failed": 1, "saved_by_retry": 0, "budget_spent": 0}, "timeline": []}"#,
    )
    .unwrap();
    check("begun.txt", &text::incident(&begun));
    check("begun.md", &text::incident_markdown(&begun));
    check(
        "list.txt",
        &text::incidents(
            &[begun, fake::incident()],
            &[fake::report(), Default::default()],
        ),
    );
}

#[test]
fn no_incidents() {
    assert_eq!(text::incidents(&[], &[]), "No incidents.\n");
    let only_means = text::incidents(&[], &[fake::report()]);
    assert!(
        only_means.starts_with("No incidents.\n\nSERVICE "),
        "{only_means}"
    );
}

#[test]
fn control_characters_from_servers_are_escaped() {
    let mut services = fake::services();
    services[0].servers[0].name = "\u{1b}]0;title\u{7}".to_owned();
    let incident = fake::incident();
    for shown in [
        text::status(&services, false),
        text::instance(&fake::instance(), None),
        text::incident(&incident),
        text::incident_markdown(&incident),
        text::incidents(&[incident], &[]),
    ] {
        assert!(
            shown
                .chars()
                .all(|letter| letter == '\n' || !letter.is_control()),
            "{shown:?}"
        );
    }
}
