//! JSON Schemas of every keyword in any combination: an error or exact masks, and what is accepted is JSON.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use fairlead_core::Grammar;
use fairlead_fuzz::{list, pick, walk};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Schema(String);

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
const WORDS: [&str; 6] = ["\"a\"", "\"b\"", "\"ab\"", "\"\"", "\"é\\\"\"", "\"$x\""];
const VALUES: [&str; 12] =
    ["null", "true", "0", "-1", "1.5", "12e1", "\"a\"", "\"\\u00e9\"", "[]", "[1,\"a\"]", "{}", "{\"a\":1,\"b\":[]}"];
const PATTERNS: [&str; 8] = ["^a", "b$", "^[ab]{1,3}$", "a|bc", "^(ab)*$", "\\\\d+", "^$", "[^a]"];
const FORMATS: [&str; 8] = ["date", "ipv4", "uuid", "email", "time", "json-pointer", "hostname", "idn-hostname"];

fn members(u: &mut Unstructured<'_>, depth: usize, names: &[&str]) -> Result<String> {
    let n = u.int_in_range(1..=3.min(names.len()))?;
    let from = u.int_in_range(0..=names.len() - n)?;
    let each = names[from..from + n].iter().map(|name| Ok(format!("{name}:{}", schema(u, depth)?)));
    Ok(each.collect::<Result<Vec<_>>>()?.join(","))
}

fn keyword(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    let count = u.int_in_range(0..=3u8)?;
    let patterns: Vec<String> = PATTERNS.iter().map(|pattern| format!("\"{pattern}\"")).collect();
    let patterns: Vec<&str> = patterns.iter().map(|pattern| &**pattern).collect();
    let deep = depth < 3;
    Ok(match u.int_in_range(0..=if deep { 38 } else { 16u8 })? {
        0 | 1 => format!("\"type\":\"{}\"", pick(u, &TYPES)?),
        2 => format!("\"type\":[{}]", list(u, 1..=3, |u| Ok(format!("\"{}\"", pick(u, &TYPES)?)))?),
        3 => format!("\"enum\":[{}]", list(u, 1..=4, |u| Ok(pick(u, &VALUES)?.to_owned()))?),
        4 => format!("\"const\":{}", pick(u, &VALUES)?),
        5 => format!("\"minLength\":{count}"),
        6 => format!("\"maxLength\":{count}"),
        7 => format!("\"pattern\":\"{}\"", pick(u, &PATTERNS)?),
        8 => format!("\"format\":\"{}\"", pick(u, &FORMATS)?),
        9 => format!("\"minimum\":{}", i32::from(u.arbitrary::<i8>()?)),
        10 => format!("\"exclusiveMaximum\":{}.5", u.arbitrary::<i8>()?),
        11 => format!("\"multipleOf\":{}", pick(u, &["1", "7", "0.25", "12"])?),
        12 => format!("\"minItems\":{count}"),
        13 => format!("\"maxItems\":{count}"),
        14 => format!("\"minProperties\":{count}"),
        15 => format!("\"maxProperties\":{count}"),
        16 => format!("\"required\":[{}]", list(u, 1..=2, |u| Ok(pick(u, &WORDS)?.to_owned()))?),
        17..=20 => format!("\"properties\":{{{}}}", members(u, depth + 1, &WORDS)?),
        21 | 22 => format!("\"additionalProperties\":{}", schema(u, depth + 1)?),
        23 => format!("\"patternProperties\":{{{}}}", members(u, depth + 1, &patterns)?),
        24 => format!("\"propertyNames\":{}", schema(u, depth + 1)?),
        25 | 26 => format!("\"items\":{}", schema(u, depth + 1)?),
        27 => format!("\"prefixItems\":[{}]", list(u, 1..=3, |u| schema(u, depth + 1))?),
        28 => format!("\"contains\":{},\"maxContains\":{count}", schema(u, depth + 1)?),
        29 => "\"uniqueItems\":true".to_owned(),
        30 => format!("\"allOf\":[{}]", list(u, 1..=2, |u| schema(u, depth + 1))?),
        31 => format!("\"anyOf\":[{}]", list(u, 1..=3, |u| schema(u, depth + 1))?),
        32 => format!("\"oneOf\":[{}]", list(u, 1..=3, |u| schema(u, depth + 1))?),
        33 => format!("\"not\":{}", schema(u, depth + 1)?),
        34 => format!(
            "\"if\":{},\"then\":{},\"else\":{}",
            schema(u, depth + 1)?,
            schema(u, depth + 1)?,
            schema(u, depth + 1)?
        ),
        35 => format!("\"dependentSchemas\":{{{}}}", members(u, depth + 1, &WORDS)?),
        36 => format!("\"unevaluatedProperties\":{}", schema(u, depth + 1)?),
        37 => format!("\"unevaluatedItems\":{}", schema(u, depth + 1)?),
        _ => "\"$ref\":\"#\"".to_owned(),
    })
}

fn schema(u: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    if u.is_empty() || u.ratio(1, 6)? {
        return Ok(pick(u, &["true", "false", "{\"type\":\"string\"}", "{\"type\":\"integer\"}"])?.to_owned());
    }
    let mut keywords: Vec<(String, String)> = Vec::new();
    for _ in 0..u.int_in_range(1..=3u8)? {
        let written = keyword(u, depth)?;
        let name = written.split(':').next().unwrap_or_default().to_owned();
        if keywords.iter().all(|(known, _)| *known != name) {
            keywords.push((name, written));
        }
    }
    Ok(format!("{{{}}}", keywords.into_iter().map(|(_, written)| written).collect::<Vec<_>>().join(",")))
}

impl<'a> Arbitrary<'a> for Schema {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(schema(u, 0)?))
    }
}

fuzz_target!(|input: (Vec<u8>, Schema)| {
    let (choices, schema) = input;
    walk(&Grammar::json_schema(schema.0), &choices);
});
