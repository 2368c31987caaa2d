//! The Wilson lower bound: how low a ratio may really be, given the size of the sample.

/// The lower bound of the Wilson score interval at 95 % for `hits` of `total` (Wilson 1927); 0 if nothing was seen.
#[must_use]
pub fn wilson_lower_bound(hits: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (total as f64, hits as f64 / total as f64);
    let centre = p + Z * Z / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - margin) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_has_published_values() {
        assert!((wilson_lower_bound(5, 10) - 0.2366).abs() < 1e-4);
        assert!((wilson_lower_bound(1, 1) - 0.2065).abs() < 1e-4);
        assert!(wilson_lower_bound(0, 50) < 1e-12);
        assert!(wilson_lower_bound(0, 0) < 1e-12);
    }
}
