//! The vocabulary as a flat byte trie in depth-first order, and tries derived from it.

/// What the texts below a node are made of, counted from after the node's own byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// The ASCII bytes that occur.
    pub(crate) ascii: u128,
    /// Whether other bytes occur.
    pub(crate) beyond: bool,
    /// Whether some token below isn't whole characters.
    pub(crate) broken: bool,
    /// The most characters of any token below.
    pub(crate) chars: u8,
}

impl Shape {
    fn join(&mut self, other: Self) {
        self.ascii |= other.ascii;
        self.beyond |= other.beyond;
        self.broken |= other.broken;
        self.chars = self.chars.max(other.chars);
    }
}

/// A byte trie: the nodes below node `n` are `n + 1 .. end(n)`, and so are their tokens in one run.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    end: Vec<u32>,
    tokens_at: Vec<u32>,
    tokens: Vec<u32>,
    children_at: Vec<u32>,
    child_bytes: Vec<u8>,
    child_nodes: Vec<u32>,
    shapes: Vec<Shape>,
    /// Where each token of the vocabulary stands in `tokens`; not for derived tries.
    places: Vec<u32>,
    /// For a derived trie: the nodes of the vocabulary's trie that a node stands for.
    origins_at: Vec<u32>,
    origins: Vec<u32>,
}

/// The root of every trie.
pub(crate) const ROOT: u32 = 0;

impl Trie {
    /// The trie of a vocabulary; special tokens are `None`, empty ones are left out.
    pub(crate) fn new(tokens: &[Option<Box<[u8]>>]) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = tokens
            .iter()
            .enumerate()
            .filter_map(|(id, bytes)| bytes.as_deref().filter(|b| !b.is_empty()).map(|b| (b, id as u32)))
            .collect();
        sorted.sort_unstable();
        let mut trie = Self::default();
        let mut children: Vec<Vec<(u8, u32)>> = Vec::new();
        trie.open(&mut children);
        let mut path = vec![ROOT];
        let mut last: &[u8] = &[];
        for &(bytes, id) in &sorted {
            let shared = bytes.iter().zip(last).take_while(|(a, b)| a == b).count();
            for &node in &path[shared + 1..] {
                trie.end[node as usize] = trie.end.len() as u32;
            }
            path.truncate(shared + 1);
            for &b in &bytes[shared..] {
                let node = trie.open(&mut children);
                children[path[path.len() - 1] as usize].push((b, node));
                path.push(node);
            }
            trie.tokens.push(id);
            trie.note_shapes(&path, bytes);
            last = bytes;
        }
        for &node in &path {
            trie.end[node as usize] = trie.end.len() as u32;
        }
        trie.close(&children);
        trie.places = vec![u32::MAX; tokens.len()];
        for (place, &token) in trie.tokens.iter().enumerate() {
            trie.places[token as usize] = place as u32;
        }
        trie
    }

    fn open(&mut self, children: &mut Vec<Vec<(u8, u32)>>) -> u32 {
        self.end.push(0);
        self.tokens_at.push(self.tokens.len() as u32);
        self.shapes.push(Shape::default());
        children.push(Vec::new());
        self.end.len() as u32 - 1
    }

    fn close(&mut self, children: &[Vec<(u8, u32)>]) {
        self.tokens_at.push(self.tokens.len() as u32);
        self.children_at.push(0);
        for list in children {
            self.child_bytes.extend(list.iter().map(|&(b, _)| b));
            self.child_nodes.extend(list.iter().map(|&(_, n)| n));
            self.children_at.push(self.child_nodes.len() as u32);
        }
    }

    fn note_shapes(&mut self, path: &[u32], bytes: &[u8]) {
        let mut shape = Shape::default();
        let mut whole = 0usize;
        let ascii = bytes.is_ascii();
        for at in (0..bytes.len()).rev() {
            // The shape of `bytes[at + 1..]` belongs to the node reached by `bytes[at]`.
            self.shapes[path[at + 1] as usize].join(shape);
            let b = bytes[at];
            if b < 0x80 {
                shape.ascii |= 1 << b;
            } else {
                shape.beyond = true;
            }
            whole += usize::from(b & 0xC0 != 0x80);
            shape.chars = whole.min(255) as u8;
            shape.broken = !ascii && std::str::from_utf8(&bytes[at..]).is_err();
        }
        self.shapes[ROOT as usize].join(shape);
    }

    /// The trie of what follows any of the given nodes of this one, restricted to the tokens that `keep` takes.
    pub(crate) fn derive(&self, nodes: &[u32], keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Vec::with_capacity(self.tokens.len() + 1);
        kept.push(0u32);
        // Counting is only worth it when the whole trie is derived from.
        if nodes == [ROOT] {
            for &token in &self.tokens {
                kept.push(kept[kept.len() - 1] + u32::from(keep(token)));
            }
        }
        let any_below = |node: u32| {
            kept.len() == 1 || {
                let (from, to) = (self.tokens_at[node as usize], self.tokens_at[self.end[node as usize] as usize]);
                kept[to as usize] > kept[from as usize]
            }
        };
        let mut out = Self::default();
        let mut children = Vec::new();
        out.grow(self, nodes, &keep, &any_below, &mut children, true);
        out.origins_at.push(out.origins.len() as u32);
        out.close(&children);
        out
    }

    fn grow(
        &mut self,
        main: &Self,
        origins: &[u32],
        keep: &dyn Fn(u32) -> bool,
        any_below: &dyn Fn(u32) -> bool,
        children: &mut Vec<Vec<(u8, u32)>>,
        top: bool,
    ) -> u32 {
        let node = self.open(children);
        self.origins_at.push(self.origins.len() as u32);
        self.origins.extend_from_slice(origins);
        let mut next: Vec<(u8, u32)> = Vec::new();
        for &origin in origins {
            if !top {
                self.tokens.extend(main.own_tokens(origin).iter().copied().filter(|&t| keep(t)));
            }
            self.shapes[node as usize].join(main.shapes[origin as usize]);
            let (bytes, nodes) = main.children(origin);
            next.extend(bytes.iter().copied().zip(nodes.iter().copied()).filter(|&(_, n)| any_below(n)));
        }
        next.sort_unstable();
        for group in next.chunk_by(|a, b| a.0 == b.0) {
            let nodes: Vec<u32> = group.iter().map(|&(_, n)| n).collect();
            let child = self.grow(main, &nodes, keep, any_below, children, false);
            children[node as usize].push((group[0].0, child));
        }
        self.end[node as usize] = self.end.len() as u32;
        node
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.end.len()
    }

    /// How many nodes lie below a node.
    pub(crate) fn below(&self, node: u32) -> usize {
        (self.end[node as usize] - node - 1) as usize
    }

    /// Where the nodes below a node end.
    pub(crate) fn end(&self, node: u32) -> u32 {
        self.end[node as usize]
    }

    /// The child of a node by a byte.
    pub(crate) fn child(&self, node: u32, b: u8) -> Option<u32> {
        let (bytes, nodes) = self.children(node);
        bytes.binary_search(&b).ok().map(|i| nodes[i])
    }

    /// The node that a text leads to from the root.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        text.iter().try_fold(ROOT, |node, &b| self.child(node, b))
    }

    /// The bytes of a node's children, ascending, and the children.
    #[inline]
    pub(crate) fn children(&self, node: u32) -> (&[u8], &[u32]) {
        let range = self.children_at[node as usize] as usize..self.children_at[node as usize + 1] as usize;
        (&self.child_bytes[range.clone()], &self.child_nodes[range])
    }

    /// The tokens that end at a node.
    #[inline]
    pub(crate) fn own_tokens(&self, node: u32) -> &[u32] {
        // The children's tokens follow a node's own in one run.
        let first = self.children_at[node as usize] as usize;
        let last = self.children_at[node as usize + 1] as usize;
        let to = if first < last {
            self.tokens_at[self.child_nodes[first] as usize]
        } else {
            self.tokens_at[node as usize + 1]
        };
        &self.tokens[self.tokens_at[node as usize] as usize..to as usize]
    }

    /// The tokens that end at a node or below.
    #[inline]
    pub(crate) fn all_tokens(&self, node: u32) -> &[u32] {
        let to = self.tokens_at[self.end[node as usize] as usize];
        &self.tokens[self.tokens_at[node as usize] as usize..to as usize]
    }

    /// Whether a token of the vocabulary ends at a node or below.
    #[inline]
    pub(crate) fn holds(&self, node: u32, token: u32) -> bool {
        let to = self.tokens_at[self.end[node as usize] as usize];
        (self.tokens_at[node as usize]..to).contains(&self.places[token as usize])
    }

    #[inline]
    pub(crate) fn shape(&self, node: u32) -> Shape {
        self.shapes[node as usize]
    }

    /// The nodes of the vocabulary's trie that a node stands for.
    pub(crate) fn origins(&self, node: u32) -> &[u32] {
        &self.origins[self.origins_at[node as usize] as usize..self.origins_at[node as usize + 1] as usize]
    }

    /// Whether this trie was derived from the vocabulary's.
    pub(crate) fn is_derived(&self) -> bool {
        !self.origins_at.is_empty()
    }

    /// The bytes on the way from the root to a node of the vocabulary's trie.
    pub(crate) fn path(&self, node: u32) -> Vec<u8> {
        let mut path = Vec::new();
        let mut at = ROOT;
        while at != node {
            let (bytes, nodes) = self.children(at);
            let i = nodes.partition_point(|&n| n <= node) - 1;
            path.push(bytes[i]);
            at = nodes[i];
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paths_and_tokens_are_the_vocabulary(
            words in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..5), 1..40)
        ) {
            let tokens: Vec<Option<Box<[u8]>>> = words.iter().map(|w| Some(w.clone().into())).collect();
            let trie = Trie::new(&tokens);
            let mut seen = 0;
            for node in 0..trie.len() as u32 {
                let path = trie.path(node);
                for &t in trie.own_tokens(node) {
                    prop_assert_eq!(&words[t as usize], &path);
                    seen += 1;
                }
                let below = words.iter().filter(|w| w.starts_with(&path) && !w.is_empty()).count();
                prop_assert_eq!(trie.all_tokens(node).len(), below);
            }
            prop_assert_eq!(seen, words.iter().filter(|w| !w.is_empty()).count());
            let derived = trie.derive(&[ROOT], |t| t % 2 == 0);
            let kept = words.iter().enumerate().filter(|(i, w)| i % 2 == 0 && !w.is_empty()).count();
            prop_assert_eq!(derived.all_tokens(ROOT).len(), kept);
        }
    }
}
