//! Cleaning a history: one pass over messages that are Python objects.
//!
//! What is common is done here without looking at it twice: exact dictionaries and objects with attributes, texts, lists
//! of parts. What is rare (images, mappings of other kinds, tool calls as text) and everything that is wrong is handed
//! to functions of `fairlead.messages`, so that their results and errors have one place.
//!
//! Texts that are joined are collected first and joined once, hence the pass is linear also where all messages have one
//! role. Nothing that was passed in is changed, nor shared if it could be: dictionaries and lists are new, texts are not.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple, PyType};

/// The roles of `MessageRole`, which `fairlead.messages` defines.
const ROLES: [&str; 5] = ["user", "assistant", "system", "tool-call", "tool-response"];
/// Roles of provider formats that mean one of ours.
const ALIASES: [(&str, &str); 3] = [("tool", "tool-response"), ("function", "tool-response"), ("developer", "system")];
/// Role objects that are recognized by identity. Strings out of parsed JSON are all distinct objects: beyond this many
/// they are told apart by their text.
const KNOWN_ROLES: usize = 12;

/// Make of a history the list of dictionaries that chat templates and providers take.
///
/// Args:
///     messages: Dictionaries or objects with role and content, in any iterable.
///     role_conversions: Roles to rename, or None.
///     mode: What becomes of parts that aren't text: "base64", "url", "keep", or "text", which makes every content a
///         string.
///     read: (message, index) -> (role, content, calls), for messages of rare kinds; raises for those that aren't any.
///     clean_part: (part, index, mode) -> a new dictionary, for rare parts; raises for those that aren't any.
///     describe: (calls) -> text.
///
/// Raises:
///     MessageError: From `read` and `clean_part`.
#[pyfunction]
#[pyo3(signature = (messages, role_conversions, mode, read, clean_part, describe, /))]
pub(crate) fn clean_messages<'py>(
    messages: &Bound<'py, PyAny>,
    role_conversions: Option<&Bound<'py, PyAny>>,
    mode: &Bound<'py, PyString>,
    read: &Bound<'py, PyAny>,
    clean_part: &Bound<'py, PyAny>,
    describe: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = messages.py();
    let name = mode.to_str()?;
    let mut pass = Pass {
        names: Names {
            role: intern!(py, "role"),
            content: intern!(py, "content"),
            tool_calls: intern!(py, "tool_calls"),
            kind: intern!(py, "type"),
            text: intern!(py, "text"),
        },
        mode,
        flatten: name == "text",
        keep: name == "keep",
        read,
        clean_part,
        describe,
        roles: Roles::new(role_conversions),
        object_type: None,
        group: None,
        pieces: Vec::new(),
        cleaned: Vec::new(),
    };
    if let Ok(list) = messages.cast_exact::<PyList>() {
        pass.cleaned.reserve(list.len());
        for (index, message) in list.iter().enumerate() {
            pass.add(&message, index)?;
        }
    } else {
        for (index, message) in messages.try_iter()?.enumerate() {
            pass.add(&message?, index)?;
        }
    }
    pass.flush()?;
    PyList::new(py, pass.cleaned)
}

/// The strings that every message is asked for, interned.
struct Names<'a, 'py> {
    role: &'a Bound<'py, PyString>,
    content: &'a Bound<'py, PyString>,
    tool_calls: &'a Bound<'py, PyString>,
    kind: &'a Bound<'py, PyString>,
    text: &'a Bound<'py, PyString>,
}

struct Pass<'a, 'py> {
    names: Names<'a, 'py>,
    mode: &'a Bound<'py, PyString>,
    flatten: bool,
    keep: bool,
    read: &'a Bound<'py, PyAny>,
    clean_part: &'a Bound<'py, PyAny>,
    describe: &'a Bound<'py, PyAny>,
    roles: Roles<'a, 'py>,
    /// The type of the last object that isn't a mapping: asking for mappings takes as long as all the rest.
    object_type: Option<Bound<'py, PyType>>,
    group: Option<Group<'py>>,
    /// Texts that are waiting to be joined: the content, or the text of the last part.
    pieces: Vec<Bound<'py, PyAny>>,
    cleaned: Vec<Bound<'py, PyDict>>,
}

/// Consecutive messages of one role.
struct Group<'py> {
    role: usize,
    content: Content<'py>,
    /// Tool calls of the first message, as long as nothing else is its content.
    calls: Option<Bound<'py, PyAny>>,
}

enum Content<'py> {
    Nothing,
    /// The text is in `pieces`.
    Text,
    /// If there are `pieces`, they are the text of the last part, which is stale.
    Parts(Bound<'py, PyList>),
}

/// The content of one message.
enum Given<'py> {
    Nothing,
    Text(Bound<'py, PyAny>),
    Parts(Bound<'py, PyList>),
    /// Texts to join, at least one.
    Texts(Vec<Bound<'py, PyAny>>),
}

impl<'py> Pass<'_, 'py> {
    fn add(&mut self, message: &Bound<'py, PyAny>, index: usize) -> PyResult<()> {
        if let Some((role, content)) = self.look(message)?
            && let Some(given) = self.given(content, index)?
        {
            return self.put(role, given, |names| match message.cast_exact::<PyDict>() {
                Ok(dict) => dict.get_item(names.tool_calls),
                Err(_) => message.getattr_opt(names.tool_calls),
            });
        }
        let (role, content, calls): (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>) =
            self.read.call1((message, index))?.extract()?;
        match (self.roles.find(&role)?, self.given(content, index)?) {
            (Some(role), Some(given)) => self.put(role, given, |_| Ok(Some(calls))),
            _ => Err(PyValueError::new_err(format!("message {index} changed while it was read"))),
        }
    }

    /// Role and content of a message of a common kind with a known role.
    fn look(&mut self, message: &Bound<'py, PyAny>) -> PyResult<Option<(usize, Bound<'py, PyAny>)>> {
        let (role, content) = if let Ok(dict) = message.cast::<PyDict>() {
            if !message.is_exact_instance_of::<PyDict>() {
                return Ok(None);
            }
            let Some(role) = dict.get_item(self.names.role)? else { return Ok(None) };
            let Some(content) = dict.get_item(self.names.content)? else { return Ok(None) };
            (role, content)
        } else {
            if self.object_type.as_ref().is_none_or(|known| known.as_type_ptr() != message.get_type_ptr()) {
                if message.cast::<PyMapping>().is_ok() {
                    return Ok(None);
                }
                self.object_type = Some(message.get_type());
            }
            let Ok(role) = message.getattr(self.names.role) else { return Ok(None) };
            let Ok(content) = message.getattr(self.names.content) else { return Ok(None) };
            (role, content)
        };
        Ok(self.roles.find(&role)?.map(|role| (role, content)))
    }

    /// The content of a message, new where it could be changed; None if it isn't one.
    fn given(&self, content: Bound<'py, PyAny>, index: usize) -> PyResult<Option<Given<'py>>> {
        Ok(Some(if content.is_exact_instance_of::<PyString>() {
            Given::Text(content)
        } else if content.is_instance_of::<PyList>() || content.is_instance_of::<PyTuple>() {
            if self.flatten { self.texts(&content, index)? } else { Given::Parts(self.parts(&content, index)?) }
        } else if content.is_none() {
            Given::Nothing
        } else if content.is_instance_of::<PyString>() {
            Given::Text(content)
        } else {
            return Ok(None);
        }))
    }

    fn put(
        &mut self,
        role: usize,
        given: Given<'py>,
        calls: impl FnOnce(&Names<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<()> {
        let absent = matches!(given, Given::Nothing);
        let calls = if absent { calls(&self.names)?.filter(|calls| !calls.is_none()) } else { None };
        let follows = self.group.as_ref().is_some_and(|group| group.role == role);
        // No content stands as it is until something has to be merged with it, or only text can stand.
        let given = match &calls {
            Some(calls) if absent && (follows || self.flatten) && calls.is_truthy()? => {
                Given::Text(self.describe.call1((calls,))?)
            }
            _ => given,
        };
        if follows { self.merge(given) } else { self.start(role, given, calls) }
    }

    fn start(&mut self, role: usize, given: Given<'py>, calls: Option<Bound<'py, PyAny>>) -> PyResult<()> {
        self.flush()?;
        let content = match given {
            Given::Nothing => Content::Nothing,
            Given::Text(text) => {
                self.pieces.push(text);
                Content::Text
            }
            Given::Texts(texts) => {
                self.pieces.extend(texts);
                Content::Text
            }
            Given::Parts(parts) => Content::Parts(parts),
        };
        self.group = Some(Group { role, content, calls });
        Ok(())
    }

    fn merge(&mut self, given: Given<'py>) -> PyResult<()> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        if matches!(group.content, Content::Nothing)
            && Self::has_content(&given)?
            && let Some(calls) = group.calls.take().filter(|calls| calls.is_truthy().unwrap_or(false))
        {
            self.pieces.push(self.describe.call1((calls,))?);
            group.content = Content::Text;
        }
        group.content = match (group.content, given) {
            (before, Given::Nothing) => before,
            (Content::Nothing, Given::Parts(parts)) if !parts.is_empty() => Content::Parts(parts),
            (before, Given::Parts(parts)) if parts.is_empty() => before,
            (Content::Nothing | Content::Text, Given::Text(text)) => {
                self.pieces.push(text);
                Content::Text
            }
            (before, Given::Texts(texts)) => {
                // Only texts come when flattening.
                self.pieces.extend(texts);
                if matches!(before, Content::Nothing) { Content::Text } else { before }
            }
            (Content::Parts(list), Given::Text(text)) => {
                self.append_text(&list, text, None)?;
                Content::Parts(list)
            }
            (before, Given::Parts(parts)) => {
                let list = if let Content::Parts(list) = before {
                    list
                } else {
                    let text = self.join()?;
                    PyList::new(text.py(), [self.text_part(&text)?])?
                };
                for part in parts.iter() {
                    if self.is_text(&part)? {
                        let text = part.get_item(self.names.text)?;
                        self.append_text(&list, text, Some(part))?;
                    } else {
                        self.settle(&list)?;
                        list.append(part)?;
                    }
                }
                Content::Parts(list)
            }
        };
        self.group = Some(group);
        Ok(())
    }

    /// Whether there is any text or part: an empty text alone doesn't bring the tool calls before it into words.
    fn has_content(given: &Given<'py>) -> PyResult<bool> {
        match given {
            Given::Nothing => Ok(false),
            Given::Text(text) => text.is_truthy(),
            Given::Texts(texts) => Ok(texts.len() > 1 || texts[0].is_truthy()?),
            Given::Parts(parts) => Ok(!parts.is_empty()),
        }
    }

    /// Add a text to the last part if that is text too, else as a part of its own (`part`, or a new one).
    fn append_text(
        &mut self,
        list: &Bound<'py, PyList>,
        text: Bound<'py, PyAny>,
        part: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if self.pieces.is_empty() {
            let last = if list.is_empty() { None } else { Some(list.get_item(list.len() - 1)?) };
            match last {
                Some(last) if self.is_text(&last)? => self.pieces.push(last.get_item(self.names.text)?),
                _ => {
                    let part = part.map_or_else(|| self.text_part(&text).map(Bound::into_any), Ok)?;
                    return list.append(part);
                }
            }
        }
        self.pieces.push(text);
        Ok(())
    }

    /// Write the waiting texts into the last part.
    fn settle(&mut self, list: &Bound<'py, PyList>) -> PyResult<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let text = self.join()?;
        list.get_item(list.len() - 1)?.set_item(self.names.text, text)
    }

    fn text_part(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let part = PyDict::new(text.py());
        part.set_item(self.names.kind, self.names.text)?;
        part.set_item(self.names.text, text)?;
        Ok(part)
    }

    fn is_text(&self, part: &Bound<'py, PyAny>) -> PyResult<bool> {
        Ok(is(&part.get_item(self.names.kind)?, self.names.text, "text"))
    }

    /// The waiting texts as one; at least one must be waiting.
    fn join(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.mode.py();
        match self.pieces.pop() {
            Some(only) if self.pieces.is_empty() => Ok(only),
            Some(last) => {
                self.pieces.push(last);
                let texts = PyList::new(py, self.pieces.drain(..))?;
                intern!(py, "\n").call_method1(intern!(py, "join"), (texts,))
            }
            None => Ok(PyString::new(py, "").into_any()),
        }
    }

    /// Close the group: its message is complete.
    fn flush(&mut self) -> PyResult<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let content = match group.content {
            // join() makes "" of no texts.
            Content::Nothing if self.flatten => Some(self.join()?),
            Content::Nothing => None,
            Content::Text => Some(self.join()?),
            Content::Parts(list) => {
                self.settle(&list)?;
                Some(list.into_any())
            }
        };
        let message = self.roles.plain[group.role].message.copy()?;
        if let Some(content) = content {
            message.set_item(self.names.content, content)?;
        }
        self.cleaned.push(message);
        Ok(())
    }

    fn parts(&self, content: &Bound<'py, PyAny>, index: usize) -> PyResult<Bound<'py, PyList>> {
        if let Ok(list) = content.cast_exact::<PyList>()
            && list.len() == 1
        {
            return PyList::new(content.py(), [self.part(&list.get_item(0)?, index)?]);
        }
        let cleaned = PyList::empty(content.py());
        for part in content.try_iter()? {
            cleaned.append(self.part(&part?, index)?)?;
        }
        Ok(cleaned)
    }

    /// A new dictionary for a part.
    fn part(&self, part: &Bound<'py, PyAny>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(dict) = part.cast_exact::<PyDict>()
            && let Some(kind) = dict.get_item(self.names.kind)?
        {
            let common = if is(&kind, self.names.text, "text") {
                dict.get_item(self.names.text)?.is_some_and(|text| text.is_instance_of::<PyString>())
            } else {
                !kind.is_none() && (self.keep || !is(&kind, intern!(part.py(), "image"), "image"))
            };
            if common {
                return Ok(dict.copy()?.into_any());
            }
        }
        self.clean_part.call1((part, index, self.mode))
    }

    /// The texts of a list of parts.
    fn texts(&self, content: &Bound<'py, PyAny>, index: usize) -> PyResult<Given<'py>> {
        if let Ok(list) = content.cast_exact::<PyList>()
            && list.len() == 1
        {
            return Ok(Given::Text(self.text(&list.get_item(0)?, index)?));
        }
        let texts = content.try_iter()?.map(|part| self.text(&part?, index)).collect::<PyResult<Vec<_>>>()?;
        Ok(if texts.is_empty() { Given::Nothing } else { Given::Texts(texts) })
    }

    fn text(&self, part: &Bound<'py, PyAny>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(dict) = part.cast_exact::<PyDict>()
            && let Some(kind) = dict.get_item(self.names.kind)?
            && is(&kind, self.names.text, "text")
            && let Some(text) = dict.get_item(self.names.text)?
            && text.is_instance_of::<PyString>()
        {
            return Ok(text);
        }
        self.clean_part.call1((part, index, self.mode))?.get_item(self.names.text)
    }
}

/// Whether an object is a certain word; literals are interned, so that most often identity says it.
fn is(object: &Bound<'_, PyAny>, interned: &Bound<'_, PyString>, word: &str) -> bool {
    if object.is(interned) {
        return true;
    }
    object.cast::<PyString>().is_ok_and(|text| text.to_str().is_ok_and(|text| text == word))
}

/// The roles that occurred, and what they are converted to.
struct Roles<'a, 'py> {
    given: Option<&'a Bound<'py, PyAny>>,
    /// `given` with plain keys and values, once it was needed.
    conversions: Option<Vec<(String, Bound<'py, PyAny>)>>,
    /// Role objects by identity, with their place in `plain`.
    objects: Vec<(Bound<'py, PyAny>, usize)>,
    /// Role names, with their place in `plain`.
    names: Vec<(String, usize)>,
    /// Distinct roles after conversion.
    plain: Vec<Plain<'py>>,
}

struct Plain<'py> {
    role: Bound<'py, PyAny>,
    /// A message of the role without content: copying it is quicker than filling a new one.
    message: Bound<'py, PyDict>,
}

impl<'a, 'py> Roles<'a, 'py> {
    fn new(given: Option<&'a Bound<'py, PyAny>>) -> Self {
        Self { given, conversions: None, objects: Vec::new(), names: Vec::new(), plain: Vec::new() }
    }

    /// The place in `plain` of a role; None if it isn't one.
    fn find(&mut self, role: &Bound<'py, PyAny>) -> PyResult<Option<usize>> {
        if let Some((_, place)) = self.objects.iter().find(|(known, _)| known.is(role)) {
            return Ok(Some(*place));
        }
        let plain = role_name(role)?;
        let Ok(text) = plain.cast::<PyString>() else { return Ok(None) };
        let Ok(name) = text.to_str() else { return Ok(None) };
        let place = if let Some((_, place)) = self.names.iter().find(|(known, _)| known == name) {
            *place
        } else {
            let Some(converted) = self.convert(name, &plain)? else { return Ok(None) };
            let place = self.place(converted)?;
            self.names.push((name.to_owned(), place));
            place
        };
        if self.objects.len() < KNOWN_ROLES {
            self.objects.push((role.clone(), place));
        }
        Ok(Some(place))
    }

    fn convert(&mut self, name: &str, plain: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, meant)| *meant);
        if alias.is_none() && !ROLES.contains(&name) {
            return Ok(None);
        }
        if self.conversions.is_none() {
            self.conversions = Some(self.given.map_or_else(|| Ok(Vec::new()), plain_conversions)?);
        }
        let conversions = self.conversions.as_deref().unwrap_or_default();
        let renamed = |wanted: &str| conversions.iter().find(|(old, _)| old == wanted).map(|(_, new)| new.clone());
        Ok(Some(match alias {
            Some(meant) => {
                renamed(name).or_else(|| renamed(meant)).unwrap_or_else(|| PyString::new(plain.py(), meant).into_any())
            }
            None => renamed(name).unwrap_or_else(|| plain.clone()),
        }))
    }

    fn place(&mut self, role: Bound<'py, PyAny>) -> PyResult<usize> {
        for (place, known) in self.plain.iter().enumerate() {
            if known.role.eq(&role)? {
                return Ok(place);
            }
        }
        let py = role.py();
        let message = PyDict::new(py);
        message.set_item(intern!(py, "role"), &role)?;
        message.set_item(intern!(py, "content"), py.None())?;
        self.plain.push(Plain { role, message });
        Ok(self.plain.len() - 1)
    }
}

fn plain_conversions<'py>(given: &Bound<'py, PyAny>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let mut conversions = Vec::new();
    for item in given.call_method0(intern!(given.py(), "items"))?.try_iter()? {
        let (old, new): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
        if let Ok(old) = role_name(&old)?.extract::<String>() {
            conversions.push((old, role_name(&new)?));
        }
    }
    Ok(conversions)
}

/// A role as a plain string (templates print an enum member differently); anything else unchanged.
fn role_name<'py>(role: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if role.is_exact_instance_of::<PyString>() {
        return Ok(role.clone());
    }
    let py = role.py();
    let role = if role.is_instance(ENUM.import(py, "enum", "Enum")?)? {
        // The documented attribute behind `value`, which is a property and takes longer.
        role.getattr(intern!(py, "_value_"))?
    } else {
        role.clone()
    };
    if role.is_instance_of::<PyString>() && !role.is_exact_instance_of::<PyString>() {
        return Ok(role.str()?.into_any());
    }
    Ok(role)
}
