//! Punycode, RFC 3492: labels beyond ASCII as letters, digits and hyphens, in lower case.

use smallvec::SmallVec;

/// The most characters after `xn--`: a label has at most 63.
pub(crate) const LONGEST: usize = 59;

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const FIRST_BIAS: u32 = 72;
const FIRST: u32 = 0x80;

fn adapted(delta: u32, count: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / count;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

fn threshold(k: u32, bias: u32) -> u32 {
    k.saturating_sub(bias).clamp(T_MIN, T_MAX)
}

fn digit(value: u32) -> u8 {
    if value < 26 { b'a' + value as u8 } else { b'0' + (value - 26) as u8 }
}

fn value(digit: u8) -> Option<u32> {
    match digit {
        b'a'..=b'z' => Some(u32::from(digit - b'a')),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 26),
        _ => None,
    }
}

/// What stands after `xn--` for a label; `None` if it is longer than [`LONGEST`].
pub(crate) fn encode(label: &[char]) -> Option<SmallVec<[u8; 64]>> {
    let mut out: SmallVec<[u8; 64]> = label.iter().filter(|c| c.is_ascii()).map(|&c| c as u8).collect();
    let basic = out.len() as u32;
    if basic > 0 {
        out.push(b'-');
    }
    let mut beyond: SmallVec<[u32; 64]> = label.iter().map(|&c| u32::from(c)).filter(|&c| c >= FIRST).collect();
    beyond.sort_unstable();
    beyond.dedup();
    let (mut n, mut delta, mut bias, mut done) = (FIRST, 0u32, FIRST_BIAS, basic);
    for next in beyond {
        delta += (next - n) * (done + 1);
        n = next;
        for &c in label {
            let c = u32::from(c);
            if c < n {
                delta += 1;
            } else if c == n {
                let (mut rest, mut k) = (delta, BASE);
                loop {
                    let t = threshold(k, bias);
                    if rest < t {
                        break;
                    }
                    out.push(digit(t + (rest - t) % (BASE - t)));
                    rest = (rest - t) / (BASE - t);
                    k += BASE;
                }
                out.push(digit(rest));
                if out.len() > LONGEST {
                    return None;
                }
                bias = adapted(delta, done + 1, done == basic);
                delta = 0;
                done += 1;
            }
        }
        delta += 1;
        n += 1;
    }
    (out.len() <= LONGEST).then_some(out)
}

/// A beginning of what stands after `xn--`, taken as if its last hyphen stood before the first number.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The label so far.
    pub(crate) label: Vec<char>,
    /// Whether a character beyond ASCII is in it.
    pub(crate) begun: bool,
    /// Where the next character stands at least: its code point, and its place among the same ones.
    pub(crate) next: (u32, usize),
    open: Option<Open>,
    bias: u32,
}

/// A number that goes on.
#[derive(Clone, Copy, Debug)]
struct Open {
    value: u64,
    /// What the next digit counts for.
    weight: u64,
    /// [`BASE`] for each digit, the next one included.
    k: u32,
}

impl Decoded {
    /// Decodes a beginning; `None` if no label begins with it.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let (basic, numbers) = match text.iter().rposition(|&b| b == b'-') {
            // An encoder writes no hyphen where nothing stands before it.
            Some(0) => return None,
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (&text[..0], text),
        };
        let label: Vec<char> = basic.iter().map(|&b| char::from(b)).collect();
        let mut decoded = Self { label, begun: false, next: (FIRST, 0), open: None, bias: FIRST_BIAS };
        for &b in numbers {
            decoded.read(value(b)?)?;
        }
        Some(decoded)
    }

    /// Whether a number has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn read(&mut self, digit: u32) -> Option<()> {
        let Open { value, weight, k } = self.open.take().unwrap_or(Open { value: 0, weight: 1, k: BASE });
        let t = threshold(k, self.bias);
        let value = value + u64::from(digit) * weight;
        // No code point is so large.
        if value > 1 << 32 {
            return None;
        }
        if digit >= t {
            self.open = Some(Open { value, weight: weight * u64::from(BASE - t), k: k + BASE });
            return Some(());
        }
        let (c, at) = self.place(value)?;
        self.bias = adapted(value as u32, self.label.len() as u32 + 1, !self.begun);
        self.label.insert(at, c);
        self.begun = true;
        self.next = (u32::from(c), at + 1);
        Some(())
    }

    /// The character that a number inserts, and where.
    fn place(&self, number: u64) -> Option<(char, usize)> {
        let (n, at) = self.next;
        let (number, slots) = (number + at as u64, self.label.len() as u64 + 1);
        let c = u32::try_from(u64::from(n) + number / slots).ok().and_then(char::from_u32)?;
        Some((c, (number % slots) as usize))
    }

    /// The characters, with their places, that the open number may insert with at most `room` more digits, in the order of
    /// their numbers. `skip` tells the first code point from one on that is wanted, so that no others are gone through.
    pub(crate) fn insertions<'a>(
        &'a self,
        room: usize,
        skip: impl Fn(u32) -> Option<u32> + 'a,
    ) -> impl Iterator<Item = (char, usize)> + 'a {
        let (n, at) = (u64::from(self.next.0), self.next.1 as u64);
        let slots = self.label.len() as u64 + 1;
        let open = self.open;
        let mut more = 0u64;
        std::iter::from_fn(move || {
            let Open { value, weight, k } = open?;
            loop {
                if !self.fits(more, k, room) {
                    return None;
                }
                let number = value + weight * more;
                let c = u32::try_from(n + (number + at) / slots).ok()?;
                let known = skip(c)?;
                if known == c {
                    more += 1;
                    return Some((char::from_u32(c)?, ((number + at) % slots) as usize));
                }
                // The first number that leads so far.
                let least = (u64::from(known) - n) * slots - at - value;
                more = least.div_ceil(weight);
            }
        })
    }

    /// Whether a number is written with at most `room` digits from a certain one on.
    fn fits(&self, mut number: u64, mut k: u32, room: usize) -> bool {
        for _ in 0..room {
            let t = u64::from(threshold(k, self.bias));
            if number < t {
                return true;
            }
            number = (number - t) / (u64::from(BASE) - t);
            k += BASE;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    /// Of RFC 3492, section 7.1 (those in lower case), and names in use.
    const KNOWN: &[(&str, &str)] = &[
        ("ليهمابتكلموشعربي؟", "egbpdaj6bu4bxfgehfvwxn"),
        ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
        ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
        ("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b"),
        ("bücher", "bcher-kva"),
        ("ü", "tda"),
        ("а-б", "--7sbe"),
    ];

    #[test]
    fn known_labels_are_encoded_and_decoded() {
        for &(label, ascii) in KNOWN {
            let encoded = encode(&chars(label)).unwrap();
            assert_eq!(encoded.as_slice(), ascii.as_bytes(), "{label}");
            let decoded = Decoded::new(&encoded).unwrap();
            assert!(decoded.begun && !decoded.is_open());
            assert_eq!(decoded.label, chars(label));
        }
    }

    #[test]
    fn a_label_that_is_too_long_has_no_code() {
        assert!(encode(&chars(&"ü".repeat(59))).is_none());
        assert!(encode(&chars(&"ü".repeat(50))).is_some());
    }

    #[test]
    fn an_open_number_inserts_what_its_digits_can_say() {
        let open = Decoded::new(b"l-z").unwrap();
        assert!(open.is_open());
        // All texts of at most two more digits.
        let digits = || (0..36).map(digit);
        let one = digits().map(|a| vec![a]);
        let two = digits().flat_map(|a| digits().map(move |b| vec![a, b]));
        let texts = one.chain(two).map(|more| [&b"l-z"[..], &more].concat());
        let labels = texts.filter_map(|text| Decoded::new(&text)).filter(|d| !d.is_open() && d.label.len() == 2);
        let mut written: Vec<_> = labels.map(|d| (d.label[d.next.1 - 1], d.next.1 - 1)).collect();
        written.sort_unstable();
        assert!(written.len() > 500);
        assert_eq!(open.insertions(2, Some).collect::<Vec<_>>(), written);
        let later: Vec<_> = written.into_iter().filter(|&(c, _)| c >= '\u{100}').collect();
        assert_eq!(open.insertions(2, |c| Some(c.max(0x100))).collect::<Vec<_>>(), later);
    }
}
