//! `%grammar_options` and `%llguidance`.

use serde_json::Value;

/// What a grammar says of itself as a whole.
pub(super) struct Options {
    /// What is ignored may stand before everything else, too.
    pub(super) initial_skip: bool,
    /// What is ignored stands between two terminals once at most.
    pub(super) skips_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { initial_skip: true, skips_once: false }
    }
}

impl Options {
    /// Takes what an object says.
    ///
    /// # Errors
    /// It says something else than is known here.
    pub(super) fn take(&mut self, options: &Value) -> Result<(), String> {
        let options = options.as_object().ok_or("an object is expected here")?;
        for (name, value) in options {
            match (&**name, value) {
                ("allow_initial_skip", Value::Bool(yes)) => self.initial_skip = *yes,
                ("skip_repetition", Value::String(how)) if how == "once" || how == "repeat" => {
                    self.skips_once = how == "once";
                }
                // How a text is cut into tokens is the model's choice here anyway.
                ("no_forcing", Value::Bool(_)) => {}
                _ => return Err(format!("the option {name:?}: {value} is not supported")),
            }
        }
        Ok(())
    }
}
