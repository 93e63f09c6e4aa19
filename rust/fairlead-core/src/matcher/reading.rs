//! Whether a JSON text can still become a certain value, however it is spelled.

use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

use crate::json_schema::same;

/// A text that has been read as the beginning of a value, byte by byte. Numbers are read generously: one may be
/// taken for the beginning of another that it can't become.
#[derive(Clone, Debug)]
pub(super) struct Reading<'a> {
    /// The arrays and objects that are open, the outermost first.
    open: SmallVec<[Open<'a>; 1]>,
    at: At<'a>,
}

#[derive(Clone, Debug)]
enum Open<'a> {
    /// With the items to come.
    Array(std::slice::Iter<'a, Value>),
    /// With the keys that are written, by their places.
    Object(&'a Map<String, Value>, SmallVec<[u32; 4]>),
}

#[derive(Clone, Debug)]
enum At<'a> {
    Value(&'a Value),
    Key,
    Colon(&'a Value),
    /// Behind a value, or inside of what is empty.
    After,
    /// The rest of `null`, `true` or `false`.
    Word(&'static [u8]),
    Number(Digits<'a>),
    /// A string, with how much of it is written.
    Text(&'a [u8], usize, Escape),
    /// A key, as far as it is written.
    Name(SmallVec<[u8; 16]>, Escape),
}

/// A number that is being written. Only its digits are compared until it ends: an exponent may move the point anywhere.
#[derive(Clone, Debug)]
struct Digits<'a> {
    wanted: &'a Number,
    negative: bool,
    /// Its digits, without zeros at either end.
    significant: SmallVec<[u8; 16]>,
    /// Those that are written, without zeros at the front.
    written: usize,
    exponent: bool,
    text: SmallVec<[u8; 16]>,
}

impl<'a> Digits<'a> {
    fn new(wanted: &'a Number) -> Self {
        let spelling = wanted.to_string();
        let mantissa = spelling.bytes().take_while(|b| !matches!(b, b'e' | b'E'));
        let mut digits: SmallVec<[u8; 16]> =
            mantissa.filter(u8::is_ascii_digit).skip_while(|&digit| digit == b'0').collect();
        let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        digits.truncate(significant);
        let negative = spelling.starts_with('-');
        Self { wanted, negative, significant: digits, written: 0, exponent: false, text: SmallVec::new() }
    }

    /// Whether a digit may come next.
    fn goes_on(&self, digit: u8) -> bool {
        let leading = self.written == 0 && digit == b'0';
        let next =
            if self.significant.is_empty() { None } else { Some(*self.significant.get(self.written).unwrap_or(&b'0')) };
        self.exponent || leading || next == Some(digit)
    }

    fn step(&mut self, b: u8) -> bool {
        let fine = match b {
            b'0'..=b'9' => self.goes_on(b),
            b'-' if self.text.is_empty() => self.significant.is_empty() || self.negative,
            b'e' | b'E' => self.written >= self.significant.len(),
            _ => true,
        };
        let signed = self.text.is_empty() && b != b'-' && !self.significant.is_empty() && self.negative;
        self.written += usize::from(b.is_ascii_digit() && !self.exponent && (self.written > 0 || b != b'0'));
        self.exponent |= matches!(b, b'e' | b'E');
        self.text.push(b);
        fine && !signed
    }

    /// Whether what is written is the number.
    fn is_whole(&self) -> bool {
        let written = serde_json::from_slice::<Value>(&self.text);
        written.is_ok_and(|written| same(&written, &Value::Number(self.wanted.clone())))
    }
}

/// An escape that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Escape(SmallVec<[u8; 12]>);

impl Escape {
    /// What a byte of a string's inside writes: nothing as long as an escape goes on. `None` if that isn't one.
    pub(super) fn step(&mut self, b: u8) -> Option<SmallVec<[u8; 4]>> {
        if self.0.is_empty() && b != b'\\' {
            return Some(SmallVec::from_slice(&[b]));
        }
        self.0.push(b);
        let unit = |hex: &[u8]| u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok();
        let c = match &self.0[..] {
            [_] | [b'\\', b'u'] | [b'\\', b'u', _] | [b'\\', b'u', _, _] | [b'\\', b'u', _, _, _] => {
                return Some(SmallVec::new());
            }
            [b'\\', b'u', first @ ..] => {
                let high = unit(&first[..4])?;
                match first.get(4..) {
                    Some([]) if !(0xD800..0xDC00).contains(&high) => char::from_u32(u32::from(high))?,
                    Some([b'\\', b'u', low @ ..]) if low.len() == 4 => {
                        let pair = char::decode_utf16([high, unit(low)?]).next();
                        pair.and_then(Result::ok)?
                    }
                    _ => return Some(SmallVec::new()),
                }
            }
            [_, b'n', ..] => '\n',
            [_, b'r', ..] => '\r',
            [_, b't', ..] => '\t',
            [_, b'b', ..] => '\u{8}',
            [_, b'f', ..] => '\u{c}',
            [_, other, ..] => char::from(*other),
            [] => return None,
        };
        self.0.clear();
        Some(SmallVec::from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()))
    }

    /// What is written of it.
    pub(super) fn begun(&self) -> &[u8] {
        &self.0
    }
}

const NUMBER: &[u8] = b"0123456789+-.eE";

impl<'a> Reading<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { open: SmallVec::new(), at: At::Value(value) }
    }

    /// Whether nothing of the value is written.
    pub(super) fn is_new(&self) -> bool {
        self.open.is_empty() && matches!(self.at, At::Value(_))
    }

    /// Marks the bytes that may come next, and perhaps some that may not.
    pub(super) fn mark_next(&self, out: &mut [bool; 256]) {
        let mut mark = |bytes: &[u8]| bytes.iter().for_each(|&b| out[usize::from(b)] = true);
        let (text, escape) = match &self.at {
            At::Text(want, written, escape) => (want.get(*written..=*written).unwrap_or(b"\""), Some(escape)),
            At::Name(name, escape) => {
                if let Some(Open::Object(members, _)) = self.open.last() {
                    let begun = members.keys().filter(|key| key.as_bytes().starts_with(name));
                    begun.for_each(|key| mark(key.as_bytes().get(name.len()..=name.len()).unwrap_or(b"\"")));
                }
                (&[][..], Some(escape))
            }
            At::Word(rest) => (&rest[..1], None),
            At::Number(digits) => {
                let follows = |b: &&u8| !b.is_ascii_digit() || digits.goes_on(**b);
                NUMBER.iter().filter(follows).for_each(|&b| mark(&[b]));
                // What ends a number, there and at the end of the array.
                (&b" \t\r\n,]}"[..], None)
            }
            At::Value(Value::Null) => (&b" \t\r\nn"[..], None),
            At::Value(Value::Bool(_)) => (&b" \t\r\ntf"[..], None),
            At::Value(Value::Number(_)) => (&b" \t\r\n-0123456789"[..], None),
            At::Value(Value::String(_)) | At::Key => (&b" \t\r\n\""[..], None),
            At::Value(Value::Array(_)) => (&b" \t\r\n["[..], None),
            At::Value(Value::Object(_)) => (&b" \t\r\n{"[..], None),
            At::Colon(_) => (&b" \t\r\n:"[..], None),
            At::After if self.open.is_empty() => return out.fill(true),
            At::After => (&b" \t\r\n,]}"[..], None),
        };
        mark(text);
        match escape {
            Some(escape) if escape.begun().is_empty() => mark(b"\\"),
            Some(_) => mark(b"\"\\/0123456789abcdefABCDEFnrtu"),
            None => {}
        }
    }

    /// Reads one more byte; whether the text can still become the value. Behind a whole value anything may come.
    pub(super) fn step(&mut self, b: u8) -> bool {
        match &mut self.at {
            At::Text(want, written, escape) => {
                if b == b'"' && escape.begun().is_empty() {
                    let fine = *written == want.len();
                    self.at = At::After;
                    return fine;
                }
                let Some(bytes) = escape.step(b) else { return false };
                let fine = want[*written..].starts_with(&bytes);
                *written += bytes.len();
                fine
            }
            At::Name(name, escape) => {
                let Some(Open::Object(members, keys)) = self.open.last_mut() else { return false };
                if b == b'"' && escape.begun().is_empty() {
                    let found = (0u32..).zip(members.iter()).find(|(_, (key, _))| key.as_bytes() == &name[..]);
                    let Some((at, (_, value))) = found.filter(|(at, _)| !keys.contains(at)) else { return false };
                    keys.push(at);
                    self.at = At::Colon(value);
                    return true;
                }
                let Some(bytes) = escape.step(b) else { return false };
                name.extend_from_slice(&bytes);
                (0u32..).zip(members.keys()).any(|(at, key)| key.as_bytes().starts_with(name) && !keys.contains(&at))
            }
            At::Word(rest) => match rest.split_first() {
                Some((&next, left)) if next == b => {
                    self.at = if left.is_empty() { At::After } else { At::Word(left) };
                    true
                }
                _ => false,
            },
            At::Number(digits) => {
                if NUMBER.contains(&b) {
                    return digits.step(b);
                }
                let fine = digits.is_whole();
                self.at = At::After;
                fine && self.step(b)
            }
            _ if matches!(b, b' ' | b'\t' | b'\r' | b'\n') => true,
            At::Value(value) => {
                let value = *value;
                self.begin(value, b)
            }
            At::Key => {
                self.at = At::Name(SmallVec::new(), Escape::default());
                b == b'"'
            }
            At::Colon(value) => {
                self.at = At::Value(value);
                b == b':'
            }
            At::After => self.after(b),
        }
    }

    fn begin(&mut self, value: &'a Value, b: u8) -> bool {
        let (first, at) = match value {
            Value::Null => (b'n', At::Word(b"ull")),
            Value::Bool(true) => (b't', At::Word(b"rue")),
            Value::Bool(false) => (b'f', At::Word(b"alse")),
            Value::String(text) => (b'"', At::Text(text.as_bytes(), 0, Escape::default())),
            Value::Number(number) => {
                self.at = At::Number(Digits::new(number));
                return (b == b'-' || b.is_ascii_digit()) && self.step(b);
            }
            Value::Array(items) => {
                let mut items = items.iter();
                let at = items.next().map_or(At::After, At::Value);
                self.open.push(Open::Array(items));
                (b'[', at)
            }
            Value::Object(members) => {
                self.open.push(Open::Object(members, SmallVec::new()));
                (b'{', if members.is_empty() { At::After } else { At::Key })
            }
        };
        self.at = at;
        b == first
    }

    fn after(&mut self, b: u8) -> bool {
        let (ended, next, close) = match self.open.last_mut() {
            None => return true,
            Some(Open::Array(items)) => match items.next() {
                None => (true, At::After, b']'),
                Some(item) => (false, At::Value(item), b']'),
            },
            Some(Open::Object(members, keys)) => (keys.len() == members.len(), At::Key, b'}'),
        };
        if ended {
            self.open.pop();
            return b == close;
        }
        self.at = next;
        b == b','
    }
}

/// A beginning of a JSON text without what makes no difference to what it can become: whitespace, how characters are
/// spelled, zeros behind a decimal point.
pub(super) fn meaning(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut inside, mut fraction, mut escape) = (false, false, Escape::default());
    for &b in text {
        if inside {
            inside = b != b'"' || !escape.begun().is_empty();
            out.extend(escape.step(b).unwrap_or_default());
            continue;
        }
        if fraction && !b.is_ascii_digit() {
            let kept = out.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            out.truncate(kept);
        }
        inside = b == b'"';
        fraction = b == b'.' || (fraction && b.is_ascii_digit());
        if !matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            out.push(b);
        }
    }
    if fraction {
        let kept = out.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        out.truncate(kept);
    }
    out.extend_from_slice(escape.begun());
    out
}

#[cfg(test)]
mod tests {
    use super::{Reading, meaning};
    use serde_json::{Value, json};

    fn read(value: &Value, text: &str) -> bool {
        let mut reading = Reading::new(value);
        text.bytes().all(|b| reading.step(b))
    }

    #[test]
    fn what_can_become_a_value_is_told_from_what_cannot() {
        let value = json!({"a": [1, "x\ny", {}], "bé": {"c": -120.5, "d": null}, "😀": []});
        let spellings = [
            r#" { "a" : [ 1 , "x\ny" , { } ] , "bé" : {"c":-120.5,"d":null}, "😀": [ ] } "#,
            r#"{"\ud83d\ude00":[],"b\u00e9":{"d":null,"c":-1.205e2},"\u0061":[1.0,"\u0078\u000ay",{}]}"#,
        ];
        for spelling in spellings {
            for (end, _) in spelling.char_indices() {
                assert!(read(&value, &spelling[..end]), "{}", &spelling[..end]);
            }
        }
        let others = [
            "[",
            "{}",
            r#"{"b":"#,
            r#"{"a":[]"#,
            r#"{"a":[1]"#,
            r#"{"a":[2"#,
            r#"{"a":[1,"x\t"#,
            r#"{"a":[1,"x\ny",{},"#,
            r#"{"a":[1,"x\ny",{}],"a"#,
            r#"{"bé":{"c":-121"#,
            r#"{"bé":{"c":1"#,
            r#"{"bé":{"d":t"#,
            r#"{"\u00e"}"#,
            r#"{"bé":{"c":-120.5}"#,
            r#"{"bé":{"c":-1.21e"#,
            r#"{"bé":{"c":-120.50,"d":null,"#,
            r#"{"bé":{"c":-12,"#,
        ];
        for text in others {
            assert!(!read(&value, text), "{text}");
        }
        for spelling in spellings {
            let mut reading = Reading::new(&value);
            for b in spelling.bytes() {
                let mut next = [false; 256];
                reading.mark_next(&mut next);
                assert!(next[usize::from(b)] && reading.step(b), "{spelling}");
            }
        }
        assert!(read(&json!(0), "-0.00") && !read(&json!(0), "0.01") && read(&json!(100), "1e"));
    }

    #[test]
    fn spellings_of_one_beginning_mean_the_same() {
        assert_eq!(meaning(br#"{ "\u0061" : [1.50 , "#), meaning(br#"{"a":[1.5,"#));
        assert_eq!(meaning(b"[1.00"), meaning(b"[1.0"));
        assert_ne!(meaning(b"[100"), meaning(b"[10"));
        assert_ne!(meaning(br#"["a b"#), meaning(br#"["ab"#));
        assert_ne!(meaning(br#"["\u00"#), meaning(br#"["\u0"#));
    }
}
