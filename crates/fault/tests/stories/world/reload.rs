//! Reloads: the configuration is changed, and with it the servers.

use evenkeel_core::{Instant, ServerId};
use evenkeel_fault::contract::{Managed, ProbePace, ServerSpec, ServiceSpec};
use evenkeel_fault::{Input, PlanChange, ServerUpdate, ServiceUpdate};

use super::World;
use super::servers::{Condition, Sim};

impl World {
    /// The configuration is changed by `edit`, and the processes of these servers are to be replaced for it.
    pub(crate) fn reload(&mut self, edit: impl FnOnce(&mut ServiceSpec), outdated: &[u32]) {
        let before = self.service.clone();
        edit(&mut self.service);
        let spec = self.service.clone();
        self.spec = spec.options.clone();
        let servers = updates(&before.servers, &spec.servers);
        for (index, update) in &servers {
            self.update_sim(*index as usize, *update);
        }
        let outdated = outdated.iter().map(|index| ServerId::new(0, *index));
        self.feed(vec![Input::Plan(Box::new(PlanChange {
            services: vec![ServiceUpdate::Changed { spec, servers }],
            outdated: outdated.collect(),
        }))]);
    }

    /// The whole service is removed.
    pub(crate) fn remove_service(&mut self) {
        for index in 0..self.sims.len() {
            self.update_sim(index, ServerUpdate::Removed);
        }
        self.feed(vec![Input::Plan(Box::new(PlanChange {
            services: vec![ServiceUpdate::Removed(self.service.id)],
            outdated: Vec::new(),
        }))]);
    }

    fn update_sim(&mut self, index: usize, update: ServerUpdate) {
        match update {
            ServerUpdate::Changed => {}
            ServerUpdate::Removed => {
                let sim = &mut self.sims[index];
                sim.is_gone = true;
                sim.pace = ProbePace::Paused;
                sim.dies_at = Instant::NEVER;
            }
            ServerUpdate::Added | ServerUpdate::Replaced => {
                let managed = self.service.servers[index].managed;
                if self.sims.len() <= index {
                    self.sims.push(Sim::new(managed));
                }
                let sim = Sim {
                    next_probe: self.now,
                    ..Sim::new(managed)
                };
                self.sims[index] = sim;
                if managed == Managed::Child {
                    self.start(index, Condition::Well, 10);
                }
            }
        }
    }

    /// A server more, as one is configured.
    pub(crate) fn another(&self, name: &str) -> ServerSpec {
        ServerSpec {
            name: name.to_owned(),
            address: Some(format!("127.0.0.1:{}", 9101 + self.sims.len())),
            ..self.service.servers[0].clone()
        }
    }
}

/// What has become of each server, as the configuration's comparison tells it.
fn updates(before: &[ServerSpec], after: &[ServerSpec]) -> Vec<(u32, ServerUpdate)> {
    let update = |(index, after): (u32, &ServerSpec)| {
        let vacant = ServerSpec::vacant();
        let before = before.get(index as usize).unwrap_or(&vacant);
        let update = match (before.is_vacant(), after.is_vacant()) {
            (true, true) => return None,
            (true, false) => ServerUpdate::Added,
            (false, true) => ServerUpdate::Removed,
            (false, false) if before.address != after.address => ServerUpdate::Replaced,
            (false, false) if before != after => ServerUpdate::Changed,
            (false, false) => return None,
        };
        Some((index, update))
    };
    (0_u32..).zip(after).filter_map(update).collect()
}
