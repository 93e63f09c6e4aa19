//! Applying a token bitmask to a row of logits, in place.
//!
//! Bit `i & 31` of word `i >> 5` belongs to token `i`; 1 means allowed. The inner loops have no branch and a fixed width
//! of 32, so that they compile to vector code on the baseline of every platform. Logits beyond the mask's last word are
//! masked: a token that the mask doesn't know is not allowed.

/// The bit pattern of negative infinity in IEEE half precision.
pub const F16_NEG_INFINITY: u16 = 0xFC00;
/// The bit pattern of negative infinity in bfloat16.
pub const BF16_NEG_INFINITY: u16 = 0xFF80;

const BITS: [u32; 32] = {
    let mut bits = [0; 32];
    let mut i = 0;
    while i < 32 {
        bits[i] = 1 << i;
        i += 1;
    }
    bits
};

/// Sets the logits of the tokens that `mask` does not allow to negative infinity.
///
/// ```
/// let mut logits = [0.5_f32, 1.0, 2.0];
/// fairlead_core::mask::apply::apply_f32(&mut logits, &[0b101]);
/// assert_eq!(logits, [0.5, f32::NEG_INFINITY, 2.0]);
/// ```
pub fn apply_f32(logits: &mut [f32], mask: &[u32]) {
    apply(logits, mask, f32::NEG_INFINITY);
}

/// The same for half-precision logits, given as their bit patterns.
pub fn apply_f16(logits: &mut [u16], mask: &[u32]) {
    apply(logits, mask, F16_NEG_INFINITY);
}

/// The same for bfloat16 logits, given as their bit patterns.
pub fn apply_bf16(logits: &mut [u16], mask: &[u32]) {
    apply(logits, mask, BF16_NEG_INFINITY);
}

#[inline]
fn apply<T: Copy>(logits: &mut [T], mask: &[u32], masked: T) {
    let (blocks, rest) = logits.as_chunks_mut::<32>();
    let whole = blocks.len().min(mask.len());
    for (block, &word) in blocks.iter_mut().zip(mask) {
        for (logit, &bit) in block.iter_mut().zip(&BITS) {
            *logit = if word & bit == 0 { masked } else { *logit };
        }
    }
    for block in &mut blocks[whole..] {
        block.fill(masked);
    }
    // Only a mask that covers every whole block has a word for the rest.
    let word = mask.get(blocks.len()).copied().unwrap_or(0);
    for (logit, &bit) in rest.iter_mut().zip(&BITS) {
        *logit = if word & bit == 0 { masked } else { *logit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_logit_follows_its_bit(
            logits in proptest::collection::vec(-1e3_f32..1e3, 0..200),
            mask in proptest::collection::vec(any::<u32>(), 0..8),
        ) {
            let allowed = |i: usize| mask.get(i / 32).is_some_and(|word| word >> (i % 32) & 1 == 1);
            let expected: Vec<u32> = logits.iter().enumerate()
                .map(|(i, x)| if allowed(i) { x.to_bits() } else { f32::NEG_INFINITY.to_bits() })
                .collect();
            let mut got = logits.clone();
            apply_f32(&mut got, &mask);
            prop_assert_eq!(got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected);

            let halves: Vec<u16> = logits.iter().map(|x| x.to_bits() as u16).collect();
            for (apply, masked) in [
                (apply_f16 as fn(&mut [u16], &[u32]), F16_NEG_INFINITY),
                (apply_bf16, BF16_NEG_INFINITY),
            ] {
                let mut got = halves.clone();
                apply(&mut got, &mask);
                for (i, (&before, &after)) in halves.iter().zip(&got).enumerate() {
                    prop_assert_eq!(after, if allowed(i) { before } else { masked });
                }
            }
        }
    }

    #[test]
    fn a_nan_is_masked_too_and_kept_where_allowed() {
        let mut logits = [f32::NAN; 2];
        apply_f32(&mut logits, &[0b10]);
        assert!(logits[0].is_infinite() && logits[1].is_nan());
    }
}
