//! A bit per member: whether it may be picked. One lookup, regardless of the size of the pool.

/// Bits by member.
#[derive(Debug, Default)]
pub(crate) struct MemberBits(Vec<u64>);

impl MemberBits {
    /// Marks these and no others.
    pub(crate) fn set(&mut self, list: &[u32]) {
        self.0.clear();
        for &index in list {
            let word = index as usize / 64;
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= 1 << (index % 64);
        }
    }

    /// Whether it is marked.
    pub(crate) fn has(&self, index: u32) -> bool {
        let word = self.0.get(index as usize / 64);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_list_is_marked() {
        let mut marks = MemberBits::default();
        marks.set(&[0, 63, 64, 200]);
        marks.set(&[63, 65]);
        let marked: Vec<u32> = (0..300).filter(|&index| marks.has(index)).collect();
        assert_eq!(marked, [63, 65]);
    }
}
