//! How far a share that was seen lies from the probability that was expected.

/// The divergence of a share from a probability, from 0 (equal) up (Kullback and Leibler 1951): `q ln(q/p) + (1−q) ln((1−q)/(1−p))`.
///
/// By the bound of Chernoff and Hoeffding (Hoeffding 1963, theorem 1), `n` independent events of probability *p* show a share of *q* or one
/// still further from it, on the same side, with probability at most exp(−*n*·divergence), however few they are.
///
/// Both are from 0 to 1. What is sure (`probability` 0 or 1) is infinitely far from all other shares.
#[must_use]
pub fn divergence(share: f64, probability: f64) -> f64 {
    let part = |seen: f64, expected: f64| {
        if seen > 0.0 {
            seen * (seen / expected).ln()
        } else {
            0.0
        }
    };
    (part(share, probability) + part(1.0 - share, 1.0 - probability)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_are_those_of_the_formula() {
        assert!((divergence(0.5, 0.25) - 0.143_841).abs() < 1e-6);
        assert!((divergence(0.1, 0.2) - 0.036_690).abs() < 1e-6);
        assert!((divergence(1.0, 0.5) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((divergence(0.0, 0.5) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(divergence(0.3, 0.3) < 1e-12 && divergence(1.0, 1.0) < 1e-12);
        assert!(divergence(0.5, 1.0).is_infinite() && divergence(0.5, 0.0).is_infinite());
    }
}
