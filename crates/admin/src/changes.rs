//! Changes of the servers of a service: what they take, in a JSON body or in the query, and the order that is made of it.

use evenkeel_core::Endpoint;
use evenkeel_fault::maintenance::OrderTerms;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backend::{AdminBackend, Order, ServerToAdd};
use crate::exchange::{AdminRequest, AdminResponse, StepResult};
use crate::orders::{flag, giver, submit};
use crate::percent::parameters;

/// What is to be changed, as the path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeRoute {
    Add { service: String },
    Remove { service: String, server: String },
    Weight { service: String, server: String },
    MaxRequests { service: String, server: String },
}

impl ChangeRoute {
    /// The method that it takes.
    pub(crate) const fn method(&self) -> &'static str {
        match self {
            Self::Add { .. } => "POST",
            Self::Remove { .. } => "DELETE",
            Self::Weight { .. } | Self::MaxRequests { .. } => "PUT",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddServerBody {
    name: Option<String>,
    address: Endpoint,
    weight: Option<u32>,
    tier: Option<u8>,
    max_requests: Option<u32>,
    #[serde(default)]
    persist: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightBody {
    weight: u32,
    #[serde(default)]
    persist: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaxRequestsBody {
    max_requests: u32,
    #[serde(default)]
    persist: bool,
}

/// Makes the change.
pub(crate) fn carry_out(
    live: &dyn AdminBackend,
    route: ChangeRoute,
    request: &AdminRequest,
) -> StepResult<AdminResponse> {
    let mut terms = OrderTerms::default();
    let order = match route {
        ChangeRoute::Remove { service, server } => {
            let [by, persist] = parameters(&request.query, ["by", "persist"])?;
            terms.by = giver(by)?;
            Order::RemoveServer {
                service,
                server,
                persist: flag("persist", persist.as_deref())?,
            }
        }
        ChangeRoute::Add { service } => {
            let example = r#"{"address": "127.0.0.1:9003", "weight": 1}"#;
            let body: AddServerBody = body(request, &mut terms, example)?;
            Order::AddServer {
                service,
                server: ServerToAdd {
                    name: body.name,
                    address: body.address,
                    weight: body.weight,
                    tier: body.tier,
                    max_requests: body.max_requests,
                },
                persist: body.persist,
            }
        }
        ChangeRoute::Weight { service, server } => {
            let body: WeightBody = body(request, &mut terms, r#"{"weight": 5}"#)?;
            Order::SetWeight {
                service,
                server,
                weight: body.weight,
                persist: body.persist,
            }
        }
        ChangeRoute::MaxRequests { service, server } => {
            let example = r#"{"max_requests": 100}"#;
            let body: MaxRequestsBody = body(request, &mut terms, example)?;
            Order::SetMaxRequests {
                service,
                server,
                max_requests: body.max_requests,
                persist: body.persist,
            }
        }
    };
    submit(live, order, &terms, None)
}

/// The JSON body, and in the query who gives the order.
fn body<T: DeserializeOwned>(
    request: &AdminRequest,
    terms: &mut OrderTerms,
    example: &str,
) -> StepResult<T> {
    let [by] = parameters(&request.query, ["by"])?;
    terms.by = giver(by)?;
    serde_json::from_slice(&request.body).map_err(|error| {
        let why = format!("the body is a JSON object such as {example}: {error}");
        AdminResponse::error(400, &why)
    })
}
