//! Grammars, and the compiler that lowers them for one vocabulary.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use indexmap::IndexMap;

use crate::automata::{EMPTY, ExprId, FINAL, Store};
use crate::error::Error;
use crate::grammar;
use crate::json_schema::{self, JsonOptions};
use crate::limits::Limits;
use crate::mask::{Shared, Space};
use crate::matcher::walk_ahead;
use crate::regex::{self, Dialect};
use crate::vocab::Vocabulary;

/// A grammar as its author wrote it, independent of any vocabulary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Grammar {
    /// The instances of a JSON Schema, given as text.
    JsonSchema {
        /// The schema.
        schema: String,
        /// How instances are written and how the schema is read.
        options: Box<JsonOptions>,
    },
    /// Texts that match a pattern as a whole.
    Regex(String),
    /// One of several texts.
    Choice(Vec<String>),
    /// The rule `root` of a grammar in EBNF, as `XGrammar` and `llama.cpp` (GBNF) write it.
    Ebnf(String),
    /// The rule `start` of a grammar in Lark's notation.
    Lark(String),
    /// The same, given grammars by the names that it has for them: `@name`. Texts in Lark's notation among these know the same
    /// names.
    LarkWith(String, Vec<(String, Grammar)>),
    /// A structural tag in `XGrammar`'s JSON form: free text until a trigger, then a constrained tag.
    StructuralTag(String),
    /// One grammar or another.
    Either(Vec<Grammar>),
    /// One grammar after another.
    Sequence(Vec<Grammar>),
}

impl Grammar {
    /// A JSON Schema with default options.
    pub fn json_schema(schema: impl Into<String>) -> Self {
        Self::JsonSchema { schema: schema.into(), options: Box::default() }
    }

    /// What a matcher begins with.
    fn root(&self, store: &Store, limits: &Limits) -> Result<ExprId, Error> {
        let whole = self.lower(store, limits)?;
        // A JSON value says itself where it ends; of other texts nothing below has to know where they could.
        Ok(if matches!(self, Self::JsonSchema { .. }) { whole } else { store.concat(whole, FINAL) })
    }

    fn lower(&self, store: &Store, limits: &Limits) -> Result<ExprId, Error> {
        match self {
            Self::JsonSchema { schema, options } => json_schema::lower(store, schema, options, limits),
            Self::Regex(pattern) => regex::compile(store, pattern, Dialect::Whole, limits),
            Self::Ebnf(text) => grammar::ebnf(store, text, limits),
            Self::Lark(text) => grammar::lark(store, text, &[], limits),
            Self::LarkWith(text, named) => {
                grammar::lark(store, text, &Self::named_sources(named, store, limits)?, limits)
            }
            Self::StructuralTag(text) => grammar::structural_tag(store, text, limits),
            Self::Choice(texts) => {
                if texts.iter().any(String::is_empty) || texts.is_empty() {
                    return Err(Error::grammar("a choice needs at least one text, and none of them empty"));
                }
                Ok(store.switch(texts.iter().map(|t| (t.as_bytes().into(), crate::automata::EPS)).collect()))
            }
            Self::Either(parts) => {
                let parts = parts.iter().map(|g| g.lower(store, limits)).collect::<Result<Vec<_>, _>>()?;
                Ok(store.union(parts.into_iter().map(|e| store.call_of(e))))
            }
            Self::Sequence(parts) => {
                let parts = parts.iter().map(|g| g.lower(store, limits)).collect::<Result<Vec<_>, _>>()?;
                let parts: Vec<ExprId> = parts.into_iter().map(|e| store.call_of(e)).collect();
                Ok(store.sequence(&parts))
            }
        }
    }

    /// Whether rules have names in some part of it.
    fn names_rules(&self) -> bool {
        match self {
            Self::Ebnf(_) | Self::Lark(_) | Self::LarkWith(..) => true,
            Self::Either(parts) | Self::Sequence(parts) => parts.iter().any(Self::names_rules),
            _ => false,
        }
    }

    /// What its rules are read from.
    fn source(&self, store: &Store, limits: &Limits) -> Result<grammar::Source<'_>, Error> {
        Ok(match self {
            Self::Ebnf(text) => grammar::Source::Ebnf(text),
            Self::Lark(text) => grammar::Source::Lark(text, Vec::new()),
            Self::LarkWith(text, named) => grammar::Source::Lark(text, Self::named_sources(named, store, limits)?),
            Self::Either(parts) => grammar::Source::Either(Self::sources(parts, store, limits)?),
            Self::Sequence(parts) => grammar::Source::Sequence(Self::sources(parts, store, limits)?),
            _ => grammar::Source::Lowered(self.lower(store, limits)?),
        })
    }

    fn sources<'a>(parts: &'a [Self], store: &Store, limits: &Limits) -> Result<Vec<grammar::Source<'a>>, Error> {
        parts.iter().map(|part| part.source(store, limits)).collect()
    }

    fn named_sources<'a>(
        named: &'a [(String, Self)],
        store: &Store,
        limits: &Limits,
    ) -> Result<Vec<(&'a str, grammar::Source<'a>)>, Error> {
        named.iter().map(|(name, part)| Ok((&**name, part.source(store, limits)?))).collect()
    }

    fn bytes(&self) -> usize {
        let inner = match self {
            Self::LarkWith(text, named) => {
                text.len() + named.iter().map(|(name, part)| name.len() + 24 + part.bytes()).sum::<usize>()
            }
            Self::JsonSchema { schema, options } => schema.len() + options.bytes(),
            Self::Regex(text) | Self::Ebnf(text) | Self::Lark(text) | Self::StructuralTag(text) => text.len(),
            Self::Choice(texts) => texts.iter().map(|t| t.len() + 24).sum(),
            Self::Either(parts) | Self::Sequence(parts) => parts.iter().map(Self::bytes).sum(),
        };
        inner + 64
    }
}

/// A grammar lowered for a vocabulary; shared by any number of matchers and threads.
#[derive(Debug)]
pub struct CompiledGrammar {
    grammar: Grammar,
    limits: Limits,
    shared: Arc<Shared>,
    instance: Mutex<(Arc<Space>, ExprId)>,
}

impl CompiledGrammar {
    /// Where new matchers begin. Once the space has outgrown its budget, the grammar is lowered into a fresh one.
    pub(crate) fn instance(&self) -> (Arc<Space>, ExprId) {
        let space = self.shared.space();
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&instance.0, &space) {
            // What was lowered once lowers again; if it should not, the old space still serves.
            if let Ok(root) = self.grammar.root(&space.store, &self.limits) {
                *instance = (space, root);
            }
        }
        (Arc::clone(&instance.0), instance.1)
    }

    /// The grammar as it was written.
    pub fn grammar(&self) -> &Grammar {
        &self.grammar
    }

    /// Where named rules of a grammar in EBNF or Lark's notation, or of one that such are joined in, stand in one of its texts,
    /// special tokens among it; for each name the spans in the order in which they begin, outer ones first. Of several
    /// derivations it is the one in which, from the left, each piece takes as much as it can, and of alternatives the first
    /// that fits.
    ///
    /// # Errors
    /// A grammar without rules, an unknown name, a text that isn't complete, or a limit.
    pub fn captures(&self, names: &[&str], text: &[u8]) -> Result<Vec<Vec<Range<usize>>>, Error> {
        if !self.grammar.names_rules() {
            return Err(Error::grammar("only grammars in EBNF and in Lark's notation have named rules"));
        }
        let (space, _) = self.instance();
        let source = self.grammar.source(&space.store, &self.limits)?;
        grammar::captured(&space.store, &source, names, text, &self.limits)
    }

    /// What rules marked with `[capture]` or `[capture="name"]` stand for in one of the grammar's texts: names
    /// with spans, in the order in which they end, inner ones first. The derivation is that of [`captures`](Self::captures).
    ///
    /// # Errors
    /// A text that isn't complete where some rule is marked, or a limit.
    pub fn marked_captures(&self, text: &[u8]) -> Result<Vec<(String, Range<usize>)>, Error> {
        if !self.grammar.names_rules() {
            return Ok(Vec::new());
        }
        let (space, _) = self.instance();
        let source = self.grammar.source(&space.store, &self.limits)?;
        grammar::marked(&space.store, &source, text, &self.limits)
    }

    /// The vocabulary that it was lowered for.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.shared.vocab
    }
}

/// How much a compiler may keep.
#[derive(Clone, Debug)]
pub struct CompilerOptions {
    /// Bytes of interned states and masks before a fresh space is begun. Default 192 MiB.
    pub cache_limit_bytes: usize,
    /// What one grammar may cost.
    pub limits: Limits,
    /// Whether compiling works out the first masks that a sample text comes through, of large grammars most of them, so that
    /// texts wait less for masks that nobody has asked for yet. Results are identical. Default true.
    pub walk_ahead: bool,
    /// No mask is remembered; results are identical. For tests.
    pub uncached: bool,
}

impl Default for CompilerOptions {
    fn default() -> Self {
        Self { cache_limit_bytes: 192 << 20, limits: Limits::default(), walk_ahead: true, uncached: false }
    }
}

/// Compiles grammars for one vocabulary; what they have in common is shared. Usable from many threads.
#[derive(Debug)]
pub struct Compiler {
    shared: Arc<Shared>,
    options: CompilerOptions,
    known: Mutex<Known>,
}

/// Grammars compiled in one space. Once a fresh one is begun they are let go, so that the old one can be freed.
#[derive(Debug, Default)]
struct Known {
    space: Weak<Space>,
    grammars: IndexMap<Grammar, Arc<CompiledGrammar>>,
    bytes: usize,
}

/// Bytes of lowering from which on a grammar is walked ahead as far as a sample goes. Smaller ones have few first visits all together,
/// and such a walk would take longer than lowering them.
const LARGE: usize = 3_500;
/// Bytes that what a sample text comes through may take in those that are smaller.
const BYTES_AHEAD: usize = 1 << 10;
/// Bytes that what a sample text comes through may take, in those of lowering. More makes first visits rarer still, and the first
/// mask of a text later.
const TIMES_AHEAD: usize = 30;

/// Bytes of grammars, as written, that a compiler remembers.
const KNOWN_BYTES: usize = 8 << 20;

impl Compiler {
    /// A compiler for a vocabulary.
    pub fn new(vocabulary: Arc<Vocabulary>, options: CompilerOptions) -> Self {
        let shared = Arc::new(Shared::new(vocabulary, options.cache_limit_bytes, options.uncached));
        // What every grammar with strings needs first, once per vocabulary.
        shared.warm_up();
        Self { shared, options, known: Mutex::default() }
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.shared.vocab
    }

    /// Bytes that interned states and masks hold now, roughly.
    pub fn cache_bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Lowers a grammar, or finds it lowered already.
    ///
    /// # Errors
    /// A malformed or unsupported grammar, one without any sentence, or a limit.
    pub fn compile(&self, grammar: &Grammar) -> Result<Arc<CompiledGrammar>, Error> {
        let space = self.shared.space();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::ptr::eq(known.space.as_ptr(), Arc::as_ptr(&space)) {
                *known = Known { space: Arc::downgrade(&space), ..Known::default() };
            }
            if let Some(compiled) = known.grammars.get(grammar) {
                return Ok(Arc::clone(compiled));
            }
        }
        let before = space.store.bytes();
        let root = grammar.root(&space.store, &self.options.limits)?;
        let lowered = space.store.bytes().saturating_sub(before);
        if root == EMPTY || !space.store.alive(root) {
            return Err(match grammar {
                Grammar::JsonSchema { options, .. } => Error::schema("", options.whitespace.no_value()),
                _ => Error::grammar("no text satisfies this grammar"),
            });
        }
        let compiled = Arc::new(CompiledGrammar {
            grammar: grammar.clone(),
            limits: self.options.limits.clone(),
            shared: Arc::clone(&self.shared),
            instance: Mutex::new((Arc::clone(&space), root)),
        });
        if self.options.walk_ahead && !self.options.uncached {
            walk_ahead(&compiled, if lowered < LARGE { BYTES_AHEAD } else { lowered.saturating_mul(TIMES_AHEAD) });
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.bytes += grammar.bytes();
        if known.bytes > KNOWN_BYTES {
            known.grammars.clear();
            known.bytes = grammar.bytes();
        }
        known.grammars.insert(grammar.clone(), Arc::clone(&compiled));
        Ok(compiled)
    }
}
