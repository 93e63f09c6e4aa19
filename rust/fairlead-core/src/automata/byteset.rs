//! Sets of bytes.

use std::fmt;

/// A set of bytes, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte at all.
    pub const EMPTY: Self = Self([0; 4]);

    /// The bytes from `lo` to `hi`, both included.
    pub fn range(lo: u8, hi: u8) -> Self {
        let mut set = Self::EMPTY;
        for b in lo..=hi {
            set.insert(b);
        }
        set
    }

    /// The bytes of a slice.
    pub fn of(bytes: &[u8]) -> Self {
        let mut set = Self::EMPTY;
        for &b in bytes {
            set.insert(b);
        }
        set
    }

    /// Adds one byte.
    pub fn insert(&mut self, b: u8) {
        self.0[usize::from(b >> 6)] |= 1 << (b & 63);
    }

    /// Whether the byte is in the set.
    pub fn contains(&self, b: u8) -> bool {
        self.0[usize::from(b >> 6)] >> (b & 63) & 1 == 1
    }

    /// Whether no byte is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Bytes in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Bytes in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Bytes not in the set.
    pub fn complement(&self) -> Self {
        Self(std::array::from_fn(|i| !self.0[i]))
    }

    /// The maximal ranges of consecutive bytes, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        let mut next = 0usize;
        std::iter::from_fn(move || {
            while next < 256 && !self.contains(next as u8) {
                next += 1;
            }
            if next >= 256 {
                return None;
            }
            let lo = next;
            while next < 256 && self.contains(next as u8) {
                next += 1;
            }
            Some((lo as u8, (next - 1) as u8))
        })
    }

    /// The lower 128 bits: the ASCII bytes of the set.
    pub fn ascii(&self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 64
    }
}

impl fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (lo, hi) in self.ranges() {
            write!(f, "{}", lo.escape_ascii())?;
            if hi > lo {
                write!(f, "-{}", hi.escape_ascii())?;
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_set_and_its_complement() {
        let set = ByteSet::of(b"abcxyz\xff\x00");
        assert_eq!(set.ranges().collect::<Vec<_>>(), [(0, 0), (b'a', b'c'), (b'x', b'z'), (255, 255)]);
        assert!(set.intersection(&set.complement()).is_empty());
        assert_eq!(set.union(&set.complement()), ByteSet::range(0, 255));
    }
}
