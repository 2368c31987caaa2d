//! Copies programs when a server has been verified, and starts the copies when a service is rolled back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::{ProgramChange, ServerId};

use crate::child::Child;
use crate::children::Children;
use crate::previous::{self, KeptCopy, ProgramPath};
use crate::program::{self, ProgramFile};
use crate::roll_backs::{NO_COPY, RollBacks};

impl Children {
    /// A server was verified: its program is worth a copy, if copies are kept.
    pub(crate) async fn keep_program(self: Arc<Self>, server: ServerId) {
        let (plan, started) = {
            let mut table = self.table();
            let Some(child) = table.children.get_mut(&server) else {
                return;
            };
            child.verified();
            let is_kept = previous::folder(&child.plan).is_some();
            if !is_kept || child.runs_copy || child.pid().is_none() {
                return;
            }
            (child.plan.clone(), child.program.files().to_vec())
        };
        let kept =
            tokio::task::spawn_blocking(move || previous::keep(&plan, &started, server.index));
        if let Ok(Err(error)) = kept.await {
            self.with_names(server, |service, server| {
                tracing::warn!(service, server, %error, "its program cannot be copied");
            });
        }
    }

    /// From now on the process is started as before its configuration was changed, if no process of the new one was verified.
    /// Whether it is.
    pub(crate) fn go_back(&self, server: ServerId) -> bool {
        let mut table = self.table();
        table.children.get_mut(&server).is_some_and(Child::go_back)
    }

    /// From now on the copy is started in place of the program that is there now.
    pub(crate) async fn roll_back(&self, server: ServerId) -> Result<String, String> {
        let (plan, roll_backs) = self.plan_and_stand_ins(server).ok_or(NO_COPY)?;
        let rolled_back = tokio::task::spawn_blocking(move || locked(&roll_backs).roll_back(&plan));
        rolled_back.await.map_err(|error| error.to_string())?
    }

    /// The copy of its program, if there is one.
    pub(crate) async fn copied(&self, server: ServerId) -> Option<KeptCopy> {
        let plan = self.plan_of(server)?;
        let found = tokio::task::spawn_blocking(move || ProgramPath::of(&plan)?.copied());
        found.await.ok().flatten()
    }

    /// The copy that is to be started in place of a server's program, if that was rolled back and is still there.
    pub(crate) async fn copy_to_start(&self, server: ServerId) -> Option<KeptCopy> {
        let (plan, roll_backs) = self.plan_and_stand_ins(server)?;
        previous::folder(&plan)?;
        let found = tokio::task::spawn_blocking(move || locked(&roll_backs).copy_to_start(&plan));
        let copied = found.await.ok().flatten()?;
        self.with_names(server, |service, server| {
            let text = &copied.text;
            tracing::warn!(
                service,
                server,
                "it is started from {text}: the installed file could not start"
            );
        });
        Some(copied)
    }

    /// The files of a server's program as they are now.
    pub(crate) async fn program_files(&self, server: ServerId) -> Vec<ProgramFile> {
        let Some(plan) = self.plan_of(server) else {
            return Vec::new();
        };
        let read = tokio::task::spawn_blocking(move || program::files(&plan));
        read.await.unwrap_or_default()
    }

    /// What of a server's program has been changed since its process was last started.
    pub(crate) async fn changed_since(&self, server: ServerId) -> Option<ProgramChange> {
        let files = self.program_files(server).await;
        let table = self.table();
        table.children.get(&server)?.program.difference(&files)
    }

    pub(crate) fn plan_of(&self, server: ServerId) -> Option<ChildPlan> {
        let table = self.table();
        let child: Option<&Child> = table.children.get(&server);
        child.map(|child| child.plan.clone())
    }

    fn plan_and_stand_ins(&self, server: ServerId) -> Option<(ChildPlan, Arc<Mutex<RollBacks>>)> {
        let plan = self.plan_of(server)?;
        Some((plan, Arc::clone(&self.table().roll_backs)))
    }
}

/// Held while files are inspected, so that the findings of one thread are not overwritten by older ones of another.
/// Blocks.
fn locked(roll_backs: &Mutex<RollBacks>) -> MutexGuard<'_, RollBacks> {
    roll_backs.lock().unwrap_or_else(PoisonError::into_inner)
}
