//! Small files of the state directory that evenkeel has read at its start: the admin token and the keys for sticky
//! sessions. If one is removed while evenkeel runs, the same content is written again, so that its holders keep their
//! access.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_runtime::Clock;

/// How often it is seen to that they are there.
const EVERY: Duration = Duration::from_secs(5);

/// A file and what belongs into it.
#[derive(Debug)]
struct Secret {
    file: PathBuf,
    content: String,
}

/// The files of a plan whose content is known.
#[derive(Debug, Clone)]
pub(super) struct Secrets(Arc<Vec<Secret>>);

impl Secrets {
    /// Those of `plan`, with the admin token if there is one.
    pub(super) fn new(plan: &Plan, token: &str) -> Self {
        let token = (!token.is_empty()).then(|| Secret {
            file: plan.admin.token_file.clone(),
            content: token.to_owned(),
        });
        let keys = plan.services.iter().filter_map(|service| {
            let sticky = service.sticky.as_ref()?;
            Some(Secret {
                file: sticky.key_file.clone(),
                content: String::from_utf8(sticky.key.0.clone()).ok()?,
            })
        });
        Self(Arc::new(keys.chain(token).collect()))
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
        for Secret { file, content } in self.0.iter() {
            match evenkeel_admin::write_missing_token(file, content) {
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
