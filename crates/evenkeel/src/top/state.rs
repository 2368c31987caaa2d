//! The state of the `top` screen, and how keys change it. Pure.

use evenkeel_admin::{ServerView, ServiceView};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Snapshot;

/// The sort key of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// As configured.
    #[default]
    Order,
    Requests,
    P99,
    InFlight,
}

/// Everything that the picture is made of.
#[derive(Debug, Default)]
pub(super) struct TopState {
    /// The latest answer, if there ever was one.
    pub(super) shown: Option<Snapshot>,
    /// Why the latest question was not answered.
    pub(super) trouble: Option<String>,
    pub(super) selected: usize,
    pub(super) sort: Sort,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) colours: bool,
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Order => Self::Requests,
            Self::Requests => Self::P99,
            Self::P99 => Self::InFlight,
            Self::InFlight => Self::Order,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Order => "as configured",
            Self::Requests => "requests/s",
            Self::P99 => "p99",
            Self::InFlight => "in flight",
        }
    }
}

impl TopState {
    pub(super) fn new(colours: bool) -> Self {
        Self {
            colours,
            ..Self::default()
        }
    }

    /// Takes an answer in. While paused what is shown stays.
    pub(super) fn take_in(&mut self, answer: Result<Snapshot, String>) {
        if self.paused {
            return;
        }
        match answer {
            Ok(snapshot) => {
                self.selected = self.selected.min(snapshot.services.len().saturating_sub(1));
                self.shown = Some(snapshot);
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// Does what a key says; false if it says to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return true;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return false,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => {
                let last = self.services().len().saturating_sub(1);
                self.selected = (self.selected + 1).min(last);
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            _ => {}
        }
        true
    }

    pub(super) fn services(&self) -> &[ServiceView] {
        self.shown
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.services)
    }

    /// The service whose servers are shown.
    pub(super) fn service(&self) -> Option<&ServiceView> {
        self.services().get(self.selected)
    }

    /// The servers of the selected service, sorted.
    pub(super) fn servers(&self) -> Vec<&ServerView> {
        let mut servers: Vec<&ServerView> = self
            .service()
            .map_or_else(Vec::new, |service| service.servers.iter().collect());
        let key = |server: &ServerView| match self.sort {
            Sort::Order => 0.0,
            Sort::Requests => server.recent.requests_per_second,
            Sort::P99 => server.recent.p99_ms.unwrap_or(-1.0),
            Sort::InFlight => server.in_flight as f64,
        };
        servers.sort_by(|one, other| key(other).total_cmp(&key(one)));
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain::tests::snapshot;
    use super::*;

    fn key(letter: char) -> KeyEvent {
        KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE)
    }

    #[test]
    fn keys_select_servers_and_quit() {
        let mut state = TopState::new(false);
        assert!(state.press(key('j')), "nothing there yet");
        state.take_in(Ok(snapshot()));
        assert_eq!(state.servers().len(), 3);
        state.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
        state.press(key('j'));
        assert_eq!((state.selected, state.servers().len()), (1, 0));
        state.press(KeyEvent::new(KeyCode::Up, KeyModifiers::NONE));
        state.press(key('k'));
        assert_eq!(state.selected, 0);
        state.press(key('?'));
        assert!(state.help);
        assert!(state.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!state.help, "escape closes the help first");
        assert!(!state.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!state.press(key('q')));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!state.press(control_c));
        assert!(state.press(key('c')), "a letter alone does nothing");
    }

    #[test]
    fn servers_can_be_sorted_and_updates_paused() {
        let mut state = TopState::new(false);
        let mut first = snapshot();
        first.services[0].servers[2].recent.requests_per_second = 500.0;
        state.take_in(Ok(first));
        assert_eq!(state.servers()[0].name, "shop-1");
        state.press(key('s'));
        assert_eq!(state.servers()[0].name, "shop-2");
        state.press(key('p'));
        state.take_in(Ok(Snapshot::default()));
        state.take_in(Err("gone".to_owned()));
        assert!(state.service().is_some() && state.trouble.is_none());
        state.press(key('p'));
        state.take_in(Err("gone".to_owned()));
        assert!(
            state.service().is_some(),
            "the last answer stays to be seen"
        );
        assert_eq!(state.trouble.as_deref(), Some("gone"));
        state.take_in(Ok(Snapshot::default()));
        assert!(state.service().is_none() && state.trouble.is_none());
    }
}
