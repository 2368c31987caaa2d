//! What an exchange asks for, answered by the simulation: a worker's own state, the facts of the request, and a record of what the
//! exchange reports.

use std::cell::RefCell;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::rc::Rc;

use evenkeel_balance::{Pick, Picker};
use evenkeel_core::{
    ExactShape, ExactText, ExposureEvent, Instant, Outcome, Random, RequestShape, ServerId,
    ServiceId,
};
use evenkeel_request::exchange::{AttemptReport, Attempts, Count, Host, Revalidate, Services};
use evenkeel_request::head::{Authority, FieldClass, HeaderField, HeaderFields, HttpVersion};
use evenkeel_request::service::{CachedServerSet, Service};
use evenkeel_request::{Policies, RequestView};
use evenkeel_tolerate::HedgeDelay;
use evenkeel_tolerate::inject::{Inject, Injected};

use crate::plan;

/// What only one worker has.
pub(crate) struct Worker<'a> {
    pub(crate) services: &'a [Service],
    random: RefCell<Random>,
    pickers: RefCell<Vec<Picker>>,
    /// By the places of policies, as the next one.
    hedging: RefCell<Vec<Option<HedgeDelay>>>,
    inject: Vec<Option<Inject>>,
    sets: RefCell<Vec<Rc<CachedServerSet>>>,
    /// What happens before (`false`) and after (`true`) each look for a server, on another thread as it were.
    around_picks: RefCell<Option<AroundPicks<'a>>>,
}

/// Called before (`false`) and after (`true`) each look for a server.
pub(crate) type AroundPicks<'a> = Box<dyn FnMut(bool) + 'a>;

/// A request as its client sends it, and what has become of its body.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The place of its route, if it comes by one.
    pub(crate) route: Option<usize>,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) peer: IpAddr,
    pub(crate) is_upgrade: bool,
    /// Its body is larger than what is kept of bodies: once it is sent it cannot be sent again.
    pub(crate) is_large: bool,
    pub(crate) is_lost: bool,
    /// The attempt under way has sent all of it.
    pub(crate) is_sent: bool,
    pub(crate) bytes: u64,
    /// The cache has a response that may be sent at once.
    pub(crate) fresh: Option<Revalidate>,
    /// The cache has a response that may be sent when there is no other one.
    pub(crate) has_stale: bool,
}

/// A header field of a request: name and value.
pub(crate) struct FactField<'a>(&'a str, &'a str);

/// What the exchange has reported in one step.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) selected: Vec<(ServerId, Pick)>,
    pub(crate) ended: Vec<AttemptReport>,
    pub(crate) counted: Vec<(ServerId, Outcome)>,
    pub(crate) broke: Vec<AttemptReport>,
    pub(crate) named: usize,
    pub(crate) exposed: Vec<(ServerId, ExposureEvent)>,
    pub(crate) counts: Vec<(ServiceId, Count)>,
    pub(crate) left: Option<ServiceId>,
    pub(crate) took_fresh: Option<Revalidate>,
    pub(crate) took_stale: bool,
}

pub(crate) struct RequestHost<'h, 'a> {
    pub(crate) worker: &'h Worker<'a>,
    pub(crate) facts: &'h Facts,
    pub(crate) calls: &'h RefCell<Calls>,
}

impl<'a> Worker<'a> {
    /// With the policies of the services and routes, by their places.
    pub(crate) fn new(
        services: &'a [Service],
        policies: &[&Policies],
        random: &mut Random,
    ) -> Self {
        let pickers: Vec<Picker> = services
            .iter()
            .map(|service| Picker::new(service.servers().pool(), random.bits()))
            .collect();
        let places = policies.iter().map(|policies| policies.place);
        assert!(places.eq(0..policies.len() as u32), "each has its place");
        let hedging = (policies.iter()).map(|policies| policies.hedge.map(HedgeDelay::new));
        let inject = (policies.iter()).map(|policies| policies.inject.map(Inject::new));
        let sets = services
            .iter()
            .map(|service| Rc::new(CachedServerSet(service.servers())));
        Self {
            services,
            random: RefCell::new(Random::seeded(random.bits())),
            pickers: RefCell::new(pickers),
            hedging: RefCell::new(hedging.collect()),
            inject: inject.collect(),
            sets: RefCell::new(sets.collect()),
            around_picks: RefCell::new(None),
        }
    }

    pub(crate) fn set_around_picks(&self, around: AroundPicks<'a>) {
        *self.around_picks.borrow_mut() = Some(around);
    }

    fn around_pick(&self, is_after: bool) {
        if let Some(around) = &mut *self.around_picks.borrow_mut() {
            around(is_after);
        }
    }

    fn service(&self, id: ServiceId) -> &'a Service {
        &self.services[id.0 as usize]
    }

    fn servers(&self, id: ServiceId) -> Rc<CachedServerSet> {
        let known = &mut self.sets.borrow_mut()[id.0 as usize];
        if self.service(id).version() != known.version() {
            *known = Rc::new(CachedServerSet(self.service(id).servers()));
        }
        Rc::clone(known)
    }
}

impl Calls {
    pub(crate) fn is_empty(&self) -> bool {
        let lengths = [
            self.selected.len(),
            self.ended.len(),
            self.counted.len(),
            self.broke.len(),
            self.named,
            self.exposed.len(),
            self.counts.len(),
        ];
        lengths == [0; 7] && self.left.is_none()
    }
}

impl Facts {
    /// What identifies a request that crashes servers.
    pub(crate) fn exact_shape(&self) -> ExactShape {
        let keys = BuildHasherDefault::<DefaultHasher>::default();
        ExactShape::of(&keys, self.method.as_bytes(), self.target.as_bytes())
    }

    pub(crate) fn shape(&self) -> RequestShape {
        RequestShape::of(self.method.as_bytes(), self.target.as_bytes())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(field, _)| *field == name)?;
        Some(value)
    }
}

impl RequestView for Facts {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn authority(&self) -> Authority<'_> {
        Authority::Target(b"shop.example")
    }

    fn path_and_query(&self) -> &[u8] {
        self.target.as_bytes()
    }

    fn version(&self) -> HttpVersion {
        HttpVersion::Http11
    }
}

impl HeaderFields for Facts {
    type Field<'a> = FactField<'a>;

    fn fields(&self) -> impl Iterator<Item = FactField<'_>> {
        self.fields
            .iter()
            .map(|(name, value)| FactField(name, value))
    }
}

impl HeaderField for FactField<'_> {
    fn name(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn value(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn class(&self) -> FieldClass {
        FieldClass::Other
    }
}

impl<'a> Services<'a> for RequestHost<'_, 'a> {
    fn service(&self, id: ServiceId) -> &'a Service {
        self.worker.service(id)
    }

    fn servers(&self, id: ServiceId) -> Rc<CachedServerSet> {
        self.worker.servers(id)
    }

    fn count(&self, service: ServiceId, what: Count) {
        self.calls.borrow_mut().counts.push((service, what));
    }
}

impl<'a> Host<'a> for RequestHost<'_, 'a> {
    fn random<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.worker.random.borrow_mut())
    }

    fn picker<T>(&self, id: ServiceId, with: impl FnOnce(&mut Picker) -> T) -> T {
        self.worker.around_pick(false);
        let picked = with(&mut self.worker.pickers.borrow_mut()[id.0 as usize]);
        self.worker.around_pick(true);
        picked
    }

    fn hedging<T>(&self, place: u32, with: impl FnOnce(&mut HedgeDelay) -> T) -> Option<T> {
        self.worker.hedging.borrow_mut()[place as usize]
            .as_mut()
            .map(with)
    }

    fn inject(&self, place: u32) -> Option<Injected> {
        self.worker.inject[place as usize]
            .as_ref()
            .map(Inject::decide)
    }

    fn is_replayable(&self) -> bool {
        !self.facts.is_lost
    }

    fn is_sent(&self) -> bool {
        self.facts.is_sent
    }

    fn held_bytes(&self) -> u64 {
        self.facts.bytes
    }

    fn exact_shape(&self) -> ExactShape {
        self.facts.exact_shape()
    }

    fn exact_text(&self) -> ExactText {
        ExactText::of_head(format!("{} {} ", self.facts.method, self.facts.target).as_bytes())
    }

    fn fresh_response(&mut self, _: ServiceId, _: &Policies, _: Instant) -> Option<Revalidate> {
        self.calls.borrow_mut().took_fresh = self.facts.fresh;
        self.facts.fresh
    }

    fn stale_response(&mut self, _: ServiceId, _: Instant) -> bool {
        self.calls.borrow_mut().took_stale = self.facts.has_stale;
        self.facts.has_stale
    }

    fn selected(&self, server: ServerId, pick: Pick) {
        assert!(
            (server.service.0 as usize) < plan::NAMES.len() && server.index == pick.index,
            "{server:?} was selected for {pick:?}"
        );
        self.calls.borrow_mut().selected.push((server, pick));
    }

    fn attempt_ended(&self, report: &AttemptReport) {
        self.calls.borrow_mut().ended.push(*report);
    }

    fn attempt_counted(&self, server: ServerId, outcome: Outcome) {
        self.calls.borrow_mut().counted.push((server, outcome));
    }

    fn response_broke(&self, report: &AttemptReport) {
        self.calls.borrow_mut().broke.push(*report);
    }

    fn name_shape(&self, shape: RequestShape) {
        assert_eq!(shape, self.facts.shape());
        self.calls.borrow_mut().named += 1;
    }

    fn expose(&self, server: ServerId, _: Instant, shape: ExactShape, what: ExposureEvent) {
        assert_eq!(shape, self.facts.exact_shape());
        self.calls.borrow_mut().exposed.push((server, what));
    }

    fn leaves(&mut self, id: ServiceId, service: &Service, attempts: &Attempts) {
        assert_eq!(service.name(), plan::NAMES[id.0 as usize]);
        assert!(attempts.records().count() <= attempts.attempts() as usize);
        let before = self.calls.borrow_mut().left.replace(id);
        assert_eq!(before, None, "it left twice");
    }
}
