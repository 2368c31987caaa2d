//! The ids of requests.

/// A request's id: 64 random bits of its worker, and its number there.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    worker: u64,
    number: u64,
}

impl RequestId {
    /// The id of a worker's request: `worker` are the worker's random bits, `number` is the request's number there, of which the
    /// lower 32 bits count.
    #[must_use]
    pub const fn new(worker: u64, number: u64) -> Self {
        Self { worker, number }
    }

    /// Appends its 24 hexadecimal digits.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        let parts = [self.worker >> 32, self.worker, self.number].map(digits);
        out.extend_from_slice(parts.as_flattened());
    }
}

/// The lower half as eight hexadecimal digits, the highest first: all at once, one in each byte.
const fn digits(bits: u64) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let mut spread = bits & 0xffff_ffff;
    spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | (spread << 4)) & (ONES * 0x0f);
    let are_letters = ((spread + ONES * 6) >> 4) & ONES;
    let letters = are_letters * (b'a' - b'9' - 1) as u64;
    (spread + ONES * b'0' as u64 + letters).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_24_digits() {
        for (id, expected) in [
            (RequestId::new(0, 0), "000000000000000000000000"),
            (
                RequestId::new(0x0123_4567_89ab_cdef, 0xff_fedc_ba98),
                "0123456789abcdeffedcba98",
            ),
        ] {
            let mut out = Vec::new();
            id.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
