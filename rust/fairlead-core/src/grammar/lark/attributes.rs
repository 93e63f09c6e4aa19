//! What stands in brackets behind the name of a rule.

use super::Term;
use super::parser::Parser;
use crate::error::Error;

/// How a rule is read, beyond what it is made of.
#[derive(Default)]
pub(super) struct Attributes {
    /// The name that what the rule stands for is captured by.
    pub(super) capture: Option<String>,
    /// It ends where it first can.
    pub(super) lazy: bool,
    /// What it ends with, which isn't captured; it is lazy then.
    pub(super) suffix: Option<Term>,
    /// The name that this is captured by.
    pub(super) stop_capture: Option<String>,
    /// So many tokens it may take, the suffix not counted.
    pub(super) max_tokens: Option<u32>,
}

impl Parser<'_> {
    pub(super) fn attributes(&mut self, rule: &str) -> Result<Attributes, Error> {
        let mut found = Attributes::default();
        if !self.take("[") {
            return Ok(found);
        }
        loop {
            self.skip();
            let at = self.at;
            let kind = self.name().unwrap_or_default();
            self.skip();
            let given = self.take("=");
            self.skip();
            let twice = match &*kind {
                "capture" => {
                    let name = if given { self.capture_name()? } else { rule.to_owned() };
                    found.capture.replace(name).is_some()
                }
                "stop_capture" if given => {
                    let name = self.capture_name()?;
                    found.stop_capture.replace(name).is_some()
                }
                "lazy" if !given => std::mem::replace(&mut found.lazy, true),
                "suffix" if given => {
                    let suffix = self.atom()?;
                    found.suffix.replace(suffix).is_some()
                }
                "max_tokens" if given => {
                    let at = self.at;
                    let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
                    let most = self.rest()[..digits].parse();
                    let most = most.map_err(|_| self.fail(at, "a number of tokens is expected here"))?;
                    self.at += digits;
                    found.max_tokens.replace(most).is_some()
                }
                "stop" => return Err(self.fail(at, "stop would take back what is written; suffix keeps it")),
                _ => {
                    let known = ["capture", "lazy", "suffix=...", "stop_capture=...", "max_tokens=..."].join(", ");
                    return Err(self.fail(at, &format!("the attributes of rules that are supported are {known}")));
                }
            };
            if twice {
                return Err(self.fail(at, &format!("a rule has the attribute {kind} once")));
            }
            self.skip();
            if self.take("]") {
                break;
            }
            self.expect(",", "attributes are separated by commas and end with ]")?;
        }
        if found.stop_capture.is_some() && found.suffix.is_none() {
            return Err(self.fail(self.at, "stop_capture is the name of a suffix's capture"));
        }
        if found.max_tokens.is_some() && found.lazy && found.suffix.is_none() {
            return Err(self.fail(self.at, "what is lazy can't end sooner; max_tokens goes with a suffix"));
        }
        Ok(found)
    }

    fn capture_name(&mut self) -> Result<String, Error> {
        let at = self.at;
        match if self.peek() == Some('"') { self.quoted()? } else { String::new() } {
            name if name.is_empty() => Err(self.fail(at, "the name of a capture stands in double quotes")),
            name => Ok(name),
        }
    }
}
