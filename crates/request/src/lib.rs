//! The way of a request, decided.

pub mod route;
