//! Stories: something breaks in a simulated service, and the resulting incidents are checked.

mod world;
mod common;
mod closed;
mod mitigation;
mod overload;
mod kinds;
mod modes;
mod own;
mod price;
mod poison;
mod processes;
mod starts;
mod rules;
mod members;
mod never_worse;
mod rescue;
mod outlook;
mod plan;
mod success;
mod roll_back;
mod maintenance;
mod truth;
mod proof;
mod onset;
mod slow_burn;
mod together;
