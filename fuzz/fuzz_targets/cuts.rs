//! Bytes that come in parts: what is made of them may not depend on where they are cut.

/// The same bytes whole and in the parts that the first four choose, and byte by byte: `read` makes the same of them. What it makes.
pub fn cut_anywhere<T: PartialEq + std::fmt::Debug>(
    input: &[u8],
    read: impl Fn(&[&[u8]]) -> T,
) -> (&[u8], T) {
    let (cuts, bytes) = input.split_at(input.len().min(4));
    let whole = read(&[bytes]);
    let cuts = cuts.iter().map(|&cut| usize::from(cut).min(bytes.len()));
    let mut cuts: Vec<usize> = cuts.chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    let parts = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
    assert_eq!(read(&parts.collect::<Vec<_>>()), whole, "the cuts matter");
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&each), whole, "byte by byte it is another");
    (bytes, whole)
}
