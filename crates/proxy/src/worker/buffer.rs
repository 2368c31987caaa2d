//! Buffers: taken when bytes have come, given back when they are gone, so that an idle connection owns none.
//!
//! Two sizes. Requests and most answers fit the standard one. A body that keeps filling its buffer gets a large one,
//! since few large reads cost far less than many small ones; large ones are bounded per worker, so that many slow
//! readers cannot take all memory.

use std::cell::RefCell;
use std::rc::Rc;

/// Bytes of a standard buffer.
pub(crate) const STANDARD: usize = 64 * 1024;
/// Bytes of a large buffer.
pub(crate) const LARGE: usize = 512 * 1024;
/// The first buffer of a head that came in parts.
const SMALL: usize = 4 * 1024;
/// Buffers that are kept for the next taker, of each size.
const KEPT: usize = 64;
/// Large buffers in use at the same time, per worker.
const LARGE_IN_USE: usize = 128;

/// Bytes that came and are not yet dealt with.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// A large buffer in use is counted by this reference, which whatever drops the buffer gives back, a panic too.
    in_use: Option<Rc<()>>,
}

impl Buffer {
    fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            start: 0,
            end: 0,
            in_use: None,
        }
    }

    /// What came and is not yet dealt with.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, to be put right in place.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// The unread bytes from `from` to `to` are dealt with, and those behind them follow those before them.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        debug_assert!(from <= to && to <= self.len(), "only what came can be cut");
        if from < to {
            let (from, to) = (self.start + from, self.start + to);
            self.bytes.copy_within(to..self.end, from);
            self.end -= to - from;
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `n` unread bytes are dealt with.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "only what came can be consumed");
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Where new bytes go: what is free at the end, after moving the unread ones to the front if that is needed.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// `n` bytes were put into the spare room.
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.bytes.len(), "no more than the spare room");
    }

    pub(crate) const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The same unread bytes in room for `size`, at least as many as there are.
    fn moved_to(&self, size: usize) -> Self {
        let mut new = Self::new(size.max(self.len()));
        new.bytes[..self.len()].copy_from_slice(self.unread());
        new.end = self.len();
        new
    }

    /// A buffer for a head that came in parts: as small as its bytes allow, doubling as they come.
    pub(crate) fn for_part_of_head(&self) -> Self {
        self.moved_to((self.len() * 2).next_power_of_two().max(SMALL))
    }
}

/// A worker's stock of buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    standard: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
    /// Each large buffer in use holds a reference to it.
    large_in_use: Rc<()>,
}

impl Buffers {
    /// An empty standard buffer.
    pub(crate) fn take(&self) -> Buffer {
        self.standard
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Buffer::new(STANDARD))
    }

    /// A large buffer if there is one left to use; a standard one otherwise.
    pub(crate) fn take_large(&self) -> Buffer {
        if Rc::strong_count(&self.large_in_use) > LARGE_IN_USE {
            return self.take();
        }
        let kept = self.large.borrow_mut().pop();
        let mut buffer = kept.unwrap_or_else(|| Buffer::new(LARGE));
        buffer.in_use = Some(Rc::clone(&self.large_in_use));
        buffer
    }

    /// Takes back a buffer. What is unread in it is gone.
    pub(crate) fn give(&self, mut buffer: Buffer) {
        let stock = match buffer.size() {
            STANDARD => &self.standard,
            LARGE => &self.large,
            _ => return,
        };
        buffer.start = 0;
        buffer.end = 0;
        buffer.in_use = None;
        let mut stock = stock.borrow_mut();
        if stock.len() < KEPT {
            stock.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go_and_room_is_made_at_the_end() {
        let mut buffer = Buffer::new(8);
        buffer.spare()[..8].copy_from_slice(b"abcdefgh");
        buffer.filled(8);
        assert!(buffer.spare().is_empty());
        buffer.consume(6);
        assert_eq!(buffer.spare().len(), 6);
        assert_eq!(buffer.unread(), b"gh");
        buffer.consume(2);
        assert!(buffer.is_empty());
        assert_eq!(buffer.spare().len(), 8);
    }

    #[test]
    fn a_part_of_a_head_moves_to_a_small_buffer_and_grows_from_there() {
        let mut buffer = Buffer::new(STANDARD);
        buffer.spare()[..3].copy_from_slice(b"GET");
        buffer.filled(3);
        let small = buffer.for_part_of_head();
        assert_eq!((small.size(), small.unread()), (SMALL, &b"GET"[..]));
    }

    #[test]
    fn large_buffers_are_bounded_and_come_back() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..=LARGE_IN_USE).map(|_| buffers.take_large()).collect();
        assert_eq!(taken.last().map(Buffer::size), Some(STANDARD));
        taken.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.take_large().size(), LARGE);
    }

    #[test]
    fn large_buffers_that_a_panic_drops_can_be_used_again() {
        let buffers = Buffers::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let taken: Vec<_> = (0..LARGE_IN_USE).map(|_| buffers.take_large()).collect();
            panic!("while {} buffers are held", taken.len());
        }));
        assert!(panicked.is_err());
        let taken: Vec<_> = (0..LARGE_IN_USE).map(|_| buffers.take_large()).collect();
        assert!(taken.iter().all(|buffer| buffer.size() == LARGE));
        assert_eq!(buffers.take_large().size(), STANDARD);
    }
}
