//! A bounded ring that keeps the most recent items.

use std::collections::VecDeque;

/// Keeps the most recent `limit` items.
#[derive(Debug, Clone)]
pub struct Recent<T> {
    items: VecDeque<T>,
    limit: usize,
}

impl<T> Recent<T> {
    /// Keeps at most `limit` items (at least one).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// Adds an item; the oldest goes if there is no room.
    pub fn push(&mut self, item: T) {
        if self.items.len() == self.limit {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    /// Forgets the oldest items as long as `old` says so.
    pub fn forget_while(&mut self, old: impl Fn(&T) -> bool) {
        while self.items.front().is_some_and(&old) {
            self.items.pop_front();
        }
    }

    /// The items, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut recent = Recent::new(2);
        for n in 1..=3 {
            recent.push(n);
        }
        assert_eq!(recent.iter().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(recent.len(), 2);
    }
}
