//! Structural tags of every format in any combination: an error or exact masks, from each of which the text can be
//! completed.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use fairlead_core::Grammar;
use fairlead_fuzz::{list, pick, walk_to_the_end};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Tags(String);

// The names of special tokens stand for them.
const TEXTS: [&str; 12] = ["<a>", "<b>", "<a", "<", "ab", "b", "}", "12", "é", "<|x|>", "a<|y|>b", "<|"];
const EDGES: [&str; 8] = [
    "\"<a>\"",
    "\"b\"",
    "\"}\"",
    "\"\"",
    "\"<|x|>\"",
    "\"b<|y|>\"",
    "\"<|x|>a\"",
    "{\"type\":\"token\",\"token\":\"<|x|>\"}",
];
const PATTERNS: [&str; 5] = ["[ab]*", "a|<a>", "[0-9]{1,3}", "<?b", ".{0,4}"];
const GRAMMARS: [&str; 3] = [
    "root ::= \\\"a\\\" root \\\"b\\\" | \\\"\\\"",
    "root ::= x | x \\\"<\\\" root\\nx ::= [a-c]",
    "root ::= \\\"<b>\\\"",
];
const SCHEMAS: [&str; 6] = [
    "{\"type\":\"integer\"}",
    "{\"enum\":[1,12,\"a\"]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"],\"additionalProperties\":false}",
    "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"maxItems\":2}",
    "{\"type\":\"string\",\"not\":{\"pattern\":\"<\"}}",
    "{\"properties\":{\"a\":{\"type\":[\"string\",\"array\"],\"maxLength\":2},\"b\":{\"enum\":[1,\"<b>\"]}},\"required\":[\"b\"]}",
];
const STYLES: [&str; 6] = ["json", "qwen_xml", "glm_xml", "deepseek_xml", "cohere_xml", "minimax_m3_xml"];
const TOKENS: [&str; 2] = ["\"<|x|>\"", "\"<|y|>\""];

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(format!("\"{}\"", pick(u, &TEXTS)?))
}

fn any_text(u: &mut Unstructured<'_>) -> Result<String> {
    let excludes = list(u, 0..=2, text)?;
    let mut most = String::new();
    for unit in ["max_chars", "max_tokens"] {
        if u.arbitrary()? {
            most += &format!(",\"{unit}\":{}", u.int_in_range(0..=4)?);
        }
    }
    Ok(format!("{{\"type\":\"any_text\",\"excludes\":[{excludes}]{most}}}"))
}

fn tag(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    let (begin, end) = (pick(u, &EDGES)?, list(u, 1..=2, |u| Ok(pick(u, &EDGES)?.to_owned()))?);
    Ok(format!("{{\"type\":\"tag\",\"begin\":{begin},\"content\":{},\"end\":[{end}]}}", format(u, depth + 1)?))
}

fn ends(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(format!("\"at_least_one\":{},\"stop_after_first\":{}", u.arbitrary::<bool>()?, u.arbitrary::<bool>()?))
}

fn format(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    let inner = |u: &mut Unstructured<'_>| format(u, depth + 1);
    let kind = u.int_in_range(0..=if depth < 3 { 15 } else { 6u8 })?;
    Ok(match kind {
        0 => format!("{{\"type\":\"const_string\",\"value\":{}}}", text(u)?),
        1 => format!("{{\"type\":\"json_schema\",\"json_schema\":{}}}", pick(u, &SCHEMAS)?),
        2 => {
            let (schema, style) = (pick(u, &SCHEMAS)?, pick(u, &STYLES)?);
            format!("{{\"type\":\"json_schema\",\"style\":\"{style}\",\"json_schema\":{schema}}}")
        }
        3 => format!("{{\"type\":\"regex\",\"pattern\":\"{}\"}}", pick(u, &PATTERNS)?),
        4 => format!("{{\"type\":\"grammar\",\"grammar\":\"{}\"}}", pick(u, &GRAMMARS)?),
        5 => any_text(u)?,
        6 => match u.arbitrary()? {
            true => format!("{{\"type\":\"token\",\"token\":{}}}", pick(u, &TOKENS)?),
            false => format!("{{\"type\":\"exclude_token\",\"exclude_tokens\":[{}]}}", pick(u, &TOKENS)?),
        },
        7 => format!("{{\"type\":\"sequence\",\"elements\":[{}]}}", list(u, 1..=2, inner)?),
        8 => format!("{{\"type\":\"or\",\"elements\":[{}]}}", list(u, 1..=2, inner)?),
        9 => format!("{{\"type\":\"{}\",\"content\":{}}}", pick(u, &["optional", "plus", "star"])?, inner(u)?),
        10 => format!("{{\"type\":\"repeat\",\"min\":{},\"max\":3,\"content\":{}}}", u.int_in_range(0..=2)?, inner(u)?),
        11 => tag(u, depth)?,
        12 => {
            let (tags, separator, ends) = (list(u, 1..=2, |u| tag(u, depth))?, text(u)?, ends(u)?);
            format!("{{\"type\":\"tags_with_separator\",\"tags\":[{tags}],\"separator\":{separator},{ends}}}")
        }
        13 => {
            let (triggers, tags) = (list(u, 1..=2, text)?, list(u, 1..=2, |u| tag(u, depth))?);
            let (excludes, ends) = (list(u, 0..=2, text)?, ends(u)?);
            format!(
                "{{\"type\":\"triggered_tags\",\"triggers\":[{triggers}],\"tags\":[{tags}],\"excludes\":[{excludes}],{ends}}}"
            )
        }
        14 => {
            let rule = |u: &mut Unstructured<'_>| Ok(format!("[{},{}]", text(u)?, inner(u)?));
            let (rules, excludes, again) = (list(u, 1..=2, rule)?, list(u, 0..=2, text)?, u.arbitrary::<bool>()?);
            format!("{{\"type\":\"dispatch\",\"rules\":[{rules}],\"excludes\":[{excludes}],\"loop\":{again}}}")
        }
        _ => {
            let rule = |u: &mut Unstructured<'_>| Ok(format!("[{},{}]", pick(u, &TOKENS)?, inner(u)?));
            let (rules, again) = (list(u, 1..=2, rule)?, u.arbitrary::<bool>()?);
            format!("{{\"type\":\"token_dispatch\",\"rules\":[{rules}],\"loop\":{again}}}")
        }
    })
}

impl<'a> Arbitrary<'a> for Tags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(format!("{{\"type\":\"structural_tag\",\"format\":{}}}", format(u, 0)?)))
    }
}

fuzz_target!(|input: (Tags, Vec<u8>)| {
    let (Tags(source), choices) = input;
    walk_to_the_end(&Grammar::StructuralTag(source), &choices);
});
