//! Statistics shared by detectors, balancers and reports.

mod ewma;
mod coarse;
mod divergence;
mod histogram;
mod rank;
mod rank_sum;
mod wilson;
mod window;

pub use coarse::CoarseHistogram;
pub use divergence::divergence;
pub use ewma::Ewma;
pub use histogram::Histogram;
pub use rank::{median, quantile};
pub use rank_sum::PooledHistograms;
pub use wilson::wilson_lower_bound;
pub use window::{SlidingWindow, Tally};
