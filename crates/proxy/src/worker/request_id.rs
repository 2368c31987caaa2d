//! The ids of requests.

/// A request's id: 64 random bits of its worker, and its number there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub(super) u64, pub(super) u64);

impl RequestId {
    /// Its 24 hexadecimal digits.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let parts = [self.0 >> 32, self.0, self.1].map(digits);
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
impl RequestId {
    pub(crate) const fn for_tests() -> Self {
        Self(1, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_24_digits() {
        for (id, expected) in [
            (RequestId(0, 0), "000000000000000000000000"),
            (
                RequestId(0x0123_4567_89ab_cdef, 0xff_fedc_ba98),
                "0123456789abcdeffedcba98",
            ),
        ] {
            let mut out = Vec::new();
            id.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
