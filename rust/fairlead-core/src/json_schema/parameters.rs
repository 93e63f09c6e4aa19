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
use super::plan::PlannedObject;
use super::shape::{Demands, Strings, both, only, opposite};
use crate::automata::{EPS, ExprId, UNBOUNDED};
use crate::error::Error;

/// The characters of XML: of the control characters only those of whitespace.
const CHARACTERS: [(char, char); 3] = [('\t', '\n'), ('\r', '\r'), (' ', char::MAX)];

/// How one family of models writes a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterStyle {
    /// Before the key.
    open: &'static str,
    /// Between the key and a text; parts between which whitespace may stand.
    text: &'static [&'static str],
    /// Between the key and any other value.
    json: &'static [&'static str],
    /// Behind the value.
    close: &'static str,
}

impl ParameterStyle {
    /// The style of a name in structural tags.
    pub(crate) fn named(name: &str) -> Option<Self> {
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
            _ => return None,
        })
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
    others: Demands,
}

fn is_character(c: char) -> bool {
    CHARACTERS.iter().any(|&(from, to)| (from..=to).contains(&c))
}

impl Emitter<'_, '_> {
    /// The expression of the parameters of all objects that satisfy some demands; `is_text` is what only strings satisfy. As
    /// [`Emitter::lower`].
    pub(super) fn lower_parameters(
        &mut self,
        root: &Demands,
        is_text: u32,
        style: ParameterStyle,
    ) -> Result<Result<ExprId, Overlapping>, Error> {
        let shape = self.reader.shape_of(root)?;
        let mut planned = Vec::new();
        for objects in &shape.objects {
            if objects.exact.is_some() {
                let what = "objects that are given as a whole can't be written as parameters";
                return Err(Error::unsupported("", "const", what));
            }
            for objects in self.reader.expanded(objects)? {
                if let Some(object) = PlannedObject::new(self.reader, &objects)? {
                    planned.push(self.plan_parameters(&object, is_text)?);
                }
            }
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

    fn plan_parameters(&mut self, object: &PlannedObject, is_text: u32) -> Result<Vec<Parameter>, Error> {
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
        let mut parameters = Vec::new();
        for member in named {
            if member.key.is_empty() || member.key.contains(|c: char| c.is_control() || "<>\"".contains(c)) {
                let pointer = format!("/properties/{}", escaped(&member.key));
                let what = format!("the key {:?} can't be written as that of a parameter", member.key);
                return Err(Error::unsupported(pointer, "properties", what));
            }
            let with = |demand: u32| both(&member.demands, &only(demand));
            let texts = self.reader.shape_of(&with(is_text))?.strings.clone();
            let others = with(opposite(is_text));
            self.plan_all(&others)?;
            parameters.push(Parameter { key: member.key.clone(), required: member.required, texts, others });
        }
        Ok(parameters)
    }

    fn parameters(&mut self, parameters: &[Parameter], style: ParameterStyle) -> Result<ExprId, Error> {
        let store = self.store;
        self.depth = 0;
        let space = self.layout().empty;
        let literal = |text: &str| store.literal(text.as_bytes());
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
                    None if *strings == Strings::any(store) => texts.push(self.raw_text(strings, style)?),
                    None => {
                        let text = self.raw_text(strings, style)?;
                        texts.push(if style.tells() { text } else { spaced(text) });
                    }
                }
            }
            if !known.is_empty() {
                let known = store.switch(known);
                texts.push(if style.tells() { known } else { spaced(known) });
            }
            let mut others = Vec::new();
            if let Some(value) = self.value_outermost(&parameter.others) {
                // Each has keys of its own.
                others.push(spaced(store.call_of(value)));
            }
            if style.tells() {
                way(style.text, texts);
                way(style.json, others);
            } else {
                texts.append(&mut others);
                way(style.text, texts);
            }
            let one = store.concat(space, store.union(ways));
            all.push(if parameter.required { one } else { store.optional(one) });
        }
        all.push(space);
        Ok(store.sequence(&all))
    }

    /// Strings that aren't one known text, as they are, without a closing tag in them.
    fn raw_text(&self, strings: &Strings, style: ParameterStyle) -> Result<ExprId, Error> {
        let store = self.store;
        let closed = store.sequence(&[store.all, store.literal(style.close.as_bytes()), store.all]);
        let characters = store.repeat(store.char_class(&CHARACTERS), 0, UNBOUNDED);
        let mut text = store.inter([strings.content, characters, store.not(closed)]);
        if strings.lo > 0 || strings.hi != UNBOUNDED {
            text = store.inter([text, store.characters(strings.lo, strings.hi)]);
        }
        if store.alive_within(text, self.reader.limits.max_states).is_none() {
            let what = "whether this combination of string conditions admits anything takes too many states to tell";
            return Err(Error::limit(what));
        }
        Ok(store.call_of(text))
    }
}
