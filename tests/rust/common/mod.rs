//! What the tests of the engine share: golden cases, a small vocabulary, random grammars and naive references.
#![allow(dead_code)] // each test target uses a part

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fairlead_core::json_schema::{Draft, Whitespace};
use fairlead_core::{
    CompiledGrammar, Compiler, CompilerOptions, Error, ErrorKind, Grammar, GrammarMatcher, JsonOptions, Limits,
    Vocabulary,
};
use proptest::prelude::*;
use serde::Deserialize;

// ---- golden cases ---------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Golden {
    #[serde(default)]
    case: Vec<Case>,
    #[serde(default)]
    error: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    pattern: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    accept: Vec<String>,
    #[serde(default)]
    refuse: Vec<String>,
    #[serde(default)]
    dead: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    pattern: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    limits: RawLimits,
    kind: Option<String>,
    offset: Option<usize>,
    pointer: Option<String>,
    keyword: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Options {
    whitespace: Option<String>,
    max_whitespace: Option<u32>,
    separators: Option<(String, String)>,
    indent: Option<String>,
    property_order: Option<String>,
    #[serde(default)]
    integer_fraction: bool,
    format_assertion: Option<bool>,
    draft: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // the names of `Limits`
struct RawLimits {
    max_source_bytes: Option<usize>,
    max_depth: Option<usize>,
    max_repetition: Option<u32>,
    max_states: Option<usize>,
}

impl Options {
    fn read(&self) -> JsonOptions {
        let whitespace = match (self.separators.clone(), self.whitespace.as_deref()) {
            (pair, _) if let Some(indent) = self.indent.clone() => {
                let (item, key) = pair.unwrap_or_else(|| (",".into(), ": ".into()));
                Whitespace::Indented { indent, item, key }
            }
            (Some((item, key)), _) => Whitespace::Separators { item, key },
            (_, Some("compact")) => Whitespace::Compact,
            (_, Some("free")) => Whitespace::Free,
            (_, None | Some("bounded")) => Whitespace::Bounded(self.max_whitespace.unwrap_or(64)),
            (_, Some(other)) => panic!("whitespace {other}"),
        };
        JsonOptions {
            whitespace,
            any_order: self.property_order.as_deref() == Some("any"),
            integer_fraction: self.integer_fraction,
            format_assertion: self.format_assertion.unwrap_or(true),
            draft: self.draft.as_ref().map(|name| Draft::of_name(name).expect("a draft")),
            resources: Vec::new(),
        }
    }
}

fn grammar(pattern: Option<&String>, schema: Option<&String>, options: &Options) -> Grammar {
    match (pattern, schema) {
        (Some(pattern), None) => Grammar::Regex(pattern.clone()),
        (None, Some(schema)) => Grammar::JsonSchema { schema: schema.clone(), options: Box::new(options.read()) },
        _ => panic!("a case has a pattern or a schema"),
    }
}

/// How many bytes of a text are accepted, one by one.
pub(crate) fn taken(matcher: &mut GrammarMatcher, text: &[u8]) -> usize {
    text.iter().position(|&b| !matcher.accept_bytes(&[b])).unwrap_or(text.len())
}

/// Runs the cases of a file.
pub(crate) fn run_golden(file: &str) {
    let golden: Golden = toml::from_str(file).expect("golden cases");
    assert!(golden.case.len() + golden.error.len() > 0);
    let compiler = compiler(CompilerOptions::default());
    let mut wrong = Vec::new();
    for case in &golden.case {
        let grammar = grammar(case.pattern.as_ref(), case.schema.as_ref(), &case.options);
        let compiled = match compiler.compile(&grammar) {
            Ok(compiled) => compiled,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        let run = |text: &str| {
            let mut matcher = GrammarMatcher::new(&compiled, None, false);
            let alive = taken(&mut matcher, text.as_bytes()) == text.len();
            let mut at_once = GrammarMatcher::new(&compiled, None, false);
            assert_eq!(at_once.accept_bytes(text.as_bytes()), alive, "{}: {text}", case.name);
            (alive, alive && matcher.is_completed())
        };
        let mut expect = |texts: &[String], what: &str, fine: &dyn Fn((bool, bool)) -> bool| {
            wrong.extend(texts.iter().filter(|t| !fine(run(t))).map(|t| format!("{}: {what} {t}", case.name)));
        };
        expect(&case.accept, "refused", &|(_, complete)| complete);
        expect(&case.refuse, "accepted", &|(_, complete)| !complete);
        expect(&case.dead, "began", &|(alive, _)| !alive);
    }
    for bad in &golden.error {
        wrong.extend(check_error(bad).err().map(|what| format!("{}: {what}", bad.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_error(bad: &Bad) -> Result<(), String> {
    let mut limits = Limits::default();
    limits.max_source_bytes = bad.limits.max_source_bytes.unwrap_or(limits.max_source_bytes);
    limits.max_depth = bad.limits.max_depth.unwrap_or(limits.max_depth);
    limits.max_repetition = bad.limits.max_repetition.unwrap_or(limits.max_repetition);
    limits.max_states = bad.limits.max_states.unwrap_or(limits.max_states);
    let compiler = compiler(CompilerOptions { limits, ..CompilerOptions::default() });
    let grammar = grammar(bad.pattern.as_ref(), bad.schema.as_ref(), &bad.options);
    let error: Error = compiler.compile(&grammar).err().ok_or("compiled")?;
    let kind = match (bad.kind.as_deref(), bad.pattern.is_some()) {
        (Some("grammar"), _) | (None, true) => ErrorKind::Grammar,
        (Some("schema"), _) | (None, false) => ErrorKind::Schema,
        (Some("unsupported"), _) => ErrorKind::UnsupportedSchema,
        (Some("limit"), _) => ErrorKind::Limit,
        (Some(other), _) => return Err(format!("kind {other}")),
    };
    let same = error.kind() == kind
        && (bad.offset.is_none() || error.offset() == bad.offset)
        && (bad.pointer.is_none() || error.pointer() == bad.pointer.as_deref())
        && (bad.keyword.is_none() || error.keyword() == bad.keyword.as_deref());
    if same { Ok(()) } else { Err(format!("{error:?}")) }
}

// ---- a small vocabulary ---------------------------------------------------------------------------------------------

const PIECES: [&[u8]; 74] = [
    b"\",\"",
    b"\":{\"",
    b"\": \"",
    b"\":",
    b"\",",
    b"{\"",
    b"\"}",
    b"}]",
    b"],",
    b"[[",
    b"]]",
    b"}}",
    b"{}",
    b"[]",
    b"true",
    b"false",
    b"null",
    b"tr",
    b"ue",
    b"12",
    b"00",
    b"0.",
    b".5",
    b".0",
    b"-1",
    b"-0",
    b"e+",
    b"1e",
    b"  ",
    b"\n",
    b"\n  ",
    b" ,",
    b": ",
    b", ",
    b", \"",
    b"\\\"",
    b"\\u",
    b"\\u00",
    b"61",
    b"\\u0061",
    b"\\ud83d",
    b"\\ude42",
    b"\\n",
    b"\xc3\xa9",
    b"\xe2\x82\xac",
    b"\xf0\x9f\x99\x82",
    b"\xa9\"",
    b"\xe2\x82",
    b"\x82\xac",
    b"\x9f\x99\x82",
    b"\xf0\x9f",
    b"a\"",
    b"ab",
    b"abc",
    b"aa",
    b"aaaa",
    b"b1",
    b"foo",
    b"a\":",
    b"\"a\"",
    b"\"a\":",
    b"\"b\":",
    b"\"a\":1",
    b"x\"",
    b"\" \"",
    b" \"",
    b"ab",
    b"\"",
    b"\",\"",
    b"}",
    b"1,\"",
    b"\",\"b\":",
    b"aab",
    b"bb",
];

/// Every byte, pieces that cross the joints of JSON (some of them twice), holes, an empty token, two stop ids, padding.
pub(crate) fn vocabulary() -> Arc<Vocabulary> {
    let mut tokens: Vec<Option<Box<[u8]>>> = (0..=255u8).map(|b| Some(vec![b].into())).collect();
    tokens.push(None);
    tokens.extend(PIECES.iter().map(|&p| Some(p.into())));
    tokens.extend([Some(Box::default()), None, Some(b"<eos>".as_slice().into())]);
    let last = tokens.len() as u32 - 1;
    let size = tokens.len() + 5;
    Arc::new(Vocabulary::new(tokens, vec![last, 256], size).expect("a vocabulary"))
}

pub(crate) fn compiler(options: CompilerOptions) -> Compiler {
    Compiler::new(vocabulary(), options)
}

/// The mask, filled over garbage.
pub(crate) fn mask(matcher: &mut GrammarMatcher) -> Vec<u32> {
    let words = matcher.grammar().vocabulary().words();
    let mut row = vec![0xA5A5_5A5A; words];
    matcher.fill(&mut row);
    row
}

pub(crate) fn ids(row: &[u32]) -> Vec<u32> {
    (0..row.len() as u32 * 32).filter(|i| row[*i as usize / 32] >> (i % 32) & 1 == 1).collect()
}

/// The ids allowed after a text: each token written byte by byte, from a matcher that was just made.
pub(crate) fn brute_force(compiled: &Arc<CompiledGrammar>, text: &[u8]) -> Vec<u32> {
    let vocabulary = compiled.vocabulary();
    let mut start = GrammarMatcher::new(compiled, None, false);
    assert_eq!(taken(&mut start, text), text.len(), "{}", text.escape_ascii());
    let allowed = |id: u32| {
        if vocabulary.stop_ids().contains(&id) {
            return start.is_completed();
        }
        let bytes = vocabulary.bytes(id).filter(|b| !b.is_empty());
        bytes.is_some_and(|bytes| taken(&mut start.clone(), bytes) == bytes.len())
    };
    (0..vocabulary.size() as u32).filter(|&id| allowed(id)).collect()
}

// ---- random patterns ------------------------------------------------------------------------------------------------

/// A pattern as a tree, with a naive matcher.
#[derive(Clone, Debug)]
pub(crate) enum Re {
    Empty,
    Char(char),
    Class(bool, Vec<(char, char)>),
    Dot,
    Start,
    End,
    Seq(Vec<Re>),
    Alt(Vec<Re>),
    Rep(Box<Re>, u32, Option<u32>),
}

impl fmt::Display for Re {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Char(c) if c.is_alphanumeric() => write!(f, "{c}"),
            Self::Char(c) => write!(f, "\\x{{{:x}}}", u32::from(*c)),
            Self::Class(negated, ranges) => {
                write!(f, "[{}", if *negated { "^" } else { "" })?;
                ranges.iter().try_for_each(|(lo, hi)| write!(f, "{lo}-{hi}"))?;
                f.write_str("]")
            }
            Self::Dot => f.write_str("."),
            Self::Start => f.write_str("^"),
            Self::End => f.write_str("$"),
            Self::Seq(parts) => parts.iter().try_for_each(|p| write!(f, "(?:{p})")),
            Self::Alt(parts) => {
                let parts: Vec<String> = parts.iter().map(Self::to_string).collect();
                write!(f, "(?:{})", parts.join("|"))
            }
            Self::Rep(body, min, None) => write!(f, "(?:{body}){{{min},}}"),
            Self::Rep(body, min, Some(max)) => write!(f, "(?:{body}){{{min},{max}}}"),
        }
    }
}

impl Re {
    /// Where matches may end that begin at one of some places.
    fn ends(&self, text: &[char], from: &BTreeSet<usize>) -> BTreeSet<usize> {
        let one = |fits: &dyn Fn(char) -> bool| {
            from.iter().filter(|&&i| text.get(i).is_some_and(|&c| fits(c))).map(|i| i + 1).collect()
        };
        match self {
            Self::Empty => from.clone(),
            Self::Char(c) => one(&|d| d == *c),
            Self::Class(negated, ranges) => one(&|d| ranges.iter().any(|&(lo, hi)| (lo..=hi).contains(&d)) != *negated),
            Self::Dot => one(&|d| d != '\n'),
            Self::Start => from.iter().copied().filter(|&i| i == 0).collect(),
            Self::End => from.iter().copied().filter(|&i| i == text.len()).collect(),
            Self::Seq(parts) => parts.iter().fold(from.clone(), |at, part| part.ends(text, &at)),
            Self::Alt(parts) => parts.iter().flat_map(|part| part.ends(text, from)).collect(),
            Self::Rep(body, min, max) => {
                let mut at = (0..*min).fold(from.clone(), |at, _| body.ends(text, &at));
                let mut all = at.clone();
                let mut more = max.map_or(usize::MAX, |max| (max - min) as usize);
                while more > 0 {
                    at = body.ends(text, &at).difference(&all).copied().collect();
                    if at.is_empty() {
                        break;
                    }
                    all.extend(&at);
                    more -= 1;
                }
                all
            }
        }
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.ends(&text, &BTreeSet::from([0])).contains(&text.len())
    }
}

/// Random patterns; with `^` and `$` in any place if asked for.
pub(crate) fn patterns(anchors: bool) -> impl Strategy<Value = Re> {
    let chars = proptest::sample::select(vec!['a', 'b', '1', 'é', '🙂', '\n', '"']);
    let ranges =
        proptest::sample::select(vec![('a', 'a'), ('a', 'b'), ('0', '9'), ('b', 'z'), ('à', 'ÿ'), ('a', '🙂')]);
    let ends = if anchors { vec![Re::Start, Re::End, Re::Empty] } else { vec![Re::Empty] };
    let leaf = prop_oneof![
        4 => chars.prop_map(Re::Char),
        2 => (any::<bool>(), proptest::collection::vec(ranges, 1..3)).prop_map(|(n, r)| Re::Class(n, r)),
        1 => Just(Re::Dot),
        2 => proptest::sample::select(ends),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Re::Seq),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Re::Alt),
            (inner, 0..4u32, proptest::option::of(0..3u32)).prop_map(|(body, min, more)| Re::Rep(
                Box::new(body),
                min,
                more.map(|m| min + m)
            )),
        ]
    })
}

/// Short texts over what the patterns are made of.
pub(crate) fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab1é🙂\n\"z]{0,6}", 12)
}

// ---- random schemas -------------------------------------------------------------------------------------------------

/// Random schemas as text; what is unsupported or admits nothing is for the test to sort out.
pub(crate) fn schemas() -> impl Strategy<Value = String> {
    let bounds = (-3..12i32, 0..9i32, prop_oneof![Just("1"), Just("3"), Just("0.5")]);
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just(r#"{"type": ["boolean", "null"]}"#.to_owned()),
        Just(r#"{"type": "integer"}"#.to_owned()),
        Just(r##"{"$ref": "#"}"##.to_owned()),
        proptest::sample::select(vec![r#"["a", "ab", 1, 12, null]"#, r#"[{"a": 1}, [1, "x"], "é\""]"#])
            .prop_map(|values| format!(r#"{{"enum": {values}}}"#)),
        (0..3u32, 0..4u32)
            .prop_map(|(lo, more)| format!(r#"{{"type":"string","minLength":{lo},"maxLength":{}}}"#, lo + more)),
        (proptest::sample::select(vec!["^a", "b$", "^[a-c]+$", "ab", "[0-9]{2}", "^(foo|a.)?$"]), 1..6u32)
            .prop_map(|(p, hi)| format!(r#"{{"type":"string","pattern":"{p}","maxLength":{hi}}}"#)),
        bounds.prop_map(|(lo, more, step)| {
            format!(r#"{{"type":"number","minimum":{lo},"maximum":{},"multipleOf":{step}}}"#, lo + more)
        }),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        let keys = proptest::sample::select(vec!["a", "b", "ab", "é", "foo"]);
        let properties = proptest::collection::btree_map(keys.clone(), inner.clone(), 0..4)
            .prop_map(|map| map.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(","));
        let rest = prop_oneof![
            Just(String::new()),
            Just(r#","additionalProperties":false"#.to_owned()),
            Just(r#","patternProperties":{"^a":{"type":"integer"}}"#.to_owned()),
            Just(r#","propertyNames":{"enum":["a","x","foo"]}"#.to_owned()),
            Just(r#","propertyNames":{"maxLength":1}"#.to_owned()),
            inner.clone().prop_map(|s| format!(r#","additionalProperties":{s}"#)),
            keys.prop_map(|k| format!(r#","required":["{k}"]"#)),
            (0..3u32, 0..3u32).prop_map(|(lo, more)| format!(r#","minProperties":{lo},"maxProperties":{}"#, lo + more)),
        ];
        prop_oneof![
            2 => (properties, rest).prop_map(|(p, r)| format!(r#"{{"type":"object","properties":{{{p}}}{r}}}"#)),
            1 => (inner.clone(), 0..3u32, 0..3u32).prop_map(|(s, lo, more)| {
                format!(r#"{{"type":"array","items":{s},"minItems":{lo},"maxItems":{}}}"#, lo + more)
            }),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r#"{{"type":"array","prefixItems":[{a}],"items":{b}}}"#)),
            1 => proptest::collection::vec(inner.clone(), 1..3).prop_map(|s| format!(r#"{{"anyOf":[{}]}}"#, s.join(","))),
            1 => proptest::collection::vec(inner, 1..3).prop_map(|s| format!(r#"{{"allOf":[{}]}}"#, s.join(","))),
        ]
    })
}

/// Options of the schemas.
pub(crate) fn json_options() -> impl Strategy<Value = JsonOptions> {
    let whitespace = prop_oneof![
        Just(Whitespace::Bounded(64)),
        Just(Whitespace::Bounded(2)),
        Just(Whitespace::Compact),
        Just(Whitespace::Free),
        Just(Whitespace::Separators { item: ", ".into(), key: ": ".into() }),
        Just(Whitespace::Indented { indent: " ".into(), item: ",".into(), key: ": ".into() }),
    ];
    (whitespace, any::<bool>(), any::<bool>()).prop_map(|(whitespace, any_order, integer_fraction)| JsonOptions {
        whitespace,
        any_order,
        integer_fraction,
        ..JsonOptions::default()
    })
}

/// Random grammars.
pub(crate) fn grammars() -> impl Strategy<Value = Grammar> {
    let schema = || {
        (schemas(), json_options())
            .prop_map(|(schema, options)| Grammar::JsonSchema { schema, options: Box::new(options) })
    };
    prop_oneof![
        1 => patterns(true).prop_map(|re| Grammar::Regex(re.to_string())),
        3 => schema(),
        1 => (patterns(false), schema()).prop_map(|(re, schema)| {
            Grammar::Sequence(vec![Grammar::Either(vec![Grammar::Regex(re.to_string()), Grammar::Choice(vec!["ab".into()])]), schema])
        }),
    ]
}
