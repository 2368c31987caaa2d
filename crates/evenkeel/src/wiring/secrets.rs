//! Small files of the state directory that evenkeel has read at its start: the admin token and the keys for sticky
//! sessions. If one is removed while evenkeel runs, the same content is written again, so that its holders keep their
//! access.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_runtime::Clock;

use super::reload::Reloads;

/// How often it is seen to that they are there.
const EVERY: Duration = Duration::from_secs(5);

/// A file and what belongs into it.
#[derive(Debug)]
struct Secret {
    file: PathBuf,
    content: String,
}

/// The files whose content is known: the admin token, and the keys of the plan that runs.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    reloads: Reloads,
    token: Arc<str>,
}

impl Secrets {
    /// Without a token only those of the plan.
    pub(super) fn new(reloads: Reloads, token: &str) -> Self {
        Self {
            reloads,
            token: token.into(),
        }
    }

    fn list(&self) -> Vec<Secret> {
        let plan = self.reloads.plan();
        let token = (!self.token.is_empty()).then(|| Secret {
            file: plan.admin.token_file.clone(),
            content: self.token.to_string(),
        });
        let keys = plan.services.iter().filter_map(|service| {
            let sticky = service.sticky.as_ref()?;
            Some(Secret {
                file: sticky.key_file.clone(),
                content: String::from_utf8(sticky.key.0.clone()).ok()?,
            })
        });
        keys.chain(token).collect()
    }

    /// Sees to it that they are there, for ever.
    pub(super) async fn keep(self, clock: Clock) {
        // Logged when it begins to fail, not each time.
        let mut failing = false;
        loop {
            clock.sleep_until(clock.now() + EVERY).await;
            let secrets = self.clone();
            // The disk may be slow.
            let looked = tokio::task::spawn_blocking(move || secrets.write_missing()).await;
            match looked {
                Ok(Ok(())) => failing = false,
                Ok(Err(why)) if !failing => {
                    failing = true;
                    tracing::error!("{why}");
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    fn write_missing(&self) -> Result<(), String> {
        for Secret { file, content } in self.list() {
            match evenkeel_admin::write_missing_token(&file, &content) {
                Ok(false) => {}
                Ok(true) => tracing::warn!(
                    "{} was removed while in use; it was written again with the same content",
                    file.display()
                ),
                Err(error) => {
                    let file = file.display();
                    return Err(format!(
                        "{file} was removed while in use and cannot be written again: {error}"
                    ));
                }
            }
        }
        Ok(())
    }
}
