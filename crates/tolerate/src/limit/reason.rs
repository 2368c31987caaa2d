//! What the algorithms share: the reasons for a limit, and its bounds.

/// The reason for the present limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LimitReason {
    /// Nothing was measured yet.
    Initial,
    /// The limit is fixed.
    Fixed,
    /// Requests were as fast as usual at this limit, so it grew.
    Grew,
    /// Requests were slower than usual, so it shrank.
    Shrank,
    /// A request was rejected or timed out, so it shrank.
    Dropped,
    /// Less than half of it was used, which says nothing about a higher limit, so it stayed.
    AppLimited,
    /// It is lowered for a moment to measure the round trip without a queue, or the round trip was measured again.
    Probing,
}

impl LimitReason {
    pub(super) const ALL: [Self; 7] = [
        Self::Initial,
        Self::Fixed,
        Self::Grew,
        Self::Shrank,
        Self::Dropped,
        Self::AppLimited,
        Self::Probing,
    ];

    /// The label in metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Fixed => "fixed",
            Self::Grew => "grew",
            Self::Shrank => "shrank",
            Self::Dropped => "dropped",
            Self::AppLimited => "app-limited",
            Self::Probing => "probing",
        }
    }

    /// `None` if nothing changed.
    pub(super) fn of_change(from: f64, to: f64) -> Option<Self> {
        match to.total_cmp(&from) {
            std::cmp::Ordering::Less => Some(Self::Shrank),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Self::Grew),
        }
    }

    pub(super) fn from_index(index: u8) -> Self {
        let why = Self::ALL.get(usize::from(index));
        why.copied().unwrap_or(Self::Initial)
    }
}

/// `limit`, not below `min` (at least 1), not above `max`; if these contradict each other, `max` wins.
pub(super) const fn bounded(limit: u32, min: u32, max: u32) -> u32 {
    let limit = if limit > min { limit } else { min };
    let limit = if limit < max { limit } else { max };
    if limit > 1 { limit } else { 1 }
}
