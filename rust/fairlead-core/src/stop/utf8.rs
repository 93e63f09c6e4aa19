//! The unfinished character at the end of a piece of UTF-8.

/// How many bytes at the end of `text` begin a character that is not finished yet (0 to 3).
///
/// Bytes that no further byte can turn into a character count as finished: they are wrong, not late.
pub fn unfinished_suffix_len(text: &[u8]) -> usize {
    for len in 1..=text.len().min(3) {
        let suffix = &text[text.len() - len..];
        if suffix[0] & 0xC0 != 0x80 {
            return if begins_character(suffix) { len } else { 0 };
        }
    }
    0
}

/// Whether `bytes` (at most three, a lead byte and continuations) is a proper prefix of a well-formed character.
fn begins_character(bytes: &[u8]) -> bool {
    let (second, length) = match bytes[0] {
        0xC2..=0xDF => (0x80..=0xBF, 2),
        0xE0 => (0xA0..=0xBF, 3),
        0xED => (0x80..=0x9F, 3),
        0xE1..=0xEF => (0x80..=0xBF, 3),
        0xF0 => (0x90..=0xBF, 4),
        0xF1..=0xF3 => (0x80..=0xBF, 4),
        0xF4 => (0x80..=0x8F, 4),
        _ => return false,
    };
    bytes.len() < length && bytes.get(1).is_none_or(|byte| second.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        // std says at the end of broken text whether more bytes could mend it.
        let alphabet =
            [b'a', 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC3, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5];
        for code in 0..alphabet.len().pow(4) {
            let text = [0, 1, 2, 3].map(|i| alphabet[code / alphabet.len().pow(i) % alphabet.len()]);
            let mut rest = &text[..];
            let expected = loop {
                match std::str::from_utf8(rest) {
                    Ok(_) => break 0,
                    Err(error) => match error.error_len() {
                        None => break rest.len() - error.valid_up_to(),
                        Some(wrong) => rest = &rest[error.valid_up_to() + wrong..],
                    },
                }
            };
            assert_eq!(unfinished_suffix_len(&text), expected, "{text:x?}");
        }
    }
}
