//! Applies changes to a plan. The owners of running state do the same to what they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, DnsChange, ListOrder, ListenerChange, RestartChanges, ServiceChange};
use crate::plan::{DnsPlan, ListenerPlan, Plan, ServicePlan};

impl Changes {
    /// `plan` with these changes: if they are the difference of `plan` and another one, that other one.
    #[must_use]
    pub fn apply(&self, plan: &Plan) -> Plan {
        let RestartChanges {
            workers,
            admin,
            store,
        } = &self.restart;
        Plan {
            reload: self.reload.unwrap_or(plan.reload),
            workers: workers.unwrap_or(plan.workers),
            admin: admin.as_ref().unwrap_or(&plan.admin).clone(),
            store: store.as_ref().unwrap_or(&plan.store).clone(),
            log: self.log.unwrap_or(plan.log),
            listeners: self.listeners_after(&plan.listeners),
            dns: self.dns_after(&plan.dns),
            services: self.services_after(&plan.services),
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            services,
            listeners,
            dns,
            log,
            reload,
            order,
            restart,
        } = self;
        services.is_empty()
            && listeners.is_empty()
            && dns.is_empty()
            && log.is_none()
            && reload.is_none()
            && *order == ListOrder::default()
            && *restart == RestartChanges::default()
    }

    /// The keys that hold only after a restart.
    #[must_use]
    pub fn needs_restart(&self) -> Vec<&'static str> {
        let RestartChanges {
            workers,
            admin,
            store,
        } = &self.restart;
        let keys = [
            (workers.is_some(), "workers"),
            (admin.is_some(), "admin"),
            (store.is_some(), "store"),
        ];
        let needed = keys.into_iter().filter(|(needed, _)| *needed);
        needed.map(|(_, key)| key).collect()
    }

    /// What can be done without a restart: applied to a running plan, it gives the one that runs then.
    #[must_use]
    pub fn without_restart(self) -> Self {
        Self {
            restart: RestartChanges::default(),
            ..self
        }
    }

    fn services_after(&self, before: &[ServicePlan]) -> Vec<ServicePlan> {
        let (mut gone, mut put, mut added) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for change in &self.services {
            match change {
                ServiceChange::Added(plan) => added.push((**plan).clone()),
                ServiceChange::Removed { id, .. } => {
                    gone.insert(*id);
                }
                ServiceChange::Changed(change) => {
                    put.insert(change.plan.id, change.plan.clone());
                }
            }
        }
        let list = merged(before, &gone, put, added, |service| service.id);
        ordered(list, self.order.services.as_deref(), |service| service.id)
    }

    fn listeners_after(&self, before: &[ListenerPlan]) -> Vec<ListenerPlan> {
        let (mut gone, mut put, mut added) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for change in &self.listeners {
            match change {
                ListenerChange::Added(plan) => added.push((**plan).clone()),
                ListenerChange::Removed { name } => {
                    gone.insert(name.clone());
                }
                ListenerChange::Changed { plan, .. } => {
                    put.insert(plan.name.clone(), (**plan).clone());
                }
            }
        }
        let list = merged(before, &gone, put, added, |one| one.name.clone());
        ordered(list, self.order.listeners.as_deref(), |one| {
            one.name.clone()
        })
    }

    fn dns_after(&self, before: &[DnsPlan]) -> Vec<DnsPlan> {
        let (mut gone, mut put, mut added) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for change in &self.dns {
            match change {
                DnsChange::Added(plan) => added.push(plan.clone()),
                DnsChange::Removed { name } => {
                    gone.insert(name.clone());
                }
                DnsChange::Changed { plan, .. } => {
                    put.insert(plan.name.clone(), plan.clone());
                }
            }
        }
        let list = merged(before, &gone, put, added, |one| one.name.clone());
        ordered(list, self.order.dns.as_deref(), |one| one.name.clone())
    }
}

/// `before` without what is `gone`, with what is `put` in place of what has its key, and with what is `added` at its end.
fn merged<T: Clone, K: Ord>(
    before: &[T],
    gone: &BTreeSet<K>,
    mut put: BTreeMap<K, T>,
    added: Vec<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let stays = before.iter().filter(|item| !gone.contains(&key(item)));
    let stays = stays.map(|item| put.remove(&key(item)).unwrap_or_else(|| item.clone()));
    let mut list: Vec<T> = stays.collect();
    list.extend(added);
    list
}

fn ordered<T, K: Ord + Clone>(
    mut list: Vec<T>,
    order: Option<&[K]>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    if let Some(order) = order {
        let places: BTreeMap<K, usize> = order.iter().cloned().zip(0..).collect();
        list.sort_by_key(|item| places.get(&key(item)).copied());
    }
    list
}
