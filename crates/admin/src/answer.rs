//! The admin API as a function: check access, match the route, answer from the [`AdminBackend`].

use evenkeel_core::metric::Sink as _;
use evenkeel_fault::contract::ServerStatus;
use evenkeel_fault::incident::IncidentStatus;

use crate::access::AccessPolicy;
use crate::backend::{AdminBackend, IncidentQuery, LIMIT_MAX, is_since};
use crate::changes;
use crate::exchange::{AdminRequest, AdminResponse, StepResult};
use crate::exposition::Exposition;
use crate::orders;
use crate::percent::{self, parameters};
use crate::route::ApiRoute;

const OPENAPI: &str = include_str!("openapi.json");
const TEXT: &str = "text/plain; charset=utf-8";
/// The period of a report, if nothing is said.
const PERIOD: &str = "30d";
const STATUSES: [IncidentStatus; 6] = [
    IncidentStatus::Open,
    IncidentStatus::Recovering,
    IncidentStatus::Verifying,
    IncidentStatus::AwaitingApproval,
    IncidentStatus::Escalated,
    IncidentStatus::Closed,
];

/// Answers a request.
#[must_use]
pub fn answer(
    live: &dyn AdminBackend,
    request: &AdminRequest,
    guard: &AccessPolicy,
) -> AdminResponse {
    attempt(live, request, guard).unwrap_or_else(|refusal| refusal)
}

fn attempt(
    live: &dyn AdminBackend,
    request: &AdminRequest,
    guard: &AccessPolicy,
) -> StepResult<AdminResponse> {
    let path = percent::path(&request.path);
    let route = path.as_deref().and_then(ApiRoute::of);
    let admitted = guard.admit(request);
    // Whoever looks after the machine may know whether this lives, by any name and without a token.
    if !matches!(route, Some(ApiRoute::Live | ApiRoute::Ready)) {
        admitted.clone()?;
    }
    let Some(route) = route else {
        return Err(match path {
            None => AdminResponse::error(400, "the path cannot be read"),
            Some(_) => AdminResponse::error(404, "not found; /api/openapi.json lists all paths"),
        });
    };
    if !route.takes(&request.method) {
        let allow = route.allow();
        let refusal = AdminResponse::error(405, &format!("allowed methods: {allow}"));
        return Err(AdminResponse {
            allow: Some(allow),
            ..refusal
        });
    }
    match route {
        ApiRoute::Services => Ok(AdminResponse::json(&live.services())),
        ApiRoute::Service(name) => service(live, &name),
        ApiRoute::Why(name) => live
            .why(&name)
            .map(|why| AdminResponse::json(&why))
            .ok_or_else(|| AdminResponse::no_service(&name)),
        ApiRoute::Incidents => {
            let filter = filter(&request.query)?;
            Ok(AdminResponse::json(
                &live.incidents(&filter).map_err(|why| unreadable(&why))?,
            ))
        }
        ApiRoute::Incident(id) => match live.incident(&id).map_err(|why| unreadable(&why))? {
            Some(incident) => Ok(AdminResponse::json(&incident)),
            None => Err(AdminResponse::no_incident(&id)),
        },
        ApiRoute::Report => {
            let [since] = parameters(&request.query, ["since"])?;
            let since = checked_since(since)?.unwrap_or_else(|| PERIOD.to_owned());
            Ok(AdminResponse::json(
                &live.report(&since).map_err(|why| unreadable(&why))?,
            ))
        }
        ApiRoute::Metrics => Ok(metrics(live)),
        ApiRoute::Live => Ok(health("live", live.alive(), admitted.is_ok())),
        ApiRoute::Ready => Ok(health("ready", live.ready(), admitted.is_ok())),
        ApiRoute::OpenApi => Ok(openapi(live)),
        ApiRoute::Status => Ok(AdminResponse::json(&live.instance())),
        ApiRoute::Configuration => {
            // Environments and headers may hold secrets.
            guard.authorize(request)?;
            let [all] = parameters(&request.query, ["all"])?;
            let all = orders::flag("all", all.as_deref())?;
            Ok(AdminResponse::json(&live.configuration(all)))
        }
        ApiRoute::Change(change) => {
            guard.authorize(request)?;
            changes::carry_out(live, change, request)
        }
        ApiRoute::Order(order) => {
            guard.authorize(request)?;
            orders::carry_out(live, order, &request.query)
        }
    }
}

fn service(live: &dyn AdminBackend, name: &str) -> StepResult<AdminResponse> {
    let services = live.services();
    match services.iter().find(|service| service.name == name) {
        Some(service) => Ok(AdminResponse::json(service)),
        None => Err(AdminResponse::no_service(name)),
    }
}

fn health(word: &str, state: Result<(), String>, may_know_why: bool) -> AdminResponse {
    match state {
        Ok(()) => AdminResponse::new(200, TEXT, format!("{word}\n")),
        Err(why) if may_know_why => AdminResponse::new(503, TEXT, format!("not {word}: {why}\n")),
        Err(_) => AdminResponse::new(503, TEXT, format!("not {word}\n")),
    }
}

fn metrics(live: &dyn AdminBackend) -> AdminResponse {
    let mut page = Exposition::default();
    page.gauge(
        "evenkeel_build_info",
        "Always 1; the version is in the label.",
        &[("version", &live.version())],
        1.0,
    );
    page.gauge(
        "evenkeel_uptime_seconds",
        "Since the program started.",
        &[],
        live.uptime().as_secs_f64(),
    );
    for service in live.services() {
        page.gauge(
            "evenkeel_service_maintenance",
            "1 while the service is in maintenance, else 0.",
            &[("service", &service.name)],
            f64::from(u8::from(service.maintenance.is_some())),
        );
        for state in ServerStatus::ALL {
            let labels = [("service", service.name.as_str()), ("state", state.word())];
            let number = service.servers_by_state.get(state.word());
            page.gauge(
                "evenkeel_servers",
                "Servers of a service, by state.",
                &labels,
                number.copied().unwrap_or(0) as f64,
            );
        }
        for server in &service.servers {
            page.gauge(
                "evenkeel_server_share_intended",
                "The intended share of the service's attempts for a server.",
                &[("service", &service.name), ("server", &server.name)],
                server.share_intended,
            );
            for state in ServerStatus::ALL {
                let labels = [
                    ("service", service.name.as_str()),
                    ("server", &server.name),
                    ("state", state.word()),
                ];
                let holds = if state.word() == server.state {
                    1.0
                } else {
                    0.0
                };
                page.gauge(
                    "evenkeel_server_state",
                    "1 for the current state of a server, else 0.",
                    &labels,
                    holds,
                );
            }
        }
    }
    live.collect(&mut page);
    AdminResponse::new(200, Exposition::CONTENT_TYPE, page.text())
}

fn openapi(live: &dyn AdminBackend) -> AdminResponse {
    let mut description: serde_json::Value = match serde_json::from_str(OPENAPI) {
        Ok(description) => description,
        Err(error) => return AdminResponse::error(500, &error.to_string()),
    };
    description["info"]["version"] = live.version().into();
    AdminResponse::json(&description)
}

fn filter(query: &str) -> StepResult<IncidentQuery> {
    let [service, since, status, limit] =
        parameters(query, ["service", "since", "status", "limit"])?;
    if let Some(given) = &status
        && !STATUSES.iter().any(|status| status.word() == given)
    {
        let words = STATUSES.map(IncidentStatus::word).join(", ");
        return Err(AdminResponse::error(
            400,
            &format!("status is one of {words}; got {given:?}"),
        ));
    }
    let limit = match limit {
        None => IncidentQuery::default().limit,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                AdminResponse::error(
                    400,
                    &format!("limit is a number from 1 to {LIMIT_MAX}; got {text:?}"),
                )
            })?,
    };
    Ok(IncidentQuery {
        service,
        since: checked_since(since)?,
        status,
        limit,
    })
}

fn checked_since(since: Option<String>) -> StepResult<Option<String>> {
    match since {
        Some(text) if !is_since(&text) => {
            let why = format!(
                "since is a date, a timestamp (RFC 3339), or an age like 30d, 12h, 90m; got {text:?}"
            );
            Err(AdminResponse::error(400, &why))
        }
        since => Ok(since),
    }
}

fn unreadable(why: &str) -> AdminResponse {
    AdminResponse::error(503, &format!("incidents cannot be read: {why}"))
}
