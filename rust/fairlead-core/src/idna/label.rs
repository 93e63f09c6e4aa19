//! Labels of host names that hang on their whole text: in Punycode, or so long that its length decides.
//!
//! Whether a beginning can be completed is told by finding a label that begins with it: what is written already, mended
//! with the first characters that do, or, inside a number, one of the characters that its further digits may insert.
//! Where no such label is found within a label's length the beginning is refused, although a stranger label might fit
//! (which takes a choice of characters for the very last digits). For each beginning of a label that was found, the same
//! one or one that is tried earlier is found again, so that the way to it never ends.

use smallvec::SmallVec;

use super::characters::{Kind, first_known_from};
use super::punycode::{Decoded, LONGEST, encode};
use super::rules::{Place, Side, is_label, mended, place};

/// Characters that an unfinished number is tried for.
const TRIES: usize = 256;
/// So many digits surely insert a character that mends a text of ASCII characters.
const ENOUGH: usize = 8;

/// How a label is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Form {
    /// What follows `xn--`, in lower case.
    Ascii,
    /// As it stands: digits, hyphens, and letters of two bytes.
    Unicode,
}

/// A text that has begun.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Label {
    pub(crate) form: Form,
    pub(crate) side: Side,
    pub(crate) text: Box<[u8]>,
}

impl Label {
    /// Nothing written yet.
    pub(crate) fn new(form: Form, side: Side) -> Self {
        Self { form, side, text: Box::default() }
    }

    /// The bytes that may stand in one, as ranges.
    pub(crate) fn bytes(form: Form) -> &'static [(u8, u8)] {
        match form {
            Form::Ascii => &[(b'-', b'-'), (b'0', b'9'), (b'a', b'z')],
            Form::Unicode => &[(b'-', b'-'), (b'0', b'9'), (0x80, 0xBF), (0xC2, 0xDF)],
        }
    }

    /// The text with one byte more, if it can be completed.
    pub(crate) fn after(&self, b: u8) -> Option<Self> {
        if !Self::bytes(self.form).iter().any(|&(lo, hi)| (lo..=hi).contains(&b)) || self.text.len() > 2 * LONGEST {
            return None;
        }
        let text = self.text.iter().copied().chain([b]).collect();
        let next = Self { text, ..*self };
        next.is_alive().then_some(next)
    }

    /// Whether the text is a label as it is.
    pub(crate) fn is_complete(&self) -> bool {
        match self.form {
            Form::Ascii => Decoded::new(&self.text).is_some_and(|d| {
                d.begun && !d.is_open() && self.text.len() <= LONGEST && is_label(&d.label, self.side)
            }),
            Form::Unicode => match self.characters() {
                Some((label, None)) => is_label(&label, self.side) && encode(&label).is_some(),
                _ => false,
            },
        }
    }

    /// Whether a character of several bytes has begun.
    pub(crate) fn is_inside_character(&self) -> bool {
        self.text.last().is_some_and(|&b| b >= 0xC0)
    }

    /// Whether a label that begins with the text is found.
    fn is_alive(&self) -> bool {
        match self.form {
            Form::Ascii => self.surely_goes_on() || self.ascii_label().is_some(),
            Form::Unicode => self.unicode_label().is_some(),
        }
    }

    /// What completes the text.
    pub(crate) fn rest(&self) -> Option<Vec<u8>> {
        let whole = match self.form {
            Form::Ascii => encode(&self.ascii_label()?)?.to_vec(),
            Form::Unicode => self.unicode_label()?.iter().collect::<String>().into_bytes(),
        };
        whole.strip_prefix(&*self.text).map(<[u8]>::to_vec)
    }

    /// Whether there is room for a hyphen and numbers behind, whatever they have to mend.
    fn surely_goes_on(&self) -> bool {
        let hyphens = self.text.split(|&b| b == b'-').count() - 1;
        let sided = self.side != Side::Leftward || !self.text.iter().any(u8::is_ascii_lowercase);
        sided && !self.text.is_empty() && self.text.len() + 1 + ENOUGH * (hyphens + 2) <= LONGEST
    }

    /// A label whose code begins with the text.
    fn ascii_label(&self) -> Option<Vec<char>> {
        self.decoded_label().or_else(|| {
            // A later hyphen may be the last.
            let basic: Vec<char> = self.text.iter().map(|&b| char::from(b)).collect();
            self.mended(&basic, (0x80, 0), true)
        })
    }

    /// The same, if the last hyphen so far is the last one.
    fn decoded_label(&self) -> Option<Vec<char>> {
        let decoded = Decoded::new(&self.text)?;
        let Decoded { label, begun, next, .. } = &decoded;
        self.mended(label, *next, !begun || decoded.is_open()).or_else(|| {
            let room = LONGEST.saturating_sub(self.text.len());
            decoded.insertions(room, first_known_from).take(TRIES).find_map(|(c, at)| {
                let mut longer = label.clone();
                longer.insert(at, c);
                self.mended(&longer, (u32::from(c), at + 1), false)
            })
        })
    }

    /// A text made a label, of which the code begins with what is written.
    fn mended(&self, text: &[char], least: (u32, usize), more: bool) -> Option<Vec<char>> {
        let mut labels = self.side.each().iter().filter_map(|&side| mended(text, side, least, more));
        labels.find(|label| encode(label).is_some_and(|code| code.starts_with(&self.text)))
    }

    /// The characters of a text, and the first byte of one that has begun.
    fn characters(&self) -> Option<(SmallVec<[char; 64]>, Option<u8>)> {
        let (text, lead) = match self.text.split_last() {
            Some((&lead, text)) if lead >= 0xC0 => (text, Some(lead)),
            _ => (&*self.text, None),
        };
        Some((std::str::from_utf8(text).ok()?.chars().collect(), lead))
    }

    /// A label that begins with the text: as it is, or with one character more.
    fn unicode_label(&self) -> Option<Vec<char>> {
        let (text, lead) = self.characters()?;
        self.side.each().iter().find_map(|&side| {
            let at = place(&text, side)?;
            let Some(lead) = lead else { return finished(text.to_vec(), at) };
            let first = u32::from(lead & 0x1F) << 6;
            (first..first + 64).filter_map(char::from_u32).find_map(|c| {
                let at = at.step(Kind::of(c)?)?;
                finished(text.iter().copied().chain([c]).collect(), at)
            })
        })
    }
}

/// A text that isn't too long, with the one character that it may lack to be a label: one that is in it already, or the
/// first of a kind.
fn finished(text: Vec<char>, at: Place) -> Option<Vec<char>> {
    if at.is_complete() {
        return encode(&text).is_some().then_some(text);
    }
    let finished = |c: char| {
        let after = at.step(Kind::of(c)?)?;
        let label: Vec<char> = text.iter().copied().chain([c]).collect();
        (after.is_complete() && encode(&label).is_some()).then_some(label)
    };
    let first = Kind::all().filter_map(|kind| kind.first_from(0x80));
    text.iter().copied().chain(first).filter(|c| ('\u{80}'..'\u{800}').contains(c)).find_map(finished)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMS: [Form; 2] = [Form::Ascii, Form::Unicode];
    const SIDES: [Side; 3] = [Side::Rightward, Side::Leftward, Side::Any];

    /// Writes a text as far as it goes on.
    fn written(form: Form, side: Side, text: &[u8]) -> (Label, usize) {
        let mut label = Label::new(form, side);
        for (at, &b) in text.iter().enumerate() {
            match label.after(b) {
                Some(next) => label = next,
                None => return (label, at),
            }
        }
        (label, text.len())
    }

    /// Characters of a few kinds each, more often ones that go together than chance would give.
    fn labels() -> impl Strategy<Value = Vec<char>> {
        let kinds = prop::collection::vec(prop::sample::select(Kind::all().collect::<Vec<_>>()), 1..4);
        let places = prop::collection::vec((any::<usize>(), any::<u32>()), 1..24);
        (kinds, places).prop_map(|(kinds, places)| {
            let character = |(kind, at): (usize, u32)| {
                let ranges = kinds[kind % kinds.len()].ranges();
                let (lo, hi) = ranges[at as usize % ranges.len()];
                char::from_u32(u32::from(lo) + at % (u32::from(hi) - u32::from(lo) + 1)).unwrap_or(lo)
            };
            places.into_iter().map(character).collect()
        })
    }

    /// Digits of a label's code in the order of their frequency in use, or nothing that makes sense.
    fn codes() -> impl Strategy<Value = Vec<u8>> {
        let noise =
            prop::collection::vec(prop::sample::select(b"abcdefghijklmnopqrstuvwxyz0123456789---".to_vec()), 0..60);
        let real = labels().prop_filter_map("too long", |label| encode(&label).map(|code| code.to_vec()));
        let cut = (real, noise.clone(), any::<prop::sample::Index>()).prop_map(|(mut code, noise, at)| {
            code.truncate(at.index(code.len() + 1));
            code.extend(noise);
            code
        });
        prop_oneof![noise, cut]
    }

    /// Each text that is reached can be completed, on a way that is never lost.
    fn goes_on(mut label: Label) {
        let rest = label.rest().expect("what is alive is completed by something");
        for b in rest {
            label = label.after(b).unwrap_or_else(|| panic!("the way to a label is lost after {:?}", label.text));
        }
        assert!(label.is_complete(), "{:?}", label.text);
    }

    proptest! {
        #[test]
        fn what_is_alive_is_completed(code in codes(), side in prop::sample::select(SIDES.to_vec())) {
            goes_on(written(Form::Ascii, side, &code).0);
        }

        #[test]
        fn what_is_alive_as_it_stands_is_completed(label in labels(), side in prop::sample::select(SIDES.to_vec())) {
            let text: String = label.iter().collect();
            goes_on(written(Form::Unicode, side, text.as_bytes()).0);
        }

        /// Where there is room, no label is refused for what it begins with.
        #[test]
        fn a_label_with_room_is_admitted(label in labels(), side in prop::sample::select(SIDES.to_vec())) {
            let code = encode(&label).filter(|code| code.len() <= 40 && !label.iter().all(char::is_ascii));
            if let Some(code) = code {
                let (end, at) = written(Form::Ascii, side, &code);
                prop_assert_eq!(at == code.len() && end.is_complete(), is_label(&label, side), "{:?} at {}", label, at);
            }
        }
    }

    #[test]
    fn a_beginning_is_refused_where_nothing_fits_any_more() {
        for side in SIDES {
            for form in FORMS {
                assert!(Label::new(form, side).is_alive());
            }
        }
        // The last digit is the last character: this one, or none.
        let code = b"80aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec();
        let (label, at) = written(Form::Ascii, Side::Rightward, &code[..LONGEST]);
        assert_eq!(at, LONGEST);
        assert!(label.is_complete() && label.after(b'a').is_none());
        // A number that has begun at the last place but one must end there.
        let (label, _) = written(Form::Ascii, Side::Rightward, &code[..LONGEST - 1]);
        let ends: Vec<u8> = (b'a'..=b'z').chain(b'0'..=b'9').filter(|&b| label.after(b).is_some()).collect();
        assert!(ends.contains(&b'a') && ends.iter().all(|&b| label.after(b).is_some_and(|label| label.is_complete())));
    }
}
