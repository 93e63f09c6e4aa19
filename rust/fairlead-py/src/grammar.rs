//! `Grammar`, `Compiler` and `CompiledGrammar`.

use std::collections::HashMap;
use std::sync::Arc;

use fairlead_core::json_schema::{Draft, Whitespace, unknown_keywords};
use fairlead_core::{
    CompiledGrammar as CoreCompiled, Compiler as CoreCompiler, CompilerOptions, Grammar as CoreGrammar, JsonOptions,
    Limits,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::errors::OrRaise;
use crate::vocab::Vocabulary;

/// What a model may write, independent of any tokenizer: made by the static methods, joined by ``|`` and ``+``.
#[pyclass(frozen, eq, hash, module = "fairlead._core", name = "Grammar")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Grammar {
    core: CoreGrammar,
}

/// What stands for one step of indentation: so many spaces, or a text.
#[derive(FromPyObject)]
enum Indent {
    Spaces(i64),
    Text(String),
}

impl Indent {
    fn text(self) -> PyResult<String> {
        match self {
            Self::Spaces(n @ 0..=64) => Ok(" ".repeat(n.unsigned_abs() as usize)),
            Self::Text(text) if text.len() <= 64 && text.chars().all(|c| matches!(c, ' ' | '\t')) => Ok(text),
            _ => Err(PyValueError::new_err("indent is a number of spaces or a text of spaces and tabs, up to 64")),
        }
    }
}

fn whitespace(
    kind: &str,
    most: Option<u32>,
    separators: Option<(String, String)>,
    indent: Option<Indent>,
) -> PyResult<Whitespace> {
    if let Some((item, key)) = &separators {
        let blank =
            |text: &str, mark: char| text.matches(mark).count() == 1 && text.replace(mark, "").trim().is_empty();
        if !blank(item, ',') || !blank(key, ':') {
            return Err(PyValueError::new_err(
                "separators must be a comma and a colon, each with whitespace around it",
            ));
        }
    }
    if most.is_some() && (kind == "compact" || separators.is_some() || indent.is_some()) {
        return Err(PyValueError::new_err(
            "max_whitespace bounds whitespace='bounded' and 'free'; it can't stand beside 'compact', separators or indent",
        ));
    }
    match (kind, separators, indent) {
        ("bounded" | "compact" | "free", separators, Some(indent)) => {
            let (item, key) = separators.unwrap_or_else(|| (",".into(), ": ".into()));
            Ok(Whitespace::Indented { indent: indent.text()?, item, key })
        }
        ("bounded" | "compact" | "free", Some((item, key)), None) => Ok(Whitespace::Separators { item, key }),
        ("bounded", None, None) => Ok(Whitespace::Bounded(most.unwrap_or(64))),
        ("compact", None, None) => Ok(Whitespace::Compact),
        ("free", None, None) => Ok(most.map_or(Whitespace::Free, Whitespace::AtMost)),
        _ => Err(PyValueError::new_err(format!("whitespace is 'bounded', 'compact' or 'free', not {kind:?}"))),
    }
}

#[pymethods]
impl Grammar {
    /// The instances of a JSON Schema.
    ///
    /// Args:
    ///     schema: A mapping, a text, a boolean, a pydantic model class or a type that pydantic knows.
    ///     whitespace: ``"bounded"`` (default): at each place where JSON allows it up to two spaces, or one line feed
    ///         and up to ``max_whitespace`` spaces or tabs. ``"compact"``: none. ``"free"``: any amount, or up to
    ///         ``max_whitespace`` characters.
    ///     max_whitespace: See ``whitespace``; by default 64, and no bound for ``"free"``. Not beside ``"compact"``,
    ///         ``separators`` or ``indent``.
    ///     separators: Fixed separators such as ``(", ", ": ")`` instead of ``whitespace``.
    ///     indent: Instead of ``whitespace``, each item and member on a line of its own, as ``json.dumps`` writes it: so
    ///         many spaces (up to 64) further in for each array and object around it, or a text of spaces and tabs.
    ///         Empty ones have nothing inside. ``separators`` are ``(",", ": ")`` then by default. Values lie in at most
    ///         32 arrays and objects.
    ///     property_order: ``"schema"`` (default): declared keys in the schema's order, others last. ``"any"``.
    ///     integer_fraction: Whether whole numbers may be written ``1.0``; default False.
    ///     format_assertion: Whether known formats constrain; default True.
    ///     draft: ``"4"``, ``"6"``, ``"7"``, ``"2019-09"`` or ``"2020-12"``, whatever ``$schema`` says.
    ///     resources: Schemas by URI that ``$ref`` may name.
    ///
    /// Raises:
    ///     TypeError: The schema is of another type.
    ///     ValueError: An option has another value. Mistakes in the schema are raised when it is compiled.
    #[staticmethod]
    #[pyo3(signature = (
        schema, *, whitespace="bounded", max_whitespace=None, separators=None, indent=None, property_order="schema",
        integer_fraction=false, format_assertion=true, draft=None, resources=None
    ))]
    #[allow(clippy::too_many_arguments)] // one for each option
    fn json_schema(
        schema: &Bound<'_, PyAny>,
        whitespace: &str,
        max_whitespace: Option<u32>,
        separators: Option<(String, String)>,
        indent: Option<Indent>,
        property_order: &str,
        integer_fraction: bool,
        format_assertion: bool,
        draft: Option<&str>,
        resources: Option<HashMap<String, Bound<'_, PyAny>>>,
    ) -> PyResult<Self> {
        let any_order = match property_order {
            "schema" => false,
            "any" => true,
            _ => return Err(PyValueError::new_err("property_order is 'schema' or 'any'")),
        };
        let draft = draft
            .map(|name| {
                Draft::of_name(name).or_else(|| Draft::of_uri(name)).ok_or_else(|| {
                    PyValueError::new_err(format!("{name:?} is no draft: use '4', '6', '7', '2019-09' or '2020-12'"))
                })
            })
            .transpose()?;
        let mut known = Vec::new();
        for (uri, schema) in resources.unwrap_or_default() {
            known.push((uri, schema_text(&schema)?));
        }
        known.sort();
        let options = JsonOptions {
            whitespace: self::whitespace(whitespace, max_whitespace, separators, indent)?,
            any_order,
            integer_fraction,
            format_assertion,
            draft,
            resources: known,
        };
        Ok(Self { core: CoreGrammar::JsonSchema { schema: schema_text(schema)?, options: Box::new(options) } })
    }

    /// Any JSON value.
    #[staticmethod]
    fn json() -> Self {
        Self { core: CoreGrammar::json_schema("true") }
    }

    /// Texts that a pattern matches as a whole.
    #[staticmethod]
    fn regex(pattern: String) -> Self {
        Self { core: CoreGrammar::Regex(pattern) }
    }

    /// The rule ``root`` of a grammar in EBNF, as XGrammar and llama.cpp (GBNF) write it.
    ///
    /// Special tokens are ``<name>``, ``<[id]>`` or ``Token(id, ...)``, ``!<name>`` and ``ExcludeToken(id, ...)`` one token
    /// that isn't one of those, ``!<name>*`` is anything without one, ``Regex("...")`` a pattern.
    /// ``TagDispatch(("tag", rule), ..., loop_after_dispatch=true, excludes=("text",))`` is free text that goes on with a rule behind
    /// its tag, ``TokenTagDispatch((id, rule), ...)`` the same for special tokens. ``name[capture] ::= ...`` marks what
    /// ``marked_captures`` returns.
    ///
    /// A malformed one is a GrammarError when it is compiled, with ``.line`` and ``.column``.
    #[staticmethod]
    fn ebnf(grammar: String) -> Self {
        Self { core: CoreGrammar::Ebnf(grammar) }
    }

    /// A grammar in Lark's notation; its rule ``start``.
    ///
    /// Rules, terminals, texts, patterns with flags, ranges, templates, ``&`` and ``~`` in terminals, ``%ignore``,
    /// ``%import common.X``, ``%json {...}``, ``%lark {...}``, and special tokens of the tokenizer: ``<|name|>``, or
    /// ``<[5,7-9]>`` by their ids, ``<[^5]>`` and ``<[*]>`` for one that is none of some. ``rule[lazy]`` ends where it first
    /// can, ``rule[suffix="..."]`` with the first such text,
    /// ``rule[max_tokens=5]`` after so many tokens behind which it can, its suffix not counted; all three are made of terminals.
    /// Where a lazy rule may begin, other text doesn't go on past its end: ``start: (call)* TEXT`` is text until the head of a call.
    /// ``rule[capture]``, ``rule[capture="name"]`` and ``stop_capture="name"`` (for a suffix) mark
    /// what ``marked_captures`` returns. There is no lexer: a terminal may end wherever the text then goes on. A mistake in it
    /// is a GrammarError when it is compiled, with ``.line`` and ``.column``.
    ///
    /// Args:
    ///     grammar: The text.
    ///     named_grammars: Grammars, or texts in Lark's notation, that it calls ``@name``; these texts may name each other, but
    ///         not in a circle. Default: none.
    #[staticmethod]
    #[pyo3(signature = (grammar, *, named_grammars=None))]
    fn lark(grammar: String, named_grammars: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut named = Vec::new();
        for (name, part) in named_grammars.into_iter().flatten() {
            let part = match part.cast::<Self>() {
                Ok(part) => part.get().core.clone(),
                Err(_) => CoreGrammar::Lark(part.extract()?),
            };
            named.push((name.extract()?, part));
        }
        let core = if named.is_empty() { CoreGrammar::Lark(grammar) } else { CoreGrammar::LarkWith(grammar, named) };
        Ok(Self { core })
    }

    /// A structural tag in XGrammar's JSON form: free text until a trigger, then a tag with a constrained content.
    ///
    /// Args:
    ///     tag: ``{"type": "structural_tag", "format": {...}}``, or the older form with ``structures`` and
    ///         ``triggers``; a mapping, a text or a pydantic object. Formats of type ``token``,
    ///         ``token_triggered_tags`` and ``token_dispatch`` name special tokens or give their ids. A ``json_schema``
    ///         with ``style`` (``"qwen_xml"``, ``"glm_xml"``, ``"minimax_xml"``, ``"deepseek_xml"``,
    ///         ``"deepseek_v4_1_xml"``, ``"kimi_k3_xml"``) is an object as parameters in tags: those that the schema names,
    ///         in its order, texts as they are, other values in JSON; with ``"cohere_xml"`` and ``"minimax_m3_xml"``
    ///         arrays and objects in them are tags again. ``max_tokens`` of ``any_text`` and ``any_tokens`` counts accepted
    ///         tokens that end between characters, and nothing of what ``accept_string`` takes.
    ///
    /// Raises:
    ///     TypeError: The tag is of another type. Mistakes in it are GrammarErrors when it is compiled.
    #[staticmethod]
    fn structural_tag(tag: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { core: CoreGrammar::StructuralTag(tag_text(tag)?) })
    }

    /// One of several texts.
    #[staticmethod]
    fn choice(texts: Vec<String>) -> Self {
        Self { core: CoreGrammar::Choice(texts) }
    }

    fn __or__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        let other = operand(other)?;
        Ok(Self { core: CoreGrammar::Either(vec![self.core.clone(), other]) })
    }

    fn __add__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        let other = operand(other)?;
        Ok(Self { core: CoreGrammar::Sequence(vec![self.core.clone(), other]) })
    }

    /// What the texts are: "json" for the instances of a JSON Schema, "text" for everything else.
    #[getter]
    fn kind(&self) -> &'static str {
        if matches!(self.core, CoreGrammar::JsonSchema { .. }) { "json" } else { "text" }
    }

    /// The grammar as plain data: ``Grammar.from_dict`` makes it again, here or in another process.
    ///
    /// Returns:
    ///     One key that names the static method (or ``either``, ``sequence``) with its argument, and the options of
    ///     ``json_schema`` and ``lark`` by their names. It can be written as JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        as_dict(&self.core, py)
    }

    /// The grammar that ``to_dict`` described.
    ///
    /// Raises:
    ///     TypeError, ValueError: The dictionary is none that ``to_dict`` makes.
    #[staticmethod]
    fn from_dict(data: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut kinds = KINDS.iter().filter_map(|kind| data.get_item(kind).transpose().map(|value| (*kind, value)));
        let (Some((kind, value)), None) = (kinds.next(), kinds.next()) else {
            return Err(PyValueError::new_err(
                "a grammar's dictionary has one of the keys ".to_owned() + &KINDS.join(", "),
            ));
        };
        let value = value?;
        if kind == "json_schema" {
            let options = data.copy()?;
            options.del_item(kind)?;
            if let Some(pair) = data.get_item("separators")? {
                // JSON knows no tuples.
                options.set_item(
                    "separators",
                    pair.extract::<Option<Vec<String>>>()?.map(|pair| PyTuple::new(data.py(), pair)).transpose()?,
                )?;
            }
            let made = data.py().get_type::<Self>().call_method(kind, (value,), Some(&options))?;
            return Ok(Self { core: made.cast::<Self>()?.get().core.clone() });
        }
        if kind == "lark"
            && let Some(named) = data.get_item("named_grammars")?
            && data.len() == 2
        {
            let named: Vec<(String, Bound<'_, PyDict>)> = named.cast::<PyDict>()?.items().extract()?;
            let named = named.iter().map(|(name, part)| Ok((name.clone(), Self::from_dict(part)?.core)));
            return Ok(Self { core: CoreGrammar::LarkWith(value.extract()?, named.collect::<PyResult<_>>()?) });
        }
        if data.len() != 1 {
            return Err(PyValueError::new_err(format!("{kind} has no options")));
        }
        let parts = || {
            let parts: Vec<Bound<'_, PyDict>> = value.extract()?;
            parts.iter().map(|part| Ok(Self::from_dict(part)?.core)).collect::<PyResult<Vec<_>>>()
        };
        let core = match kind {
            "either" => CoreGrammar::Either(parts()?),
            "sequence" => CoreGrammar::Sequence(parts()?),
            "choice" => CoreGrammar::Choice(value.extract()?),
            "regex" => CoreGrammar::Regex(value.extract()?),
            "ebnf" => CoreGrammar::Ebnf(value.extract()?),
            "lark" => CoreGrammar::Lark(value.extract()?),
            _ => CoreGrammar::StructuralTag(value.extract()?),
        };
        Ok(Self { core })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<Self>().getattr("from_dict")?, (self.to_dict(py)?,)))
    }

    /// The JSON Schema's text, the pattern or the texts.
    fn __repr__(&self) -> String {
        match &self.core {
            CoreGrammar::JsonSchema { schema, .. } => format!("Grammar.json_schema({schema:?})"),
            CoreGrammar::Regex(pattern) => format!("Grammar.regex({pattern:?})"),
            CoreGrammar::Ebnf(text) => format!("Grammar.ebnf({text:?})"),
            CoreGrammar::Lark(text) => format!("Grammar.lark({text:?})"),
            CoreGrammar::LarkWith(text, named) => {
                let names: Vec<&str> = named.iter().map(|(name, _)| &**name).collect();
                format!("<Grammar: lark({text:?}) with @{}>", names.join(", @"))
            }
            CoreGrammar::StructuralTag(text) => format!("Grammar.structural_tag({text:?})"),
            CoreGrammar::Choice(texts) => format!("Grammar.choice({texts:?})"),
            CoreGrammar::Either(parts) => format!("<Grammar: one of {}>", parts.len()),
            CoreGrammar::Sequence(parts) => format!("<Grammar: {} in sequence>", parts.len()),
        }
    }
}

const KINDS: [&str; 8] = ["json_schema", "regex", "choice", "ebnf", "lark", "structural_tag", "either", "sequence"];

fn as_dict<'py>(grammar: &CoreGrammar, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let data = PyDict::new(py);
    let all = |parts: &[CoreGrammar]| parts.iter().map(|part| as_dict(part, py)).collect::<PyResult<Vec<_>>>();
    match grammar {
        CoreGrammar::JsonSchema { schema, options } => {
            data.set_item("json_schema", schema)?;
            match &options.whitespace {
                Whitespace::Bounded(most) => data.set_item("max_whitespace", most)?,
                Whitespace::Compact => data.set_item("whitespace", "compact")?,
                Whitespace::Free => data.set_item("whitespace", "free")?,
                Whitespace::AtMost(most) => {
                    data.set_item("whitespace", "free")?;
                    data.set_item("max_whitespace", most)?;
                }
                Whitespace::Separators { item, key } => data.set_item("separators", (item, key))?,
                Whitespace::Indented { indent, item, key } => {
                    data.set_item("indent", indent)?;
                    data.set_item("separators", (item, key))?;
                }
            }
            data.set_item("property_order", if options.any_order { "any" } else { "schema" })?;
            data.set_item("integer_fraction", options.integer_fraction)?;
            data.set_item("format_assertion", options.format_assertion)?;
            let draft = options.draft.and_then(|draft| match draft {
                Draft::Draft3 => Some("http://json-schema.org/draft-03/schema"),
                Draft::Draft4 => Some("4"),
                Draft::Draft6 => Some("6"),
                Draft::Draft7 => Some("7"),
                Draft::Draft201909 => Some("2019-09"),
                Draft::Draft202012 => Some("2020-12"),
                Draft::Unnamed => None,
            });
            data.set_item("draft", draft)?;
            let resources = PyDict::new(py);
            for (uri, text) in &options.resources {
                resources.set_item(uri, text)?;
            }
            data.set_item("resources", resources)?;
        }
        CoreGrammar::Regex(pattern) => data.set_item("regex", pattern)?,
        CoreGrammar::Choice(texts) => data.set_item("choice", texts)?,
        CoreGrammar::Ebnf(text) => data.set_item("ebnf", text)?,
        CoreGrammar::Lark(text) => data.set_item("lark", text)?,
        CoreGrammar::LarkWith(text, named) => {
            data.set_item("lark", text)?;
            let parts = PyDict::new(py);
            for (name, part) in named {
                parts.set_item(name, as_dict(part, py)?)?;
            }
            data.set_item("named_grammars", parts)?;
        }
        CoreGrammar::StructuralTag(text) => data.set_item("structural_tag", text)?,
        CoreGrammar::Either(parts) => data.set_item("either", all(parts)?)?,
        CoreGrammar::Sequence(parts) => data.set_item("sequence", all(parts)?)?,
    }
    Ok(data)
}

/// A schema as text; what isn't text yet is for Python to write.
fn schema_text(schema: &Bound<'_, PyAny>) -> PyResult<String> {
    static WRITE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(text) = schema.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    let py = schema.py();
    let write = WRITE
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("fairlead._schema_text")?.getattr("schema_text")?.unbind()))?;
    write.bind(py).call1((schema,))?.extract()
}

/// A structural tag as text; what isn't text yet is for Python to write.
fn tag_text(tag: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = tag.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    tag.py().import("fairlead._schema_text")?.getattr("tag_text")?.call1((tag,))?.extract()
}

fn operand(other: &Bound<'_, PyAny>) -> PyResult<CoreGrammar> {
    match other.cast::<Grammar>() {
        Ok(grammar) => Ok(grammar.get().core.clone()),
        Err(_) => Err(PyTypeError::new_err("a Grammar can only be joined with a Grammar")),
    }
}

/// A grammar compiled for a vocabulary. Immutable; any number of matchers and threads may use it.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct CompiledGrammar {
    pub(crate) core: Arc<CoreCompiled>,
}

#[pymethods]
impl CompiledGrammar {
    /// The number of ids of the vocabulary, padding included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.core.vocabulary().size()
    }

    /// The ids that end a text, ascending.
    #[getter]
    fn stop_token_ids(&self) -> Vec<u32> {
        self.core.vocabulary().stop_ids().to_vec()
    }

    /// The vocabulary that the grammar was compiled for.
    #[getter]
    fn vocabulary(&self) -> Vocabulary {
        Arc::clone(self.core.vocabulary()).into()
    }

    /// The grammar as it was written.
    #[getter]
    fn grammar(&self) -> Grammar {
        Grammar { core: self.core.grammar().clone() }
    }
}

/// Compiles grammars for one vocabulary and shares what they have in common. Thread-safe.
///
/// Args:
///     vocabulary: The vocabulary.
///     cache_limit_bytes: Bytes of states and masks to keep, roughly; default 192 MiB.
///     limits: Counted limits of one grammar by name: max_source_bytes, max_depth, max_nodes, max_repetition,
///         max_states.
///     walk_ahead: Whether compiling works out the first masks that a sample text comes through; default True.
///     uncached: Remember no mask; for tests.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct Compiler {
    core: CoreCompiler,
}

fn limits_of(given: Option<&Bound<'_, PyDict>>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (name, value) in given.into_iter().flatten() {
        let name: String = name.extract()?;
        match &*name {
            "max_source_bytes" => limits.max_source_bytes = value.extract()?,
            "max_depth" => limits.max_depth = value.extract()?,
            "max_nodes" => limits.max_nodes = value.extract()?,
            "max_repetition" => limits.max_repetition = value.extract()?,
            "max_states" => limits.max_states = value.extract()?,
            _ => return Err(PyValueError::new_err(format!("{name:?} is no limit"))),
        }
    }
    Ok(limits)
}

#[pymethods]
impl Compiler {
    #[new]
    #[pyo3(signature = (vocabulary, *, cache_limit_bytes=None, limits=None, walk_ahead=true, uncached=false))]
    fn new(
        vocabulary: &Vocabulary,
        cache_limit_bytes: Option<usize>,
        limits: Option<&Bound<'_, PyDict>>,
        walk_ahead: bool,
        uncached: bool,
    ) -> PyResult<Self> {
        let defaults = CompilerOptions::default();
        let options = CompilerOptions {
            cache_limit_bytes: cache_limit_bytes.unwrap_or(defaults.cache_limit_bytes),
            limits: limits_of(limits)?,
            walk_ahead,
            uncached,
        };
        let core = CoreCompiler::new(Arc::clone(&vocabulary.core), options);
        #[cfg(feature = "mimalloc")]
        crate::allocator::settle();
        Ok(Self { core })
    }

    /// Compiles a grammar, or finds it compiled already; the interpreter lock is released meanwhile.
    ///
    /// Raises:
    ///     GrammarError: The grammar is malformed or no text satisfies it.
    ///     SchemaError: The schema is malformed or no value satisfies it.
    ///     UnsupportedSchemaError: A keyword constrains and isn't supported.
    ///     LimitExceeded: A limit was exceeded.
    fn compile(&self, py: Python<'_>, grammar: &Grammar) -> PyResult<CompiledGrammar> {
        let core = py.detach(|| self.core.compile(&grammar.core)).or_raise(py)?;
        Ok(CompiledGrammar { core })
    }

    /// Bytes that states and masks hold now, roughly.
    #[getter]
    fn cache_bytes(&self) -> usize {
        self.core.cache_bytes()
    }
}

/// Keywords of a schema that neither constrain nor belong to the standard: (JSON pointer, keyword) pairs.
///
/// Raises:
///     SchemaError: The schema is not JSON.
#[pyfunction]
pub(crate) fn unknown_schema_keywords(py: Python<'_>, schema: &str) -> PyResult<Vec<(String, String)>> {
    unknown_keywords(schema, &Limits::default()).or_raise(py)
}
