//! The keys of sticky sessions: read from their files, and made where there are none.

use evenkeel_config::Plan;
use evenkeel_config::plan::StickyKey;

use crate::output::{CommandFailure, Result};

/// The plan with the keys of its sticky services, which are made where there are none.
pub(super) fn with_keys(mut plan: Plan) -> Result<Plan> {
    for service in &mut plan.services {
        let Some(sticky) = &mut service.sticky else {
            continue;
        };
        let key = evenkeel_admin::load_or_create_token(&sticky.key_file).map_err(|error| {
            let (name, file) = (&service.name, sticky.key_file.display());
            CommandFailure::World(format!(
                "service {name}: the key for sticky sessions, {file}: {error}"
            ))
        })?;
        sticky.key = StickyKey(key.into_bytes());
    }
    Ok(plan)
}
