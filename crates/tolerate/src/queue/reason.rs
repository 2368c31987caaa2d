//! Why an entry left the queue: each reason has a count of its own.

/// How an entry left the queue. Each leaves once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DequeueReason {
    /// Its turn came in time: serve it.
    Served,
    /// Its deadline has passed.
    Expired,
    /// It waited too long while all others did too.
    ShedLate,
    /// The queue was full and an entry of a higher class came.
    ShedFull,
    /// Its owner cancelled it.
    Cancelled,
}

impl DequeueReason {
    /// All, in the order of their counts.
    pub const ALL: [Self; 5] = [
        Self::Served,
        Self::Expired,
        Self::ShedLate,
        Self::ShedFull,
        Self::Cancelled,
    ];

    /// The label in metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Expired => "expired",
            Self::ShedLate => "shed-codel",
            Self::ShedFull => "shed-full",
            Self::Cancelled => "cancelled",
        }
    }
}
