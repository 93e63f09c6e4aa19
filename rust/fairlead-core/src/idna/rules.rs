//! Which characters may follow each other in a label: RFC 5892, appendix A, RFC 5893, section 2, and what keeps a label
//! in its normal form.

use super::characters::Kind;

/// The direction of a label's script.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Side {
    /// From left to right, or digits alone.
    Rightward,
    /// Hebrew or Arabic.
    Leftward,
    /// Either of the two.
    Any,
}

impl Side {
    /// The directions that it stands for.
    pub(crate) fn each(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Rightward, Self::Leftward],
            Self::Rightward => &[Self::Rightward],
            Self::Leftward => &[Self::Leftward],
        }
    }
}

/// What has been written of a label, as far as it matters for what may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    Nothing,
    Hyphen,
    /// Anything of which nothing is to be remembered.
    Part,
    L,
    MiddleDot,
    Keraia,
    /// A letter of Devanagari with its marks.
    Devanagari,
    Virama,
    /// A letter of Thai and marks that stand in any order.
    Thai,
    ThaiBelow,
    ThaiTone,
    /// Katakana middle dots that no kana stands next to.
    Dots,
    Kana,
    Hebrew,
    ArabicDual,
    NonJoiner,
}

/// A place in a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    after: After,
    leftward: bool,
    /// The digits of a label from right to left, which are of one kind.
    arabic_digits: Option<bool>,
}

impl Place {
    /// The beginning of a label; `Any` is as `Rightward`.
    pub(crate) fn start(side: Side) -> Self {
        Self { after: After::Nothing, leftward: side == Side::Leftward, arabic_digits: None }
    }

    /// Whether a label may end here.
    pub(crate) fn is_complete(self) -> bool {
        use After as A;
        !matches!(self.after, A::Nothing | A::Hyphen | A::MiddleDot | A::Keraia | A::Dots | A::NonJoiner)
    }

    /// The place after a character of some kind, if it may follow.
    pub(crate) fn step(self, kind: Kind) -> Option<Self> {
        let mut next = self;
        if self.leftward {
            if matches!(kind, Kind::Digit | Kind::ExtendedDigit | Kind::ArabicDigit) {
                let arabic = kind == Kind::ArabicDigit;
                if self.arabic_digits.is_some_and(|known| known != arabic) {
                    return None;
                }
                next.arabic_digits = Some(arabic);
            }
            next.after = self.goes_on_leftward(kind)?;
        } else {
            next.after = self.goes_on_rightward(kind)?;
        }
        Some(next)
    }

    fn goes_on_rightward(self, kind: Kind) -> Option<After> {
        use After as A;
        use Kind as K;
        let joined = match (self.after, kind) {
            (A::L, K::MiddleDot) => A::MiddleDot,
            (A::MiddleDot, K::L) => A::L,
            (A::Keraia, K::Greek) => A::Part,
            (A::Devanagari | A::Virama, K::DevanagariMark) | (A::Virama, K::Joiner | K::NonJoiner) => A::Devanagari,
            (A::Devanagari | A::Virama, K::Virama) => A::Virama,
            (A::Thai, K::ThaiMark) => A::Thai,
            (A::Thai, K::ThaiBelow) => A::ThaiBelow,
            (A::Thai | A::ThaiBelow, K::ThaiTone) | (A::ThaiBelow | A::ThaiTone, K::ThaiMark) => A::ThaiTone,
            (A::Dots, K::KatakanaDot) => A::Dots,
            (A::Dots | A::Kana, K::Kana) | (A::Kana, K::KatakanaDot) => A::Kana,
            (A::MiddleDot | A::Keraia | A::Dots, _) | (A::Nothing | A::Hyphen, K::Hyphen) => return None,
            _ => return Self::begins_rightward(kind),
        };
        Some(joined)
    }

    /// What a character is that has nothing to do with the one before it.
    fn begins_rightward(kind: Kind) -> Option<After> {
        use Kind as K;
        match kind {
            K::Hyphen => Some(After::Hyphen),
            K::L => Some(After::L),
            K::Letter | K::Greek | K::Digit | K::ExtendedDigit => Some(After::Part),
            K::Keraia => Some(After::Keraia),
            K::Devanagari => Some(After::Devanagari),
            K::Thai => Some(After::Thai),
            K::KatakanaDot => Some(After::Dots),
            K::Kana => Some(After::Kana),
            _ => None,
        }
    }

    fn goes_on_leftward(self, kind: Kind) -> Option<After> {
        use After as A;
        use Kind as K;
        match (self.after, kind) {
            (A::ArabicDual, K::NonJoiner) => Some(A::NonJoiner),
            (_, K::ArabicDual) => Some(A::ArabicDual),
            (_, K::ArabicRight) => Some(A::Part),
            (A::NonJoiner, _) => None,
            (A::Hebrew, K::Geresh) | (_, K::Hebrew) => Some(A::Hebrew),
            (_, K::Arabic) => Some(A::Part),
            (A::Nothing, _) | (A::Hyphen, K::Hyphen) => None,
            (_, K::Hyphen) => Some(A::Hyphen),
            (_, K::Digit | K::ExtendedDigit | K::ArabicDigit) => Some(A::Part),
            _ => None,
        }
    }

    /// The first character from a code point on that may stand here, before one of a kind or at the end.
    fn filler(self, before: Option<Kind>, least: u32) -> Option<(char, Self)> {
        let fills = |kind: Kind| {
            let place = self.step(kind)?;
            let fits = before.map_or_else(|| place.is_complete(), |next| place.step(next).is_some());
            fits.then(|| kind.first_from(least).map(|c| (c, place))).flatten()
        };
        Kind::all().filter_map(fills).min_by_key(|&(c, _)| c)
    }
}

/// The place at the end of a text; `None` if no label begins with it.
pub(crate) fn place(label: &[char], side: Side) -> Option<Place> {
    label.iter().try_fold(Place::start(side), |place, &c| place.step(Kind::of(c)?))
}

/// Whether a text is a label.
pub(crate) fn is_label(label: &[char], side: Side) -> bool {
    side.each().iter().any(|&side| place(label, side).is_some_and(Place::is_complete))
}

/// A text with further characters where rules ask for some, and with one at its end if there are none and `more` asks
/// for one: a label. They come from `least` on, a code point and the first place for that one.
///
/// The choice is the same whichever of them are there already, so that the way to it is never lost.
pub(crate) fn mended(text: &[char], side: Side, least: (u32, usize), more: bool) -> Option<Vec<char>> {
    let mut out = Vec::with_capacity(text.len() + 4);
    let mut place = Place::start(side);
    let from = |at: usize| if at >= least.1 { least.0 } else { least.0 + 1 };
    for (at, &c) in text.iter().enumerate() {
        let kind = Kind::of(c)?;
        if place.step(kind).is_none() {
            let (filler, next) = place.filler(Some(kind), from(at))?;
            out.push(filler);
            place = next;
        }
        out.push(c);
        place = place.step(kind)?;
    }
    if !place.is_complete() || (more && out.len() == text.len()) {
        let (filler, _) = place.filler(None, from(text.len()))?;
        out.push(filler);
    }
    Some(out)
}
