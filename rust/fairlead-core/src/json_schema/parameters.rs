//! Arguments of tool calls as models write them in tags: one parameter behind the other, texts as they are, other values in
//! JSON.
//!
//! Parameters are those that the schema names, in its order. A text holds no closing tag, and no characters that XML has not;
//! around everything but a text without conditions whitespace may stand, unless the opening tag says already that a text follows.
//! Strings inside of arrays and objects are those of JSON, which may hold anything.

use std::rc::Rc;

use super::branches::Overlapping;
use super::document::escaped;
use super::emit::Emitter;
use super::nested::NestedStyle;
use super::plan::PlannedObject;
use super::shape::{Demands, Strings, both, only, opposite};
use crate::automata::{EPS, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// The characters of XML: of the control characters only those of whitespace.
const CHARACTERS: [(char, char); 3] = [('\t', '\n'), ('\r', '\r'), (' ', char::MAX)];

/// How a family of models writes arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParameterStyle {
    /// Values that aren't texts are JSON.
    Flat(FlatStyle),
    /// Arrays and objects are tags again.
    Nested(NestedStyle),
}

impl ParameterStyle {
    /// The style of a name in structural tags.
    pub(crate) fn named(name: &str) -> Option<Self> {
        FlatStyle::named(name).map(Self::Flat).or_else(|| NestedStyle::named(name).map(Self::Nested))
    }
}

/// How one family of models writes a parameter whose value is a text or JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatStyle {
    /// Before the key.
    open: &'static str,
    /// Between the key and a text; parts between which whitespace may stand.
    text: &'static [&'static str],
    /// Between the key and any other value; with `{type}` for the name of its type.
    json: &'static [&'static str],
    /// Behind the value.
    close: &'static str,
}

impl FlatStyle {
    fn named(name: &str) -> Option<Self> {
        let alike = |open, between: &'static [&'static str], close| Self { open, text: between, json: between, close };
        Some(match name {
            "qwen_xml" => alike("<parameter=", &[">"], "</parameter>"),
            "minimax_xml" => alike("<parameter name=\"", &["\">"], "</parameter>"),
            "glm_xml" => alike("<arg_key>", &["</arg_key>", "<arg_value>"], "</arg_value>"),
            "deepseek_xml" => Self {
                open: "<｜DSML｜parameter name=\"",
                text: &["\" string=\"true\">"],
                json: &["\" string=\"false\">"],
                close: "</｜DSML｜parameter>",
            },
            "deepseek_v4_1_xml" => Self {
                open: "<｜DSML｜ parameter name=\"",
                text: &["\" string=\"true\">"],
                json: &["\" string=\"false\">"],
                close: "</｜DSML｜ parameter>",
            },
            "kimi_k3_xml" => Self {
                open: "<|open|>argument key=\"",
                text: &["\" type=\"string\"<|sep|>"],
                json: &["\" type=\"{type}\"<|sep|>"],
                close: "<|close|>argument<|sep|>",
            },
            _ => return None,
        })
    }

    /// Whether the opening tag tells of which type a value is.
    fn tells_type(&self) -> bool {
        self.json[0].contains("{type}")
    }

    /// Whether the opening tag tells a text from other values.
    fn tells(&self) -> bool {
        self.text != self.json
    }
}

/// A parameter that is planned: what its texts are, and what a value that isn't one satisfies.
struct Parameter {
    key: Rc<str>,
    required: bool,
    texts: Vec<Strings>,
    /// By the names of their types, if that matters.
    others: Vec<(&'static str, Demands)>,
}

/// The types of values, texts first.
pub(super) const TYPES: [&str; 6] = ["string", "number", "boolean", "null", "array", "object"];

pub(super) fn is_character(c: char) -> bool {
    CHARACTERS.iter().any(|&(from, to)| (from..=to).contains(&c))
}

impl Emitter<'_, '_> {
    /// The expression of the parameters of all objects that satisfy some demands; `types` is what only values of each
    /// of [`TYPES`] satisfy. As [`Emitter::lower`].
    pub(super) fn lower_parameters(
        &mut self,
        root: &Demands,
        types: [u32; TYPES.len()],
        style: FlatStyle,
    ) -> Result<Result<ExprId, Overlapping>, Error> {
        let mut planned = Vec::new();
        for object in self.plan_arguments(root)? {
            planned.push(self.plan_parameters(&object, types, style)?);
        }
        if let Err(overlapping) = self.settle()? {
            return Ok(Err(overlapping));
        }
        let mut all = Vec::new();
        for parameters in planned {
            all.push(self.parameters(&parameters, style)?);
        }
        Ok(Ok(self.store.union(all)))
    }

    /// The objects that satisfy some demands, to be written as the arguments of a call.
    pub(super) fn plan_arguments(&mut self, root: &Demands) -> Result<Vec<PlannedObject>, Error> {
        let shape = self.reader.shape_of(root)?;
        let mut planned = Vec::new();
        for objects in &shape.objects {
            if objects.exact.is_some() {
                let what = "objects that are given as a whole can't be written as parameters";
                return Err(Error::unsupported("", "const", what));
            }
            for objects in self.reader.expanded(objects)? {
                planned.extend(PlannedObject::new(self.reader, &objects)?);
            }
        }
        Ok(planned)
    }

    fn plan_parameters(
        &mut self,
        object: &PlannedObject,
        types: [u32; TYPES.len()],
        style: FlatStyle,
    ) -> Result<Vec<Parameter>, Error> {
        refuse_conditions(object)?;
        let named = &object.declared[..object.named];
        let mut parameters = Vec::new();
        for member in named {
            if member.key.is_empty() || member.key.contains(|c: char| c.is_control() || "<>\"".contains(c)) {
                let pointer = format!("/properties/{}", escaped(&member.key));
                let what = format!("the key {:?} can't be written as that of a parameter", member.key);
                return Err(Error::unsupported(pointer, "properties", what));
            }
            let with = |demand: u32| both(&member.demands, &only(demand));
            let texts = self.reader.shape_of(&with(types[0]))?.strings.clone();
            let others: Vec<_> = if style.tells_type() {
                TYPES.into_iter().zip(types).skip(1).map(|(name, demand)| (name, with(demand))).collect()
            } else {
                vec![("", with(opposite(types[0])))]
            };
            for (_, demands) in &others {
                self.plan_all(demands)?;
            }
            parameters.push(Parameter { key: member.key.clone(), required: member.required, texts, others });
        }
        Ok(parameters)
    }

    fn parameters(&mut self, parameters: &[Parameter], style: FlatStyle) -> Result<ExprId, Error> {
        let store = self.store;
        self.depth = 0;
        let space = self.layout().empty;
        let literal = |text: &str| store.literal(&store.written(text.as_bytes(), 0).0);
        let mut all = vec![];
        for parameter in parameters {
            let mut ways = Vec::new();
            let mut way = |between: &[&str], values: Vec<ExprId>| {
                let mut parts = vec![literal(&format!("{}{}{}", style.open, parameter.key, between[0]))];
                for part in &between[1..] {
                    parts.extend([space, literal(part)]);
                }
                parts.extend([store.union(values), literal(style.close)]);
                ways.push(store.sequence(&parts));
            };
            let spaced = |value: ExprId| store.sequence(&[space, value, space]);
            let (mut texts, mut known) = (Vec::new(), Vec::new());
            for strings in &parameter.texts {
                match &strings.exact {
                    Some(text) if text.contains(style.close) || !text.chars().all(is_character) => {}
                    Some(text) => known.push((text.as_bytes().into(), EPS)),
                    None if *strings == Strings::any(store) => {
                        texts.push(raw_text(store, strings, style.close, self.reader.limits)?);
                    }
                    None => {
                        let text = raw_text(store, strings, style.close, self.reader.limits)?;
                        texts.push(if style.tells() { text } else { spaced(text) });
                    }
                }
            }
            if !known.is_empty() {
                let known = store.switch(known);
                texts.push(if style.tells() { known } else { spaced(known) });
            }
            let mut others = Vec::new();
            for (name, demands) in &parameter.others {
                if let Some(value) = self.value_outermost(demands) {
                    // Each has keys of its own.
                    others.push((*name, spaced(store.call_of(value))));
                }
            }
            if style.tells_type() {
                way(style.text, texts);
                for (name, value) in others {
                    let between: Vec<String> = style.json.iter().map(|part| part.replace("{type}", name)).collect();
                    way(&between.iter().map(String::as_str).collect::<Vec<_>>(), vec![value]);
                }
            } else {
                let others = others.into_iter().map(|(_, value)| value);
                if style.tells() {
                    way(style.text, texts);
                    way(style.json, others.collect());
                } else {
                    texts.extend(others);
                    way(style.text, texts);
                }
            }
            let one = store.concat(space, store.union(ways));
            all.push(if parameter.required { one } else { store.optional(one) });
        }
        all.push(space);
        Ok(store.sequence(&all))
    }
}

/// Refuses objects with conditions that aren't about one member.
pub(super) fn refuse_conditions(object: &PlannedObject) -> Result<(), Error> {
    let named = &object.declared[..object.named];
    let required = named.iter().filter(|member| member.required).count();
    let refuse = |keyword: &str, what: &str| {
        Err(Error::unsupported("", keyword, format!("{what} can't be held to where parameters are written")))
    };
    if object.lo as usize > required {
        return refuse("minProperties", "a least number of members beyond those that are required");
    }
    if (object.hi as usize) < named.len() {
        return refuse("maxProperties", "a greatest number of members below that of those that are named");
    }
    if object.owed != 0 {
        return refuse("not", "a condition that some member has to fulfil");
    }
    Ok(())
}

/// Strings that aren't one known text, as they are, without what closes them.
pub(super) fn raw_text(store: &Store, strings: &Strings, close: &str, limits: &Limits) -> Result<ExprId, Error> {
    let closed = store.sequence(&[store.all, store.literal(close.as_bytes()), store.all]);
    let characters = store.repeat(store.char_class(&CHARACTERS), 0, UNBOUNDED);
    let mut text = store.inter([strings.content, characters, store.not(closed)]);
    if strings.lo > 0 || strings.hi != UNBOUNDED {
        text = store.inter([text, store.characters(strings.lo, strings.hi)]);
    }
    if store.alive_within(text, limits.max_states).is_none() {
        let what = "whether this combination of string conditions admits anything takes too many states to tell";
        return Err(Error::limit(what));
    }
    Ok(store.call_of(text))
}
