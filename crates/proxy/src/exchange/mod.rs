//! A request on its way: carries out what [`evenkeel_request::exchange`] decides.

pub(crate) mod io;
pub(crate) mod destination;
pub(crate) mod context;
pub(crate) mod host;
pub(crate) mod access;
pub(crate) mod beside;
pub(crate) mod cached;
pub(crate) mod hedge;
pub(crate) mod attempt;
pub(crate) mod relay;
pub(crate) mod tunnel;
pub(crate) mod commit;
pub(crate) mod pass_on;
pub(crate) mod finish;
pub(crate) mod drive;
pub(crate) mod runner;
pub(crate) mod serve;
