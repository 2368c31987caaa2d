//! Routes of the admin API.

use crate::backend::Order;
use crate::changes::ChangeRoute;

/// The route of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiRoute {
    Services,
    Service(String),
    Why(String),
    Incidents,
    Incident(String),
    Report,
    Metrics,
    Live,
    Ready,
    OpenApi,
    Status,
    Configuration,
    Order(Order),
    Change(ChangeRoute),
}

impl ApiRoute {
    /// The route of a decoded path.
    pub(crate) fn of(path: &[String]) -> Option<Self> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match *parts.as_slice() {
            ["api", "services"] => Self::Services,
            ["api", "services", service] => Self::Service(service.to_owned()),
            ["api", "services", service, "why"] => Self::Why(service.to_owned()),
            ["api", "services", service, "maintenance"] => Self::Order(Order::Maintenance {
                service: service.to_owned(),
                on: true,
            }),
            ["api", "services", service, "quarantine", "lift"] => {
                Self::Order(Order::LiftQuarantine {
                    service: service.to_owned(),
                })
            }
            ["api", "services", service, "servers"] => Self::Change(ChangeRoute::Add {
                service: service.to_owned(),
            }),
            ["api", "services", service, "servers", server] => Self::Change(ChangeRoute::Remove {
                service: service.to_owned(),
                server: server.to_owned(),
            }),
            ["api", "services", service, "servers", server, "weight"] => {
                Self::Change(ChangeRoute::Weight {
                    service: service.to_owned(),
                    server: server.to_owned(),
                })
            }
            [
                "api",
                "services",
                service,
                "servers",
                server,
                "max-requests",
            ] => Self::Change(ChangeRoute::MaxRequests {
                service: service.to_owned(),
                server: server.to_owned(),
            }),
            ["api", "services", service, "servers", server, verb] => Self::Order(order_on_server(
                service.to_owned(),
                server.to_owned(),
                verb,
            )?),
            ["api", "incidents"] => Self::Incidents,
            ["api", "incidents", id] => Self::Incident(id.to_owned()),
            ["api", "incidents", id, verb] => Self::Order(order_on_incident(id.to_owned(), verb)?),
            ["api", "report"] => Self::Report,
            ["api", "status"] => Self::Status,
            ["api", "configuration"] => Self::Configuration,
            ["api", "reload"] => Self::Order(Order::Reload { check: false }),
            ["api", "openapi.json"] => Self::OpenApi,
            ["metrics"] => Self::Metrics,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            _ => return None,
        })
    }

    /// The methods that it takes, as `Allow` lists them.
    pub(crate) const fn allow(&self) -> &'static str {
        match self {
            Self::Order(_) => "POST",
            Self::Change(change) => change.method(),
            _ => "GET, HEAD",
        }
    }

    /// Whether it takes this method.
    pub(crate) fn takes(&self, method: &str) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method)
    }
}

fn order_on_server(service: String, server: String, verb: &str) -> Option<Order> {
    Some(match verb {
        "drain" => Order::Drain { service, server },
        "restore" => Order::Restore { service, server },
        "eject" => Order::Eject { service, server },
        "restart" => Order::Restart { service, server },
        _ => return None,
    })
}

fn order_on_incident(id: String, verb: &str) -> Option<Order> {
    Some(match verb {
        "approve" => Order::Approve(id),
        "reject" => Order::Reject(id),
        "close" => Order::Close(id),
        _ => return None,
    })
}
