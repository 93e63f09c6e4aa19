//! Structural tags in `XGrammar`'s JSON form: free text until a trigger, then a tag with a constrained content.
//!
//! Free text holds no trigger and no excluded text, none that reaches into a trigger either. Where one trigger ends is
//! therefore fixed: the first time that any of them is complete.
//!
//! The name of a special token in a text stands for the token, that of a stop token at the end of a tag for the end of all.

use serde_json::{Map, Value};

use super::tokens::{self, Token};
use super::until::{until, without};
use crate::automata::{EMPTY, EPS, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::json_schema::{self, JsonOptions, ParameterStyle, Whitespace};
use crate::limits::Limits;
use crate::regex::{self, Dialect};

struct Reader<'a> {
    store: &'a Store,
    limits: &'a Limits,
}

/// An object with its place.
struct Object<'a> {
    map: &'a Map<String, Value>,
    pointer: String,
}

fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn fail<T>(pointer: &str, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::grammar(message).at_pointer(pointer))
}

impl<'a> Object<'a> {
    fn of(value: &'a Value, pointer: &str) -> Result<Self, Error> {
        match value.as_object() {
            Some(map) => Ok(Self { map, pointer: pointer.to_owned() }),
            None => fail(pointer, "an object is expected here"),
        }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escaped(name))
    }

    /// Refuses every field but these.
    fn only(&self, names: &[&str]) -> Result<(), Error> {
        match self.map.keys().find(|key| *key != "type" && !names.contains(&key.as_str())) {
            Some(key) => fail(&self.at(key), format!("the field {key:?} is not known here")),
            None => Ok(()),
        }
    }

    fn get(&self, name: &str) -> Result<(&'a Value, String), Error> {
        match self.map.get(name) {
            Some(value) => Ok((value, self.at(name))),
            None => fail(&self.pointer, format!("the field {name:?} is missing")),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, Error> {
        let (value, pointer) = self.get(name)?;
        value.as_str().map_or_else(|| fail(&pointer, "a text is expected here"), Ok)
    }

    fn flag(&self, name: &str, absent: bool) -> Result<bool, Error> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(absent),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => fail(&self.at(name), "true or false is expected here"),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<(&'a Value, String)>, Error> {
        let (value, pointer) = self.get(name)?;
        match value.as_array() {
            Some(items) => Ok(items.iter().enumerate().map(|(i, v)| (v, format!("{pointer}/{i}"))).collect()),
            None => fail(&pointer, "a list is expected here"),
        }
    }

    /// Texts that are not empty; none if the field is absent and may be.
    fn texts(&self, name: &str, may_lack: bool) -> Result<Vec<&'a str>, Error> {
        if may_lack && matches!(self.map.get(name), None | Some(Value::Null)) {
            return Ok(Vec::new());
        }
        let one = |(value, pointer): (&'a Value, String)| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text),
            _ => fail(&pointer, "a text that is not empty is expected here"),
        };
        self.list(name)?.into_iter().map(one).collect()
    }

    fn count(&self, name: &str) -> Result<i64, Error> {
        let (value, pointer) = self.get(name)?;
        value.as_i64().map_or_else(|| fail(&pointer, "a whole number is expected here"), Ok)
    }
}

/// Texts, or what spells special tokens.
type Texts = Vec<Box<[u8]>>;

/// What free text waits for, and what follows it.
type Branch = (Box<[u8]>, ExprId);

fn bytes(texts: &[&str]) -> Texts {
    texts.iter().map(|text| text.as_bytes().into()).collect()
}

/// A token by its name or id.
fn named<'v>(value: &'v Value, pointer: &str) -> Result<Token<'v>, Error> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value.as_str().map(Token::Name).or(id.map(Token::Id)) {
        Some(token) => Ok(token),
        None => fail(pointer, "the name or the id of a token is expected here"),
    }
}

/// Texts, each with what follows it.
type Entries = Vec<(Box<[u8]>, ExprId)>;

/// A tag: its begin as it is given and as it is written, and what follows it.
struct Tag {
    given: Box<[u8]>,
    begin: Box<[u8]>,
    rest: ExprId,
    pointer: String,
}

/// The texts of a structural tag.
pub(super) fn lower(store: &Store, text: &str, limits: &Limits) -> Result<ExprId, Error> {
    let value: Value = serde_json::from_str(text)
        .map_err(|e| Error::grammar(format!("the structural tag is not JSON: {e}")).at_line(e.line(), e.column()))?;
    let reader = Reader { store, limits };
    let root = Object::of(&value, "")?;
    match root.map.get("type").map(Value::as_str) {
        None | Some(Some("structural_tag")) => {}
        _ => return fail("/type", "the type must be \"structural_tag\""),
    }
    if root.map.contains_key("structures") {
        root.only(&["structures", "triggers"])?;
        let mut tags = Vec::new();
        for (value, pointer) in root.list("structures")? {
            let tag = Object::of(value, &pointer)?;
            tag.only(&["begin", "schema", "end"])?;
            let (schema, at) = tag.get("schema")?;
            let content = reader.schema(schema, &at, &JsonOptions::default(), None)?;
            let end = reader.written(tokens::before_stop(store, tag.text("end")?).as_bytes());
            let rest = store.concat(content, store.literal(&end));
            let given: Box<[u8]> = tag.text("begin")?.as_bytes().into();
            let begin = reader.written(&given);
            tags.push(Tag { given, begin, rest, pointer: format!("{pointer}/begin") });
        }
        let triggers = bytes(&root.texts("triggers", false)?);
        return reader.triggered(&triggers, &tags, &[], &root, (false, false));
    }
    root.only(&["format"])?;
    let (format, pointer) = root.get("format")?;
    reader.format(format, &pointer)
}

impl<'a> Reader<'a> {
    fn schema(
        &self,
        schema: &Value,
        pointer: &str,
        options: &JsonOptions,
        style: Option<ParameterStyle>,
    ) -> Result<ExprId, Error> {
        let text = match schema {
            Value::String(text) => text.clone(),
            Value::Object(_) | Value::Bool(_) => schema.to_string(),
            _ => return fail(pointer, "a JSON Schema is expected here"),
        };
        let e = json_schema::lower_as(self.store, &text, options, self.limits, style)?;
        if e == EMPTY {
            let what = if style.is_some() { "no object" } else { "no JSON value" };
            return fail(pointer, format!("{what} satisfies this schema"));
        }
        Ok(self.store.call_of(e))
    }

    #[allow(clippy::too_many_lines)] // one case for each format
    fn format(&self, value: &'a Value, pointer: &str) -> Result<ExprId, Error> {
        let store = self.store;
        let format = Object::of(value, pointer)?;
        let each = |name: &str| -> Result<Vec<ExprId>, Error> {
            format.list(name)?.into_iter().map(|(value, pointer)| self.format(value, &pointer)).collect()
        };
        let content = || {
            let (value, pointer) = format.get("content")?;
            self.format(value, &pointer)
        };
        let at_pointer = |e: Error, name: &str| e.at_pointer(&format.at(name));
        match format.text("type")? {
            "const_string" => {
                format.only(&["value"])?;
                Ok(store.literal(&self.written(format.text("value")?.as_bytes())))
            }
            "json_schema" => {
                format.only(&["json_schema", "style", "any_order", "max_whitespace_cnt", "excludes"])?;
                self.excludes_special(&format)?;
                let (schema, at) = format.get("json_schema")?;
                let style = match format.map.get("style") {
                    None | Some(Value::Null) => None,
                    Some(style) if style == "json" => None,
                    Some(style) => match style.as_str().and_then(ParameterStyle::named) {
                        None => return fail(&format.at("style"), format!("the style {style} is not supported")),
                        style => style,
                    },
                };
                let mut options = JsonOptions { any_order: format.flag("any_order", false)?, ..JsonOptions::default() };
                if style.is_some() && options.any_order {
                    return fail(&format.at("any_order"), "parameters in any order are not supported");
                }
                if !matches!(format.map.get("max_whitespace_cnt"), None | Some(Value::Null)) {
                    options.whitespace = Whitespace::AtMost(self.bounded(&format, "max_whitespace_cnt")?);
                }
                self.schema(schema, &at, &options, style)
            }
            "qwen_xml_parameter" => {
                format.only(&["json_schema"])?;
                let (schema, at) = format.get("json_schema")?;
                self.schema(schema, &at, &JsonOptions::default(), ParameterStyle::named("qwen_xml"))
            }
            "grammar" => {
                format.only(&["grammar", "syntax"])?;
                let text = format.text("grammar")?;
                let e = match format.map.get("syntax") {
                    None => super::ebnf(store, text, self.limits),
                    Some(syntax) if syntax == "ebnf" => super::ebnf(store, text, self.limits),
                    Some(syntax) if syntax == "lark" => super::lark(store, text, &[], self.limits),
                    Some(_) => return fail(&format.at("syntax"), "a grammar's syntax is \"ebnf\" or \"lark\""),
                };
                Ok(store.call_of(e.map_err(|e| at_pointer(e, "grammar"))?))
            }
            "regex" => {
                format.only(&["pattern", "excludes"])?;
                let e = regex::compile(store, format.text("pattern")?, Dialect::Whole, self.limits);
                let e = e.map_err(|e| at_pointer(e, "pattern"))?;
                Ok(store.call_of(without(store, e, &self.texts(&format, "excludes")?)))
            }
            "any_text" => {
                let (text, excludes) = self.free_text(&format)?;
                self.timed(&format, without(store, text, &excludes))
            }
            "sequence" => {
                format.only(&["elements"])?;
                Ok(store.sequence(&each("elements")?))
            }
            "or" => {
                format.only(&["elements"])?;
                Ok(store.union(each("elements")?))
            }
            "optional" | "plus" | "star" => {
                format.only(&["content"])?;
                let (min, max) = match format.text("type")? {
                    "optional" => (0, 1),
                    "plus" => (1, UNBOUNDED),
                    _ => (0, UNBOUNDED),
                };
                Ok(store.repeat(content()?, min, max))
            }
            "repeat" => {
                format.only(&["content", "min", "max"])?;
                let (min, max) = (format.count("min")?, format.count("max")?);
                let most = i64::from(self.limits.max_repetition);
                if min < 0 || max < -1 || (max >= 0 && min > max) {
                    return fail(pointer, "a repetition goes from min to max, or on for ever with max -1");
                }
                if min > most || max > most {
                    return Err(Error::limit(format!("a count is larger than {most}")).at_pointer(pointer));
                }
                let bound = |count: i64| u32::try_from(count).unwrap_or(UNBOUNDED);
                Ok(store.repeat(content()?, bound(min), bound(max)))
            }
            "tag" => {
                let tag = self.tag(value, pointer)?;
                Ok(store.literal_then(&tag.begin, tag.rest))
            }
            "token" => {
                format.only(&["token"])?;
                let (token, at) = format.get("token")?;
                Ok(store.literal(&self.token(token, &at)?))
            }
            "token_triggered_tags" => {
                format.only(&["trigger_tokens", "tags", "exclude_tokens", "at_least_one", "stop_after_first"])?;
                let tags = self.tags(&format)?;
                let ends = (format.flag("at_least_one", false)?, format.flag("stop_after_first", false)?);
                let triggers = self.token_list(&format, "trigger_tokens", false)?;
                self.triggered(&triggers, &tags, &self.token_list(&format, "exclude_tokens", true)?, &format, ends)
            }
            "token_dispatch" => {
                format.only(&["rules", "loop", "exclude_tokens"])?;
                let branches = self.rules(&format, |rule, pointer| self.token(rule, pointer))?;
                let excludes = self.token_list(&format, "exclude_tokens", true)?;
                Ok(self.dispatch(&branches, &excludes, format.flag("loop", true)?))
            }
            "triggered_tags" => {
                format.only(&["triggers", "tags", "at_least_one", "stop_after_first", "excludes"])?;
                let tags = self.tags(&format)?;
                let ends = (format.flag("at_least_one", false)?, format.flag("stop_after_first", false)?);
                let triggers = bytes(&format.texts("triggers", false)?);
                self.triggered(&triggers, &tags, &self.texts(&format, "excludes")?, &format, ends)
            }
            "tags_with_separator" => {
                format.only(&["tags", "separator", "at_least_one", "stop_after_first"])?;
                let tags = self.tags(&format)?;
                let any = store.union(tags.iter().map(|tag| store.literal_then(&tag.begin, tag.rest)));
                let separator = store.literal(&self.written(format.text("separator")?.as_bytes()));
                let any = store.call_of(any);
                let more = store.repeat(store.concat(separator, any), 0, UNBOUNDED);
                let first = if format.flag("stop_after_first", false)? { any } else { store.concat(any, more) };
                Ok(if format.flag("at_least_one", false)? { first } else { store.optional(first) })
            }
            "dispatch" => {
                format.only(&["rules", "loop", "excludes"])?;
                let branches = self.rules(&format, |rule, pointer| match rule.as_str() {
                    Some(text) if !text.is_empty() => Ok(self.written(text.as_bytes())),
                    _ => fail(pointer, "a text that is not empty is expected here"),
                })?;
                Ok(self.dispatch(&branches, &self.texts(&format, "excludes")?, format.flag("loop", true)?))
            }
            kind @ ("any_tokens" | "exclude_token") => {
                let any = kind == "any_tokens";
                format.only(if any { &["exclude_tokens", "max_tokens"] } else { &["exclude_tokens"] })?;
                let given = !matches!(format.map.get("exclude_tokens"), None | Some(Value::Null));
                let excluded = if given { format.list("exclude_tokens")? } else { Vec::new() };
                let excluded: Vec<_> =
                    excluded.into_iter().map(|(value, at)| named(value, &at)).collect::<Result<_, _>>()?;
                let found = if any { tokens::any_but(store, excluded, 0) } else { tokens::one_but(store, excluded) };
                let found = found.map_err(|message| at_pointer(Error::grammar(message), "exclude_tokens"))?;
                self.timed(&format, found)
            }
            kind => fail(&format.at("type"), format!("{kind:?} is no type of format")),
        }
    }

    /// What is written for a text.
    fn written(&self, text: &[u8]) -> Box<[u8]> {
        self.store.written(text, 0).0
    }

    /// What is written for the texts of a field that may be absent.
    fn texts(&self, format: &Object<'a>, name: &str) -> Result<Texts, Error> {
        Ok(format.texts(name, true)?.iter().map(|text| self.written(text.as_bytes())).collect())
    }

    /// Refuses to exclude from values what could be in one: names of special tokens can't.
    fn excludes_special(&self, format: &Object<'a>) -> Result<(), Error> {
        let vocab = self.store.vocab.as_ref();
        for (i, text) in format.texts("excludes", true)?.into_iter().enumerate() {
            if vocab.is_none_or(|vocab| vocab.special(text).is_none()) {
                let what = "\"excludes\" is not supported but for the names of special tokens, which no value has";
                return fail(&format!("{}/{i}", format.at("excludes")), what);
            }
        }
        Ok(())
    }

    /// A number of characters.
    fn bounded(&self, format: &Object<'a>, name: &str) -> Result<u32, Error> {
        let (most, at) = (format.count(name)?, format.at(name));
        let Ok(most) = u32::try_from(most) else { return fail(&at, "a number of characters is expected here") };
        if most > self.limits.max_repetition {
            let message = format!("a count is larger than {}", self.limits.max_repetition);
            return Err(Error::limit(message).at_pointer(&at));
        }
        Ok(most)
    }

    /// Text that may take so many tokens as the format says.
    fn timed(&self, format: &Object<'a>, text: ExprId) -> Result<ExprId, Error> {
        if matches!(format.map.get("max_tokens"), None | Some(Value::Null)) {
            return Ok(text);
        }
        let (most, at) = (format.count("max_tokens")?, format.at("max_tokens"));
        let Ok(most) = u32::try_from(most) else { return fail(&at, "a number of tokens is expected here") };
        Ok(self.store.timed(text, most))
    }

    /// The text that a format of any text may have, and what may not be in it.
    fn free_text(&self, format: &Object<'a>) -> Result<(ExprId, Texts), Error> {
        format.only(&["excludes", "max_tokens", "max_chars"])?;
        let text = match format.map.get("max_chars") {
            None | Some(Value::Null) => self.store.any_text(),
            Some(_) => {
                let most = self.bounded(format, "max_chars")?;
                self.store.repeat(self.store.char_class(&[('\0', char::MAX)]), 0, most)
            }
        };
        Ok((text, self.texts(format, "excludes")?))
    }

    /// A token, given by its name or its id.
    fn token(&self, value: &Value, pointer: &str) -> Result<Box<[u8]>, Error> {
        tokens::spelling(self.store, named(value, pointer)?)
            .map_err(|message| Error::grammar(message).at_pointer(pointer))
    }

    fn token_list(&self, format: &Object<'a>, name: &str, may_lack: bool) -> Result<Texts, Error> {
        if may_lack && matches!(format.map.get(name), None | Some(Value::Null)) {
            return Ok(Vec::new());
        }
        format.list(name)?.into_iter().map(|(value, pointer)| self.token(value, &pointer)).collect()
    }

    /// The rules of a dispatch: what each waits for, and the format behind it.
    fn rules(
        &self,
        format: &Object<'a>,
        trigger: impl Fn(&'a Value, &str) -> Result<Box<[u8]>, Error>,
    ) -> Result<Vec<Branch>, Error> {
        let mut branches = Vec::new();
        for (rule, pointer) in format.list("rules")? {
            let Some([wanted, content]) = rule.as_array().map(Vec::as_slice) else {
                return fail(&pointer, "a rule is what it waits for and a format");
            };
            let wanted = trigger(wanted, &format!("{pointer}/0"))?;
            branches.push((wanted, self.format(content, &format!("{pointer}/1"))?));
        }
        Ok(branches)
    }

    fn tags(&self, format: &Object<'a>) -> Result<Vec<Tag>, Error> {
        let tags = format.list("tags")?;
        if tags.is_empty() {
            return fail(&format.at("tags"), "there must be at least one tag");
        }
        tags.into_iter().map(|(value, pointer)| self.tag(value, &pointer)).collect()
    }

    /// A begin or an end as it is given: a text, or what spells the token of a format of that type.
    fn edge(&self, value: &Value, pointer: &str) -> Result<Box<[u8]>, Error> {
        match value {
            Value::String(text) => Ok(text.as_bytes().into()),
            Value::Object(_) => {
                let format = Object::of(value, pointer)?;
                format.only(&["token"])?;
                if format.map.get("type").is_some_and(|kind| kind != "token") {
                    return fail(&format.at("type"), "a text or a token is expected here");
                }
                let (token, at) = format.get("token")?;
                self.token(token, &at)
            }
            _ => fail(pointer, "a text or a token is expected here"),
        }
    }

    fn tag(&self, value: &'a Value, pointer: &str) -> Result<Tag, Error> {
        let tag = Object::of(value, pointer)?;
        tag.only(&["begin", "content", "end"])?;
        if tag.map.get("type").is_some_and(|kind| kind != "tag") {
            return fail(&tag.at("type"), "a tag is expected here");
        }
        let store = self.store;
        let ends: Vec<(&Value, String)> = match tag.get("end")? {
            (Value::Array(ends), pointer) if !ends.is_empty() => {
                ends.iter().enumerate().map(|(i, end)| (end, format!("{pointer}/{i}"))).collect()
            }
            end => vec![end],
        };
        let (mut texts, mut stops) = (Texts::new(), false);
        for (end, pointer) in ends {
            match end.as_str().map(|text| (text, tokens::before_stop(store, text))) {
                Some((text, "")) if !text.is_empty() => stops = true,
                Some((_, text)) => texts.push(self.written(text.as_bytes())),
                None => texts.push(self.edge(end, &pointer)?),
            }
        }
        let (begin, at) = tag.get("begin")?;
        let given = self.edge(begin, &at)?;
        let begin = self.written(&given);
        let (value, at) = tag.get("content")?;
        let content = Object::of(value, &at)?;
        let free =
            content.map.get("type").is_some_and(|kind| kind == "any_text") && texts.iter().all(|e| !e.is_empty());
        let rest = if free {
            // Free text ends where an end of the tag is first complete. The end isn't part of it, so what is excluded may
            // be in the end.
            let branches: Vec<Branch> = texts.iter().map(|end| (end.clone(), EPS)).collect();
            let (text, excludes) = self.free_text(&content)?;
            let text = self.timed(&content, without(store, text, &excludes))?;
            let ended = self.until(text, &branches, &[]);
            if stops { store.union([ended, without(store, text, &texts)]) } else { ended }
        } else {
            let ends = texts.iter().map(|end| store.literal(end)).chain(stops.then_some(EPS));
            store.concat(self.format(value, &at)?, store.union(ends))
        };
        Ok(Tag { given, begin, rest, pointer: tag.at("begin") })
    }

    /// Free text up to the first time that a text of the branches is complete, and what then follows.
    fn until(&self, free: ExprId, branches: &[Branch], excludes: &[Box<[u8]>]) -> ExprId {
        let endings: Texts = branches.iter().map(|(text, _)| text.clone()).collect();
        let texts = until(self.store, free, &endings, excludes).into_iter();
        self.store.union(texts.zip(branches).map(|(text, (_, rest))| self.store.concat(text, *rest)))
    }

    /// Free text, broken by what the branches' texts begin; once, or as often as one likes.
    fn dispatch(&self, branches: &[Branch], excludes: &[Box<[u8]>], again: bool) -> ExprId {
        let store = self.store;
        let mut all: Texts = branches.iter().map(|(text, _)| text.clone()).collect();
        all.extend_from_slice(excludes);
        let rounds = self.until(store.any_text(), branches, excludes);
        let free = without(store, store.any_text(), &all);
        if again {
            store.concat(store.repeat(store.call_of(rounds), 0, UNBOUNDED), free)
        } else {
            store.union([rounds, free])
        }
    }

    fn triggered(
        &self,
        triggers: &[Box<[u8]>],
        tags: &[Tag],
        excludes: &[Box<[u8]>],
        place: &Object<'_>,
        (at_least_one, stop_after_first): (bool, bool),
    ) -> Result<ExprId, Error> {
        let store = self.store;
        if triggers.is_empty() {
            let name = if place.map.contains_key("triggers") { "triggers" } else { "trigger_tokens" };
            return fail(&place.at(name), "there must be at least one trigger");
        }
        let mut branches: Vec<(Box<[u8]>, Entries)> = triggers.iter().map(|t| (self.written(t), Vec::new())).collect();
        for tag in tags {
            let mut matching = triggers.iter().filter(|t| tag.given.starts_with(t) || tag.begin.starts_with(t));
            let (Some(trigger), None) = (matching.next(), matching.next()) else {
                return fail(&tag.pointer, "exactly one trigger must be how this begins");
            };
            // A trigger that ends inside of a token's name waits for the token.
            let whole = tag.begin.starts_with(trigger);
            let cut = if whole { trigger.len() } else { store.written(&tag.given, trigger.len()).1 };
            let (head, tail) = tag.begin.split_at(cut);
            let entry = (tail.into(), tag.rest);
            match branches.iter_mut().find(|(text, _)| **text == *head) {
                Some((_, entries)) => entries.push(entry),
                None => branches.push((head.into(), vec![entry])),
            }
        }
        let branches: Vec<Branch> = branches.into_iter().map(|(text, entries)| (text, store.switch(entries))).collect();
        let first = || store.union(tags.iter().map(|tag| store.literal_then(&tag.begin, tag.rest)));
        Ok(match (at_least_one, stop_after_first) {
            (true, true) => first(),
            (true, false) => store.concat(first(), self.dispatch(&branches, excludes, true)),
            (false, once) => self.dispatch(&branches, excludes, !once),
        })
    }
}
