//! Puts what was changed at run time into the settings of the file, with the API as its origin.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Origin, Setting, Settings};
use crate::change::{AddedServer, OverlaidNumber, Overlay, ServiceOverlay};
use crate::defaults;

impl Settings {
    /// These settings, which are those of the file, with the changes of `overlay` that hold: see
    /// [`apply_overlay`](crate::change::apply_overlay).
    #[must_use]
    pub fn with_overlay(mut self, overlay: &Overlay) -> Self {
        let Some(services) = self.root.key_mut("service") else {
            return self;
        };
        for (name, changes) in &overlay.services {
            if let Some(service) = services.key_mut(name) {
                put_changes(service, changes);
            }
        }
        self
    }

    /// The bound on concurrent requests of servers of this service that have none of their own; 0: none.
    #[must_use]
    pub fn common_bound(&self, service: &str) -> u32 {
        let services = self.root.key("service");
        let limit = services.and_then(|services| services.key(service)?.key("limit"));
        let value = |setting: Option<&Setting>| match setting {
            Some(Setting::Value(value, _)) => Some(value.clone()),
            Some(Setting::Table { .. } | Setting::List(_)) | None => None,
        };
        let number = |value: &Json| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let Some(common) = value(limit.and_then(|limit| limit.key("concurrency"))) else {
            return 0;
        };
        // Otherwise it is `adaptive`, whose upper bound this is.
        number(&common).unwrap_or_else(|| {
            let max = limit.and_then(|limit| limit.key("adaptive")?.key("max"));
            let max = value(max).and_then(|max| number(&max));
            max.unwrap_or(defaults::ADAPTIVE_MAX.value)
        })
    }
}

fn put_changes(service: &mut Setting, changes: &ServiceOverlay) {
    if service.key("servers").is_none()
        && let Setting::Table { entries, .. } = service
    {
        entries.insert(0, ("servers".to_owned(), Setting::List(Vec::new())));
    }
    let Some(Setting::List(servers)) = service.key_mut("servers") else {
        return;
    };
    let name = |server: &Setting| {
        server
            .key("name")
            .and_then(Setting::text)
            .map(str::to_owned)
    };
    servers.retain(|server| name(server).is_none_or(|name| !changes.removed.contains_key(&name)));
    for server in servers.iter_mut() {
        let Some(name) = name(server) else { continue };
        let mut put = |key: &str, numbers: &BTreeMap<String, OverlaidNumber>| {
            if let Some(number) = numbers.get(&name) {
                server.put(key, number.value.into(), Origin::Api);
            }
        };
        put("weight", &changes.weights);
        put("max_requests", &changes.max_requests);
    }
    servers.extend(changes.added.iter().map(added));
}

fn added(server: &AddedServer) -> Setting {
    let value = |value: Json| Setting::Value(value, Origin::Api);
    let mut entries = vec![
        ("name", value(server.name.clone().into())),
        ("address", value(server.address.to_string().into())),
        ("weight", value(server.weight.into())),
        ("tier", value(server.tier.into())),
    ];
    if server.max_requests > 0 {
        entries.push(("max_requests", value(server.max_requests.into())));
    }
    let entries = entries.into_iter();
    Setting::Table {
        entries: entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        typed: true,
    }
}
