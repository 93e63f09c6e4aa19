//! ECMA-262 patterns, rewritten for `regex-syntax`.

use std::fmt::Write;

use crate::error::Error;

/// A rewritten pattern; `offsets[i]` is where byte `i` of it came from.
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) offsets: Vec<usize>,
}

const SPACE: &str = r"\t\n\x0B\x0C\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";
const ANYTHING: &str = r"[\x{0}-\x{10ffff}]";
const NOTHING: &str = r"[a&&b]";
const ANY: &str = r"[^\n\r\x{2028}\x{2029}]";

struct Translator<'a> {
    pattern: &'a str,
    at: usize,
    out: Translated,
}

/// Rewrites a pattern.
pub(super) fn translate(pattern: &str) -> Result<Translated, Error> {
    let out = Translated { text: String::new(), offsets: Vec::new() };
    let mut translator = Translator { pattern, at: 0, out };
    while translator.at < pattern.len() {
        translator.term()?;
    }
    translator.emit("");
    translator.out.offsets.push(pattern.len());
    Ok(translator.out)
}

impl Translator<'_> {
    fn rest(&self) -> &str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn emit(&mut self, text: &str) {
        self.out.text.push_str(text);
        self.out.offsets.resize(self.out.text.len(), self.at.saturating_sub(1));
    }

    fn emit_char(&mut self, c: char) {
        let mut text = String::new();
        if c.is_alphanumeric() || !c.is_ascii() {
            text.push(c);
        } else {
            let _ = write!(text, "\\x{{{:x}}}", u32::from(c));
        }
        self.emit(&text);
    }

    fn fail<T>(&self, at: usize, message: &str) -> Result<T, Error> {
        Err(Error::grammar(format!("the pattern {:?} cannot be used: {message}", self.pattern)).at_offset(at))
    }

    fn term(&mut self) -> Result<(), Error> {
        let start = self.at;
        let Some(c) = self.next() else { return Ok(()) };
        match c {
            '\\' => self.escape(false),
            '[' => self.class(start),
            '.' => {
                self.emit(ANY);
                Ok(())
            }
            '{' if !self.is_quantifier() => {
                self.emit("\\{");
                Ok(())
            }
            '}' if !self.closes_quantifier() => {
                self.emit("\\}");
                Ok(())
            }
            ']' => {
                self.emit("\\]");
                Ok(())
            }
            _ => {
                self.emit(c.encode_utf8(&mut [0; 4]));
                Ok(())
            }
        }
    }

    /// Whether `{` just read begins `{n}`, `{n,}` or `{n,m}`.
    fn is_quantifier(&self) -> bool {
        let Some((inside, _)) = self.rest().split_once('}') else { return false };
        let (lo, hi) = inside.split_once(',').unwrap_or((inside, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        !lo.is_empty() && digits(lo) && digits(hi)
    }

    /// Whether `}` just read ends one; then the last unescaped brace written is an opening one.
    fn closes_quantifier(&self) -> bool {
        let text = &self.out.text;
        text.rfind('{').is_some_and(|open| {
            !text[..open].ends_with('\\')
                && !text[..open].ends_with("\\x")
                && !text[..open].ends_with("\\p")
                && text[open + 1..].bytes().all(|b| b.is_ascii_digit() || b == b',')
        })
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.rest().get(..digits)?;
        let value = u32::from_str_radix(text, 16).ok()?;
        self.at += digits;
        Some(value)
    }

    /// An escape after its backslash, inside a class or outside.
    fn escape(&mut self, in_class: bool) -> Result<(), Error> {
        let start = self.at - 1;
        let Some(c) = self.next() else { return self.fail(start, "a backslash ends it") };
        let class = |inside: &str| if in_class { inside.to_owned() } else { format!("[{inside}]") };
        let text = match c {
            'd' => class("0-9"),
            'D' => "[^0-9]".to_owned(),
            'w' => class("A-Za-z0-9_"),
            'W' => "[^A-Za-z0-9_]".to_owned(),
            's' => class(SPACE),
            'S' => format!("[^{SPACE}]"),
            'n' | 'r' | 't' | 'v' | 'f' => format!("\\{c}"),
            'b' if in_class => "\\x08".to_owned(),
            'b' | 'B' => return self.fail(start, "word boundaries are not supported in a constraint"),
            // What Python calls the ends of the text; no class has them.
            'A' if !in_class => "^".to_owned(),
            'Z' | 'z' if !in_class => "$".to_owned(),
            '0' => "\\x00".to_owned(),
            'c' => match self.peek() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    self.at += 1;
                    format!("\\x{{{:x}}}", u32::from(letter) % 32)
                }
                _ => return self.fail(start, "\\c needs a letter"),
            },
            'x' => match self.hex(2) {
                Some(value) => format!("\\x{{{value:x}}}"),
                None => return self.fail(start, "\\x needs two hexadecimal digits"),
            },
            'u' => {
                let Some(value) = self.code_point() else {
                    return self.fail(start, "\\u needs four hexadecimal digits, or digits in braces");
                };
                format!("\\x{{{value:x}}}")
            }
            'p' | 'P' => {
                let Some(end) = self.rest().starts_with('{').then(|| self.rest().find('}')).flatten() else {
                    return self.fail(start, "\\p needs a property in braces");
                };
                let property = self.rest()[..=end].to_owned();
                self.at += end + 1;
                format!("\\{c}{property}")
            }
            _ => {
                self.emit_char(c);
                return Ok(());
            }
        };
        self.emit(&text);
        Ok(())
    }

    fn code_point(&mut self) -> Option<u32> {
        if self.rest().starts_with('{') {
            let end = self.rest().find('}')?;
            let value = u32::from_str_radix(&self.rest()[1..end], 16).ok()?;
            self.at += end + 1;
            return Some(value);
        }
        let high = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&high) {
            return Some(high);
        }
        let before = self.at;
        if self.rest().starts_with("\\u") {
            self.at += 2;
            if let Some(low @ 0xDC00..=0xDFFF) = self.hex(4) {
                return Some(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
        }
        self.at = before;
        Some(high)
    }

    fn class(&mut self, start: usize) -> Result<(), Error> {
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        if self.peek() == Some(']') {
            // ECMA-262: no character at all, or any.
            self.at += 1;
            self.emit(if negated { ANYTHING } else { NOTHING });
            return Ok(());
        }
        self.emit(if negated { "[^" } else { "[" });
        let inside = self.out.text.len();
        loop {
            if self.surrogates() {
                continue;
            }
            match self.next() {
                None => return self.fail(start, "a character class is not closed"),
                Some(']') => break,
                Some('\\') => self.escape(true)?,
                Some('-') => self.hyphen(),
                Some(c) => self.emit_char(c),
            }
        }
        if self.out.text.len() == inside {
            // Nothing but halves of characters.
            self.out.text.truncate(inside - 1 - usize::from(negated));
            self.emit(if negated { ANYTHING } else { NOTHING });
            return Ok(());
        }
        self.emit("]");
        Ok(())
    }

    /// Reads a range of a class, or a member, if halves of characters are in it: no text has these, so it is what is left
    /// without them.
    fn surrogates(&mut self) -> bool {
        const HALVES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;
        let before = self.at;
        let (Some(first), to) = (self.member(), self.at) else {
            self.at = before;
            return false;
        };
        let is_range = self.next() == Some('-');
        let last = if is_range { self.member() } else { None };
        let last = last.unwrap_or_else(|| {
            self.at = to;
            first
        });
        if !HALVES.contains(&first) && !HALVES.contains(&last) {
            self.at = before;
            return false;
        }
        for (from, to) in [(first, last.min(HALVES.start() - 1)), (first.max(HALVES.end() + 1), last)] {
            if from <= to {
                self.emit(&format!("\\x{{{from:x}}}-\\x{{{to:x}}}"));
            }
        }
        true
    }

    /// A character of a class that stands for itself or is written by its number.
    fn member(&mut self) -> Option<u32> {
        match self.next()? {
            ']' => None,
            '\\' => (self.next()? == 'u').then(|| self.code_point()).flatten(),
            c => Some(u32::from(c)),
        }
    }

    /// A hyphen is a range between two characters and stands for itself elsewhere, as next to `\w`.
    fn hyphen(&mut self) {
        let text = &self.out.text;
        let after_class = text.ends_with('[') || text.ends_with("[^") || text.ends_with(']') || {
            ["0-9", "A-Za-z0-9_", SPACE].iter().any(|class| text.ends_with(class))
        };
        let before_class = match self.peek() {
            Some(']') | None => true,
            Some('\\') => self.rest()[1..].starts_with(['d', 'D', 'w', 'W', 's', 'S', 'p', 'P']),
            Some(_) => false,
        };
        self.emit(if after_class || before_class { "\\-" } else { "-" });
    }
}
