//! Copies of programs are made when a server was verified, and started when its service was rolled back.

use std::sync::Arc;

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::ServerId;

use crate::child::Child;
use crate::children::Children;
use crate::previous::{self, Copied};
use crate::program::{self, ProgramFile};

impl Children {
    /// A server was verified: its program is worth a copy, if copies are kept.
    pub(crate) async fn keep_program(self: Arc<Self>, server: ServerId) {
        let (plan, started, known) = {
            let table = self.table();
            let Some(child) = table.children.get(&server) else {
                return;
            };
            let is_kept = previous::folder(&child.plan).is_some();
            if !is_kept || child.runs_copy || child.pid().is_none() {
                return;
            }
            let known = table.previous.get(&server.service);
            let known = known.and_then(|previous| previous.kept().cloned());
            (child.plan.clone(), child.program.files().to_vec(), known)
        };
        let kept = tokio::task::spawn_blocking(move || {
            previous::keep(&plan, &started, known.as_ref(), server.index)
        });
        match kept.await {
            Ok(Ok(Some(file))) => {
                let mut table = self.table();
                table
                    .previous
                    .entry(server.service)
                    .or_default()
                    .keeps(file);
            }
            Ok(Err(error)) => self.say_of(server, |service, server| {
                tracing::warn!(service, server, %error, "no copy of its program can be kept");
            }),
            Ok(Ok(None)) | Err(_) => {}
        }
    }

    /// From now on the copy is started in place of the program that is there now.
    pub(crate) async fn roll_back(&self, server: ServerId) -> Result<String, String> {
        let files = self.program_files(server).await;
        let copied = self.copied(server).await.ok_or(NO_COPY)?;
        let mut table = self.table();
        let previous = table.previous.entry(server.service).or_default();
        previous.rolled_back(files);
        Ok(format!("rolled back to {}", copied.text))
    }

    /// The copy of its program, if there is one.
    pub(crate) async fn copied(&self, server: ServerId) -> Option<Copied> {
        let plan = self.plan_of(server)?;
        let found = tokio::task::spawn_blocking(move || previous::copy(&plan));
        found.await.ok().flatten()
    }

    /// The copy that is to be started in place of these files, if its service was rolled back from them.
    pub(crate) async fn copy_to_start(
        &self,
        server: ServerId,
        files: &[ProgramFile],
    ) -> Option<Copied> {
        let is_instead = {
            let mut table = self.table();
            let previous = table.previous.get_mut(&server.service)?;
            previous.is_instead_of(files)
        };
        if is_instead {
            self.copied(server).await
        } else {
            None
        }
    }

    /// The files of a server's program as they are now.
    pub(crate) async fn program_files(&self, server: ServerId) -> Vec<ProgramFile> {
        let Some(plan) = self.plan_of(server) else {
            return Vec::new();
        };
        let read = tokio::task::spawn_blocking(move || program::files(&plan));
        read.await.unwrap_or_default()
    }

    pub(crate) fn plan_of(&self, server: ServerId) -> Option<ChildPlan> {
        let table = self.table();
        let child: Option<&Child> = table.children.get(&server);
        child.map(|child| child.plan.clone())
    }
}

/// Why there is nothing to go back to.
pub(crate) const NO_COPY: &str =
    "no version has been verified since copies are kept, so there is none to go back to";
