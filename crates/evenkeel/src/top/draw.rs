//! The screen of `top`: services, the servers of the selected one, open incidents. Pure: state in, cells out.

use evenkeel_admin::text::{clean, duration, rate, share, throughput};
use evenkeel_admin::{ServerView, ServiceView};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Row, Table, TableState};

use super::plain::{incident, states};
use super::state::TopState;

/// Cells of a bar, where there is room.
const BAR: u16 = 10;
/// The number of columns that the table of servers takes without bars and with short names.
const WITHOUT_BARS: u16 = 85;
/// Incidents that are shown at most.
const INCIDENTS: usize = 5;
const HELP: [&str; 7] = [
    " Keys                                  ",
    "   up, down   select a service         ",
    "   s          sort the servers         ",
    "   p          pause, and go on         ",
    "   ?          this help                ",
    "   q          end; also Esc and Ctrl-C ",
    " Rates are of the last ten seconds.    ",
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState) {
    let area = frame.area();
    let incidents = incident_lines(state);
    let services = state.services().len();
    let most = usize::from(area.height / 3).max(2);
    let [title, upper, between, lower, bottom, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows((services + 1).min(most))),
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(rows(incidents.len())),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(headline(state)), title);
    draw_services(frame, upper, state);
    let about = state.service().map_or_else(String::new, |service| {
        format!(
            "\nServers of {} ({}), sorted: {}",
            clean(&service.name),
            clean(&service.policy),
            state.sort.word()
        )
    });
    frame.render_widget(Paragraph::new(about).style(bold()), between);
    draw_servers(frame, lower, state);
    let incidents: Vec<Line<'_>> = incidents.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(incidents), bottom);
    let keys = "q end   up/down select   s sort   p pause   ? help";
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(keys).style(dim), footer);
    if state.help {
        draw_help(frame, area);
    }
}

fn headline(state: &TopState) -> Line<'static> {
    let painted = |text: String, colour| Line::styled(text, bold().patch(paint(state, colour)));
    if let Some(why) = &state.trouble {
        return painted(format!("{} - trying again", clean(why)), Color::Red);
    }
    if state.paused {
        return painted("evenkeel top - paused, p goes on".to_owned(), Color::Yellow);
    }
    if state.shown.is_none() {
        return Line::from("evenkeel top - asking");
    }
    let number = |count: usize, noun: &str| crate::output::count(count, noun);
    let open = state
        .shown
        .as_ref()
        .map_or(0, |shown| shown.incidents.len());
    Line::styled(
        format!(
            "evenkeel top - {}, {}",
            number(state.services().len(), "service"),
            number(open, "open incident")
        ),
        bold(),
    )
}

fn draw_services(frame: &mut Frame<'_>, area: Rect, state: &TopState) {
    let header = [
        "SERVICE", "REQ/S", "ERR/S", "IN", "OUT", "P50", "P99", "SERVERS",
    ];
    let widths = [
        Constraint::Length(name_width(area)),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Fill(1),
    ];
    let rows = state.services().iter().map(|view| {
        let style = if view.recent.failures_per_second > 0.0 {
            paint(state, Color::Red)
        } else {
            Style::new()
        };
        Row::new(service_cells(view)).style(style)
    });
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(bold()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut place = TableState::new().with_selected(Some(state.selected));
    frame.render_stateful_widget(table, area, &mut place);
}

fn service_cells(view: &ServiceView) -> [String; 8] {
    let recent = &view.recent;
    [
        clean(&view.name),
        rate(recent.requests_per_second),
        rate(recent.failures_per_second),
        throughput(recent.sent_bytes_per_second),
        throughput(recent.received_bytes_per_second),
        maybe(recent.p50_ms),
        maybe(recent.p99_ms),
        states(view),
    ]
}

fn draw_servers(frame: &mut Frame<'_>, area: Rect, state: &TopState) {
    let servers = state.servers();
    if servers.is_empty() {
        return;
    }
    let header = [
        "SERVER",
        "STATE",
        "INTENDED",
        "GOT",
        "REQ/S",
        "P99",
        "IN FLIGHT",
        "LATENCY",
    ];
    let cells = (area.width.saturating_sub(WITHOUT_BARS) / 2).min(BAR);
    let widths = [
        Constraint::Length(name_width(area)),
        Constraint::Length(11),
        Constraint::Length(cells + 8),
        Constraint::Length(cells + 8),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    // The header takes a line, and so does saying that there are more.
    let room = usize::from(area.height).saturating_sub(1);
    let fits = servers.len() <= room;
    let shown = if fits { room } else { room.saturating_sub(1) };
    let mut rows: Vec<Row<'_>> = servers
        .iter()
        .take(shown)
        .map(|view| Row::new(server_cells(view, cells)).style(look(state, view)))
        .collect();
    if !fits {
        let more = format!("... {} more", servers.len() - shown);
        rows.push(Row::new([more]));
    }
    let table = Table::new(rows, widths).header(Row::new(header).style(bold()));
    frame.render_widget(table, area);
}

fn server_cells(view: &ServerView, cells: u16) -> [String; 8] {
    [
        clean(&view.name),
        clean(&view.state),
        bar(view.share_intended, cells),
        view.share_got
            .map_or_else(|| "-".to_owned(), |got| bar(got, cells)),
        rate(view.recent.requests_per_second),
        maybe(view.recent.p99_ms),
        view.in_flight.to_string(),
        maybe(view.latency_ms),
    ]
}

fn incident_lines(state: &TopState) -> Vec<String> {
    let Some(shown) = &state.shown else {
        return Vec::new();
    };
    let mut lines: Vec<String> = shown
        .incidents
        .iter()
        .take(INCIDENTS)
        .map(incident)
        .collect();
    if shown.incidents.len() > INCIDENTS {
        lines.push(format!("... {} more", shown.incidents.len() - INCIDENTS));
    }
    lines
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let width = HELP.iter().map(|line| line.len()).max().unwrap_or(0);
    let place = Rect {
        x: area.width.saturating_sub(rows(width)) / 2,
        y: area.height.saturating_sub(rows(HELP.len())) / 2,
        width: rows(width).min(area.width),
        height: rows(HELP.len()).min(area.height),
    };
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'_>> = HELP.into_iter().map(Line::from).collect();
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(lines).style(style), place);
}

/// A share as a bar of this many cells, and a number.
fn bar(part: f64, cells: u16) -> String {
    let eighths = (part.clamp(0.0, 1.0) * f64::from(cells) * 8.0).round();
    let text: String = (0..cells)
        .map(|cell| match eighths - f64::from(cell) * 8.0 {
            left if left >= 8.0 => '\u{2588}',
            left if left >= 4.0 => '\u{258c}',
            left if left >= 1.0 => '\u{258f}',
            _ => ' ',
        })
        .collect();
    format!("{text}{:>8}", share(part))
}

/// Names get a fifth of the width.
fn name_width(area: Rect) -> u16 {
    (area.width / 5).clamp(8, 30)
}

/// Green is healthy, red is out of service, yellow is in between.
fn look(state: &TopState, view: &ServerView) -> Style {
    match view.state.as_str() {
        "up" => paint(state, Color::Green),
        "ejected" | "down" => paint(state, Color::Red),
        _ => paint(state, Color::Yellow),
    }
}

fn paint(state: &TopState, colour: Color) -> Style {
    if state.colours {
        Style::new().fg(colour)
    } else {
        Style::new()
    }
}

const fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn maybe(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), duration)
}

fn rows(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::Snapshot;
    use super::super::plain::tests::snapshot;
    use super::*;

    fn drawn(state: &TopState, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(usize::from(width)).map(|cells| {
            let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            format!("{}\n", line.trim_end())
        });
        lines.collect()
    }

    /// Holds a picture against the file of this name. `EVENKEEL_BLESS=1` rewrites the file.
    fn check(name: &str, shown: &str) {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("EVENKEEL_BLESS").is_some() {
            std::fs::write(&path, shown).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == shown, "{name} is different:\n{shown}");
    }

    #[test]
    fn the_screen_matches_the_golden_files() {
        let mut state = TopState::new(true);
        state.take_in(Ok(snapshot()));
        check("top.txt", &drawn(&state, 110, 16));
        state.help = true;
        check("top-help.txt", &drawn(&state, 110, 16));
    }

    #[test]
    fn an_error_is_shown_above_the_last_snapshot() {
        let mut state = TopState::new(false);
        assert!(drawn(&state, 80, 10).starts_with("evenkeel top - asking"));
        state.take_in(Ok(snapshot()));
        state.take_in(Err("no evenkeel \u{1b}[2J answers".to_owned()));
        let shown = drawn(&state, 80, 12);
        assert!(
            shown.starts_with("no evenkeel \\u{1b}[2J answers - trying again\n"),
            "{shown}"
        );
        assert!(shown.contains("shop-1"), "{shown}");
    }

    #[test]
    fn many_servers_and_small_terminals() {
        let mut state = TopState::new(true);
        let mut many = snapshot();
        let one = many.services[0].servers[0].clone();
        many.services[0].servers = vec![one; 1000];
        many.incidents = vec![many.incidents[0].clone(); 9];
        state.take_in(Ok(many));
        let shown = drawn(&state, 100, 30);
        assert!(shown.contains("... 4 more"), "{shown}");
        assert!(
            shown.lines().any(|line| line.starts_with("... 9")),
            "{shown}"
        );
        for (width, height) in [(1, 1), (5, 3), (20, 4), (300, 2)] {
            state.help = !state.help;
            drawn(&state, width, height);
        }
        state.take_in(Ok(Snapshot::default()));
        drawn(&state, 40, 5);
    }

    #[test]
    fn a_bar_has_its_width_whatever_the_share() {
        let full = format!("{} 100.0 %", "\u{2588}".repeat(10));
        assert_eq!(bar(1.0, 10), full);
        assert!(bar(0.0, 10).starts_with("          "));
        assert_eq!(bar(0.5, 10).matches('\u{2588}').count(), 5);
        assert_eq!(bar(7.0, 10).chars().count(), 18);
        assert_eq!(bar(0.5, 0), "  50.0 %");
    }
}
