//! What an operator should know about evenkeel's configuration, above the services.

use super::{clean, to_the_second};
use crate::instance::{InstanceView, RuntimeChangeView};

/// The last reload if it was refused, and the changes that were made at run time; only those of `service`, if one is named.
#[must_use]
pub fn instance(view: &InstanceView, service: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(refused) = &view.refused_reload {
        let (at, why) = (to_the_second(&refused.at), clean(&refused.reason));
        let advice = clean(&refused.advice);
        text += &format!("! the last reload was refused at {at} UTC: {why}\n  {advice}\n");
    }
    let changes = view.runtime_changes.iter();
    for change in changes.filter(|change| service.is_none_or(|service| change.service == service)) {
        text += &format!("~ {}\n", runtime_change(change));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// A change that was made at run time, when and by whom, and for how long it holds.
#[must_use]
pub fn runtime_change(change: &RuntimeChangeView) -> String {
    let mut facts = String::from("API");
    if !change.at.is_empty() {
        facts += &format!(", {} UTC", to_the_second(&change.at));
    }
    if let Some(by) = &change.by {
        facts += &format!(", by {}", clean(by));
    }
    let lasts = match (change.in_force, change.kept) {
        (true, true) => "kept over restarts",
        (true, false) => "until evenkeel is restarted",
        (false, _) => "not in force now, but again after a restart",
    };
    format!("{} ({facts}; {lasts})", clean(&change.text))
}
