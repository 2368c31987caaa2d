//! Stories: something is broken in a small world, and what the keeper makes of it is read in its incidents.

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
