//! `GrammarMatcher` and `fill_batch`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairlead_core::{Budget, DraftTree, GrammarMatcher as CoreMatcher};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::buffers::{with_mask_row, with_mask_rows};
use crate::errors::OrRaise;
use crate::grammar::CompiledGrammar;
use crate::workers::{self, Shares};

/// One text being written under a grammar: which tokens may follow, and what has been accepted.
///
/// Safe to use from several threads; one generation needs one matcher (see ``fork``).
///
/// Args:
///     compiled: The compiled grammar.
///     max_rollback_tokens: How many accepted tokens can be taken back; -1, the default, is all of them.
///     terminate_without_stop_token: Whether the text is terminated as soon as it is complete and nothing can follow;
///         default False.
///     token_budget: How many tokens the text may have, the stop token among them (a string that is accepted counts as
///         one); None, the default, is any number. Masks are narrowed in time, so that the text is complete before its
///         tokens run out; ``accept_token`` takes what the grammar allows all the same.
///     character_budget: How many Unicode characters the text may have, likewise.
///
/// Raises:
///     LimitExceeded: Completing a text takes more than a budget.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct GrammarMatcher {
    state: Mutex<CoreMatcher>,
    words: usize,
    vocab_size: usize,
}

impl GrammarMatcher {
    fn over(core: CoreMatcher) -> Self {
        let vocabulary = core.grammar().vocabulary();
        let (words, vocab_size) = (vocabulary.words(), vocabulary.size());
        Self { state: Mutex::new(core), words, vocab_size }
    }

    /// The state, locked; a thread that must wait detaches meanwhile. Nobody calls into Python while holding it.
    #[inline]
    fn state<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, CoreMatcher> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(_) => self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn ids(&self, ids: &[i64]) -> PyResult<Vec<u32>> {
        let id = |&id: &i64| {
            let known = u32::try_from(id).ok().filter(|&id| (id as usize) < self.vocab_size);
            known.ok_or_else(|| outside(id, self.vocab_size))
        };
        ids.iter().map(id).collect()
    }

    fn fill_tree(&self, tree: &DraftTree, bitmask: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut state = self.state(bitmask.py());
        with_mask_rows(bitmask, self.words, |mut rows| {
            if rows.len() < tree.len() {
                let message = format!("the bitmask has {} rows, the draft needs {}", rows.len(), tree.len());
                return Err(PyIndexError::new_err(message));
            }
            state.fill_draft_tree(tree, &mut rows);
            Ok(())
        })?
    }
}

#[pymethods]
impl GrammarMatcher {
    #[new]
    #[pyo3(signature = (
        compiled, *, max_rollback_tokens=-1, terminate_without_stop_token=false, token_budget=None, character_budget=None
    ))]
    fn new(
        py: Python<'_>,
        compiled: &CompiledGrammar,
        max_rollback_tokens: i64,
        terminate_without_stop_token: bool,
        token_budget: Option<u64>,
        character_budget: Option<u64>,
    ) -> PyResult<Self> {
        let max_rollback = match max_rollback_tokens {
            -1 => None,
            n => Some(usize::try_from(n).map_err(|_| PyValueError::new_err("max_rollback_tokens is -1 or a count"))?),
        };
        let mut core = CoreMatcher::new(&compiled.core, max_rollback, terminate_without_stop_token);
        // More than a text can have is as good as that.
        let bound = |most: u64| u32::try_from(most).unwrap_or(u32::MAX);
        let budget = Budget { tokens: token_budget.map(bound), characters: character_budget.map(bound) };
        if budget != Budget::default() {
            py.detach(|| core.set_budget(budget)).or_raise(py)?;
        }
        Ok(Self::over(core))
    }

    /// Writes the mask of the next token, bit 1 for allowed; every word of the row is written.
    ///
    /// Args:
    ///     bitmask: A ``TokenBitmask``, any writable int32 buffer, or a CPU torch tensor of int32; shape
    ///         (batch, ceil(vocab_size / 32)) or (ceil(vocab_size / 32),).
    ///     index: The row; default 0.
    ///
    /// Returns:
    ///     Whether anything is masked; if not, applying the mask can be skipped.
    #[pyo3(signature = (bitmask, index=0))]
    fn fill_next_token_bitmask(&self, bitmask: &Bound<'_, PyAny>, index: usize) -> PyResult<bool> {
        let mut state = self.state(bitmask.py());
        with_mask_row(bitmask, index, self.words, |row| state.fill(row))
    }

    /// Accepts a token. False, with nothing changed, if the grammar refuses it.
    ///
    /// A stop token is accepted exactly when the text is complete, and terminates it.
    fn accept_token(&self, py: Python<'_>, token_id: i64) -> PyResult<bool> {
        match u32::try_from(token_id) {
            Ok(id) if (id as usize) < self.vocab_size => Ok(self.state(py).accept_token(id)),
            _ => Err(outside(token_id, self.vocab_size)),
        }
    }

    /// Accepts text that need not be a token, as one step. False, with nothing changed, if the grammar refuses it.
    fn accept_string(&self, text: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = text.py();
        if let Ok(text) = text.cast::<PyString>() {
            return Ok(self.state(py).accept_bytes(text.to_str()?.as_bytes()));
        }
        match text.cast::<PyBytes>() {
            Ok(bytes) => Ok(self.state(py).accept_bytes(bytes.as_bytes())),
            Err(_) => Err(PyTypeError::new_err("accept_string takes str or bytes")),
        }
    }

    /// Takes back the last accepted tokens (or strings).
    ///
    /// Raises:
    ///     ValueError: Fewer were accepted, or fewer can be taken back.
    #[pyo3(signature = (num_tokens=1))]
    fn rollback(&self, py: Python<'_>, num_tokens: usize) -> PyResult<()> {
        let mut state = self.state(py);
        if state.rollback(num_tokens) {
            return Ok(());
        }
        Err(PyValueError::new_err(format!("cannot take back {num_tokens} tokens: {} can be", state.accepted())))
    }

    /// Back to the start.
    fn reset(&self, py: Python<'_>) {
        self.state(py).reset();
    }

    /// An independent matcher in the same state.
    fn fork(&self, py: Python<'_>) -> Self {
        let core = self.state(py).clone();
        Self { state: Mutex::new(core), words: self.words, vocab_size: self.vocab_size }
    }

    /// Whether a stop token was accepted (or, with terminate_without_stop_token, nothing can follow).
    fn is_terminated(&self, py: Python<'_>) -> bool {
        self.state(py).is_terminated()
    }

    /// Whether what was accepted is a whole sentence of the grammar.
    fn is_completed(&self, py: Python<'_>) -> bool {
        self.state(py).is_completed()
    }

    /// What named rules of the grammar stand for in the text, once that is complete.
    ///
    /// Of several derivations it is the one in which, from the left, each piece of a sequence and each round of a
    /// repetition takes as much as it can, and of alternatives the first that fits. The text is parsed when this is
    /// called, in at worst the third power of its length; nothing is kept while tokens are accepted.
    ///
    /// Args:
    ///     names: Rules of a grammar in EBNF, or rules and terminals of one in Lark's notation; also of grammars that are joined
    ///         in this one, in all of which a name stands for what it stands for in each.
    ///
    /// Returns:
    ///     For each name the texts that it stands for, in the order in which they begin, outer ones before those inside;
    ///     special tokens are left out.
    ///
    /// Raises:
    ///     GrammarError: The grammar has no such rule, or isn't one with rules, or the text isn't complete.
    ///     LimitExceeded: The text takes more than 32 steps for each of the ``max_nodes`` that a grammar may have, or rules
    ///         stand in one another more than 10,000 deep.
    fn captures<'py>(&self, py: Python<'py>, names: Vec<String>) -> PyResult<Bound<'py, PyDict>> {
        let matcher = self.state(py).clone();
        let found = py.detach(|| {
            let each: Vec<&str> = names.iter().map(|name| &**name).collect();
            matcher.captures(&each)
        });
        let captures = PyDict::new(py);
        for (name, texts) in names.into_iter().zip(found.or_raise(py)?) {
            let texts: Vec<_> = texts.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
            captures.set_item(name, texts)?;
        }
        Ok(captures)
    }

    /// What rules that the grammar's author has marked stand for in the text so far, which must be complete: in Lark's
    /// notation ``rule[capture]: ...`` or ``rule[capture="name"]: ...``, in EBNF the same before ``::=``; of a rule with a suffix
    /// what stands before this. Worked out as by ``captures``.
    ///
    /// Returns:
    ///     Names with texts, in the order in which they end, inner ones before those around them; special tokens are left
    ///     out.
    ///
    /// Raises:
    ///     GrammarError: The text isn't complete, and some rule is marked.
    ///     LimitExceeded: As by ``captures``.
    fn marked_captures<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyBytes>)>> {
        let matcher = self.state(py).clone();
        let found = py.detach(|| matcher.marked_captures()).or_raise(py)?;
        Ok(found.into_iter().map(|(name, text)| (name, PyBytes::new(py, &text))).collect())
    }

    /// The text that must come next whatever is chosen; empty if there is a choice or the text may end.
    fn find_jump_forward_string(&self, py: Python<'_>) -> String {
        let mut forced = self.state(py).forced_text();
        let whole = forced.utf8_chunks().map(|c| c.valid().len()).next().unwrap_or(0);
        forced.truncate(whole);
        String::from_utf8(forced).unwrap_or_default()
    }

    /// Tokens that write the text that must come next, each the longest that the vocabulary has, without asking a
    /// tokenizer: XGrammar's method. The last one is left out if a longer token begins with it. ``forced_tokens`` are
    /// those that the tokenizer itself would write.
    ///
    /// Returns:
    ///     Token ids that can be accepted one after the other; none if there is a choice or the text may end.
    fn find_jump_forward_tokens(&self, py: Python<'_>) -> Vec<u32> {
        self.state(py).forced_tokens()
    }

    /// The canonical tokens of the text that must come next: those of the tokenizer's own spelling that no longer text
    /// could change. Appending them without asking the model, or one by one, writes the same.
    ///
    /// Args:
    ///     encode: From text to token ids, without special tokens. Called without any lock held.
    ///
    /// Returns:
    ///     Token ids that can be accepted one after the other; none if there is a choice.
    fn forced_tokens(&self, encode: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let py = encode.py();
        let text = self.find_jump_forward_string(py);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut spelling = self.ids(&encode.call1((&text,))?.extract::<Vec<i64>>()?)?;
        let certain = self.state(py).validate_spelling(text.as_bytes(), &spelling);
        spelling.truncate(certain);
        Ok(spelling)
    }

    /// Tokens that complete the text so far, the stop token not among them: few, if not the fewest. What budgets are
    /// kept by.
    ///
    /// Returns:
    ///     Token ids, none for a text that is complete; None where no such text is found.
    fn completion_tokens(&self, py: Python<'_>) -> Option<Vec<u32>> {
        self.state(py).completion_tokens()
    }

    /// An independent matcher in the same state.
    fn __copy__(&self, py: Python<'_>) -> Self {
        self.fork(py)
    }

    /// An independent matcher in the same state; the compiled grammar, which never changes, is shared.
    fn __deepcopy__(&self, memo: &Bound<'_, PyAny>) -> Self {
        self.fork(memo.py())
    }

    /// How many tokens of a draft would be accepted one after the other. The state stays as it is.
    ///
    /// Args:
    ///     draft: Token ids, as a speculative decoder proposes them.
    ///
    /// Raises:
    ///     IndexError: A token id is outside the vocabulary.
    fn validate_tokens(&self, py: Python<'_>, draft: Vec<i64>) -> PyResult<usize> {
        let draft = self.ids(&draft)?;
        Ok(self.state(py).validate_tokens(&draft))
    }

    /// Writes a mask for each position of a draft: row 0 before its first token, row ``i`` after ``i`` of its tokens.
    /// Rows behind a token that is refused are all zero. The state stays as it is.
    ///
    /// Args:
    ///     draft: Token ids.
    ///     bitmask: As for ``fill_next_token_bitmask``, with at least ``len(draft) + 1`` rows.
    ///
    /// Returns:
    ///     How many tokens of the draft would be accepted.
    ///
    /// Raises:
    ///     IndexError: A token id is outside the vocabulary, or the bitmask has too few rows.
    fn fill_draft_bitmask(&self, draft: Vec<i64>, bitmask: &Bound<'_, PyAny>) -> PyResult<usize> {
        // A chain is a tree without siblings, below a root that is accepted already.
        let ids = self.ids(&draft)?;
        let nodes = ids.len() + 1;
        let children = (1..=nodes as u32).map(|next| ((next as usize) < nodes).then_some(next)).collect();
        let tree = DraftTree::new([0].into_iter().chain(ids.iter().copied()).collect(), children, vec![None; nodes]);
        self.fill_tree(&tree.map_err(PyValueError::new_err)?, bitmask)?;
        Ok(self.state(bitmask.py()).validate_tokens(&ids))
    }

    /// Writes a mask for each node of a tree of drafted tokens. The state stays as it is.
    ///
    /// Node 0 is the root: its token is the last one accepted, and its row is the mask of the next token. A row of
    /// another node is the mask after the tokens on the way to it; rows of nodes that are refused, and of those that
    /// the root does not reach, are all zero.
    ///
    /// Args:
    ///     retrieve_next_token: For each node its first child, or -1.
    ///     retrieve_next_sibling: For each node its next sibling, or -1.
    ///     draft_tokens: For each node its token id.
    ///     bitmask: As for ``fill_next_token_bitmask``, with at least as many rows as nodes.
    ///
    /// Raises:
    ///     ValueError: The links make no tree.
    ///     IndexError: A token id is outside the vocabulary, or the bitmask has too few rows.
    fn traverse_draft_tree(
        &self,
        retrieve_next_token: Vec<i64>,
        retrieve_next_sibling: Vec<i64>,
        draft_tokens: Vec<i64>,
        bitmask: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let links = |name: &str, links: Vec<i64>| -> PyResult<Vec<Option<u32>>> {
            let link = |n: i64| match n {
                -1 => Ok(None),
                n => u32::try_from(n).map(Some).map_err(|_| PyValueError::new_err(format!("{name} has {n}"))),
            };
            links.into_iter().map(link).collect()
        };
        let children = links("retrieve_next_token", retrieve_next_token)?;
        let siblings = links("retrieve_next_sibling", retrieve_next_sibling)?;
        let tree = DraftTree::new(self.ids(&draft_tokens)?, children, siblings).map_err(PyValueError::new_err)?;
        self.fill_tree(&tree, bitmask)
    }

    /// An id of the next mask: equal ids, equal masks, for matchers of one compiler.
    fn mask_id(&self, py: Python<'_>) -> u64 {
        self.state(py).mask_id()
    }

    /// Why a token is refused, or that it is allowed.
    fn explain(&self, py: Python<'_>, token_id: i64) -> PyResult<String> {
        let id = u32::try_from(token_id).ok().filter(|&id| (id as usize) < self.vocab_size);
        let id = id.ok_or_else(|| outside(token_id, self.vocab_size))?;
        let mut state = self.state(py);
        Ok(state.explain(id))
    }

    /// The ids that end a text, ascending.
    #[getter]
    fn stop_token_ids(&self, py: Python<'_>) -> Vec<u32> {
        self.state(py).grammar().vocabulary().stop_ids().to_vec()
    }

    /// The number of ids, padding included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

fn outside(token_id: i64, size: usize) -> PyErr {
    PyIndexError::new_err(format!("token id {token_id} is outside the vocabulary of {size}"))
}

/// So many rows for each thread are worth waking it: masks that are known take a microsecond each.
const SHARE: usize = 16;

/// Fewer rows, and batches that don't follow each other closely, are filled by the caller's thread alone, unless it takes longer
/// than this: to wake a thread takes tens of microseconds, and its core's caches know nothing of the grammar.
const ALONE: Duration = Duration::from_micros(200);

/// Fills one row for each matcher, on several threads and with the interpreter lock released.
///
/// Args:
///     matchers: Matchers of one vocabulary; None leaves a row as it is.
///     bitmask: As for ``GrammarMatcher.fill_next_token_bitmask``, with at least as many rows as matchers.
///     max_threads: The caller's thread included. Default: one for each core. One for every sixteen rows is used at once where
///         the last batch of this thread ended less than 200 us ago, else as many as there are once the batch has taken
///         200 us. Threads that help look out for the next batch for 200 us before they sleep.
#[pyfunction]
#[pyo3(signature = (matchers, bitmask, *, max_threads=None))]
pub(crate) fn fill_batch(
    matchers: Vec<Option<PyRef<'_, GrammarMatcher>>>,
    bitmask: &Bound<'_, PyAny>,
    max_threads: Option<usize>,
) -> PyResult<()> {
    let py = bitmask.py();
    let mut jobs: Vec<(usize, &GrammarMatcher)> = Vec::new();
    for (index, matcher) in matchers.iter().enumerate() {
        let Some(matcher) = matcher else { continue };
        let matcher: &GrammarMatcher = matcher;
        if jobs.iter().any(|(_, other)| std::ptr::eq(*other, matcher)) {
            return Err(PyValueError::new_err("a matcher stands twice in the batch"));
        }
        jobs.push((index, matcher));
    }
    let Some(words) = jobs.first().map(|(_, m)| m.words) else { return Ok(()) };
    if jobs.iter().any(|(_, m)| m.words != words) {
        return Err(PyValueError::new_err("the matchers of a batch must share one vocabulary size"));
    }
    let threads = max_threads.unwrap_or_else(|| *workers::CORES).max(1);
    with_mask_rows(bitmask, words, |rows| {
        let mut rows: Vec<Option<&mut [u32]>> = rows.into_iter().map(Some).collect();
        let mut work = Vec::with_capacity(jobs.len());
        for (index, matcher) in jobs {
            let row = rows.get_mut(index).and_then(Option::take);
            let row = row.ok_or_else(|| PyIndexError::new_err("the bitmask has fewer rows than the batch"))?;
            work.push((&matcher.state, row));
        }
        py.detach(|| {
            // The locks are taken detached and released before attaching again.
            let fill = |(state, row): (&Mutex<CoreMatcher>, &mut [u32])| {
                state.lock().unwrap_or_else(PoisonError::into_inner).fill(row);
            };
            let mut work = work.into_iter();
            let mut most = work.len() / SHARE;
            if most < 2 || !workers::in_a_row() {
                let begun = Instant::now();
                while begun.elapsed() < ALONE
                    && let Some(one) = work.next()
                {
                    fill(one);
                }
                most = work.len();
            }
            let helpers = threads.min(most).saturating_sub(1);
            let shares = Shares::new(work, helpers + 1);
            let rest = |thread| std::iter::from_fn(|| shares.next(thread)).for_each(fill);
            if helpers == 0 {
                rest(0);
            } else {
                workers::together(helpers, &rest);
            }
            workers::end_of_batch();
        });
        Ok(())
    })?
}
