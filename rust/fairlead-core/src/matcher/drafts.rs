//! Drafts of tokens: several at once, a tree of them, and those that the grammar forces.

use std::sync::Arc;

use super::{Checkpoint, GrammarMatcher};

/// Drafted tokens as a tree: node 0 is the root, and each node names its first child and its next sibling.
#[derive(Clone, Debug)]
pub struct DraftTree {
    tokens: Vec<u32>,
    children: Vec<Option<u32>>,
    siblings: Vec<Option<u32>>,
}

impl DraftTree {
    /// A tree from three lists with an entry for each node.
    ///
    /// # Errors
    /// The lists differ in length, an index is none of a node, or the links make no tree with root 0.
    pub fn new(tokens: Vec<u32>, children: Vec<Option<u32>>, siblings: Vec<Option<u32>>) -> Result<Self, String> {
        let nodes = tokens.len();
        if children.len() != nodes || siblings.len() != nodes {
            return Err(format!(
                "a draft tree of {nodes} tokens has {} first children and {} next siblings",
                children.len(),
                siblings.len()
            ));
        }
        let mut linked = vec![false; nodes];
        for &to in children.iter().chain(&siblings).flatten() {
            match linked.get_mut(to as usize) {
                Some(known) if !*known && to != 0 => *known = true,
                Some(_) => return Err(format!("node {to} of the draft tree is reached twice, or is the root")),
                None => return Err(format!("node {to} is outside of the draft tree of {nodes} nodes")),
            }
        }
        if siblings.first().is_some_and(Option::is_some) {
            return Err("the root of a draft tree has no sibling".to_owned());
        }
        Ok(Self { tokens, children, siblings })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no node, not even a root.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn child(&self, node: usize) -> Option<usize> {
        self.children[node].map(|n| n as usize)
    }

    fn sibling(&self, node: usize) -> Option<usize> {
        self.siblings[node].map(|n| n as usize)
    }
}

impl GrammarMatcher {
    /// Takes a token as `accept_token` does, without a step in the history; after a refusal the state is undone by
    /// the caller.
    fn try_token(&mut self, id: u32) -> bool {
        let vocab = Arc::clone(&self.space.vocab);
        let stop = vocab.stop_ids().binary_search(&id).is_ok();
        if self.terminated || stop {
            let fine = stop && (self.terminated || self.is_completed());
            self.terminated |= fine;
            return fine;
        }
        let fine = vocab.spelling(id).is_some_and(|bytes| !bytes.is_empty() && self.advance(bytes));
        if fine {
            self.end_token();
            self.spent.add(vocab.bytes(id).unwrap_or_default());
            self.end_by_itself();
        }
        fine
    }

    /// How many tokens of a draft would be accepted one after the other; the state stays as it is.
    pub fn validate_tokens(&mut self, draft: &[u32]) -> usize {
        let before = self.checkpoint();
        let taken = draft.iter().take_while(|&&id| self.try_token(id)).count();
        self.restore(before);
        taken
    }

    /// Writes a row for each node of a tree of drafted tokens: what may follow after the tokens from the root to the
    /// node. The root's token is the last one accepted. Rows of nodes that the grammar refuses, and of those that are
    /// not in the tree, are all zero. The state stays as it is.
    ///
    /// # Panics
    /// If there are fewer rows than nodes, or a row is too short.
    pub fn fill_draft_tree(&mut self, tree: &DraftTree, rows: &mut [&mut [u32]]) {
        rows[..tree.len()].iter_mut().for_each(|row| row.fill(0));
        if tree.is_empty() {
            return;
        }
        self.fill(rows[0]);
        // Depth first: the states on the way to the node at hand are kept, to come back to for its siblings.
        let mut path: Vec<(usize, Checkpoint)> = Vec::new();
        let mut next = tree.child(0);
        loop {
            if let Some(node) = next {
                let before = self.checkpoint();
                if self.try_token(tree.tokens[node]) {
                    self.fill(rows[node]);
                    next = tree.child(node);
                    path.push((node, before));
                } else {
                    self.restore(before);
                    next = tree.sibling(node);
                }
            } else if let Some((node, before)) = path.pop() {
                self.restore(before);
                next = tree.sibling(node);
            } else {
                return;
            }
        }
    }

    /// How many tokens of a tokenizer's spelling of the forced text can be relied on: those that write its beginning
    /// and are allowed one after the other. The last token of the spelling isn't one of them: what follows the forced
    /// text might belong to it.
    pub fn validate_spelling(&mut self, text: &[u8], spelling: &[u32]) -> usize {
        let vocab = Arc::clone(&self.space.vocab);
        let spelling = &spelling[..spelling.len().saturating_sub(1)];
        let mut left = text;
        let writes = |&&id: &&u32| {
            let written = vocab.bytes(id).filter(|bytes| !bytes.is_empty());
            written.and_then(|bytes| left.strip_prefix(bytes)).map(|rest| left = rest).is_some()
        };
        let written = spelling.iter().take_while(writes).count();
        self.validate_tokens(&spelling[..written])
    }
}
