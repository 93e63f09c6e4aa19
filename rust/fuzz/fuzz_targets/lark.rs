//! Grammars in Lark's notation with rules of every attribute: an error or exact masks, from each of which the text can be completed.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use fairlead_core::Grammar;
use fairlead_fuzz::{pick, walk_to_the_end};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Lark(String);

const TERMINALS: [&str; 10] =
    ["/(.|\\n)*/", "/[ab]*/", "/[ab]+/", "/a|ab/", "\"a\"", "\"ab\"", "\"<\"", "/[^<]*/", "/é?b/", "\"\""];
const NAMES: [&str; 3] = ["A", "B", "C"];
const RULES: [&str; 5] = ["r0", "r1", "r2", "r3", "start"];

fn joined(
    u: &mut Unstructured<'_>,
    most: usize,
    by: &str,
    each: &mut dyn FnMut(&mut Unstructured<'_>) -> Result<String>,
) -> Result<String> {
    let n = u.int_in_range(1..=most)?;
    Ok((0..n).map(|_| each(u)).collect::<Result<Vec<_>>>()?.join(by))
}

/// A terminal that names only those before it.
fn terminal(u: &mut Unstructured<'_>, names: &[&str]) -> Result<String> {
    let mut atom = |u: &mut Unstructured<'_>| {
        let not = if u.ratio(1, 6)? { "~" } else { "" };
        let atom = if names.is_empty() || u.arbitrary()? { pick(u, &TERMINALS)? } else { pick(u, names)? };
        Ok(format!("{not}{atom}{}", pick(u, &["", "", "?", "{0,2}"])?))
    };
    let by = pick(u, &[" ", " | ", " & "])?;
    joined(u, 3, by, &mut atom)
}

fn piece(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    let most = if depth < 3 { 7 } else { 3 };
    let atom = match u.int_in_range(0..=most)? {
        0 => pick(u, &TERMINALS)?.to_owned(),
        1 => pick(u, &NAMES)?.to_owned(),
        2 => pick(u, &RULES)?.to_owned(),
        3 => pick(u, &["<|x|>", "<[*]>", "%json {\"enum\":[1,12]}"])?.to_owned(),
        4 => format!("%lark {{ start: {} \n}}", joined(u, 2, " ", &mut |u| Ok(pick(u, &TERMINALS)?.to_owned()))?),
        _ => format!("({})", body(u, depth + 1)?),
    };
    Ok(format!("{atom}{}", pick(u, &["", "", "*", "?", "+", "~1..2"])?))
}

fn body(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    joined(u, 3, " | ", &mut |u| joined(u, 3, " ", &mut |u| piece(u, depth)))
}

impl<'a> Arbitrary<'a> for Lark {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut text = String::new();
        for (i, name) in NAMES.iter().enumerate() {
            text += &format!("{name}: {}\n", terminal(u, &NAMES[..i])?);
        }
        for name in &RULES {
            let most = u.int_in_range(0..=3u8)?;
            let attributes = match u.int_in_range(0..=6u8)? {
                0 => "[lazy]".to_owned(),
                1 => format!("[suffix={}]", pick(u, &TERMINALS)?),
                2 => format!("[max_tokens={most}]"),
                3 => format!("[capture, max_tokens={most}, suffix={}]", pick(u, &TERMINALS)?),
                _ => String::new(),
            };
            let body = if attributes.is_empty() { body(u, 0)? } else { terminal(u, &NAMES)? };
            text += &format!("{name}{attributes}: {body}\n");
        }
        if u.ratio(1, 4)? {
            text += "%ignore / {1,2}/\n";
        }
        Ok(Self(text))
    }
}

fuzz_target!(|input: (Vec<u8>, Lark)| {
    let (choices, lark) = input;
    walk_to_the_end(&Grammar::Lark(lark.0), &choices);
});
