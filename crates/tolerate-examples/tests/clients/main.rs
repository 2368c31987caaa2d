//! Other people's clients under a policy, each against a real server on loopback that fails first. One program for all of them,
//! since linking them takes longer than running them.

mod load_balance;
mod server;
mod with_hyper;
mod with_reqwest;
mod with_sqlx;
mod with_tonic;
