//! The vocabulary as a flat byte trie in depth-first order, and tries derived from it.

use super::shape::{Blocks, LEAD, Shape};

/// A child of a node, with the byte that leads to it; children sort by that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Child(u32);

impl Child {
    fn new(byte: u8, node: u32) -> Self {
        Self(u32::from(byte) << 24 | node)
    }

    /// The byte.
    #[inline]
    pub(crate) fn byte(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// The node.
    #[inline]
    pub(crate) fn node(self) -> u32 {
        self.0 & 0x00FF_FFFF
    }
}

/// How many children a node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Children {
    #[default]
    None,
    One,
    Several,
}

/// What a visit of a node needs, side by side: first visits are mostly waiting for memory.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Where the nodes below end.
    end: u32,
    /// Where the node's tokens begin; its own end where those of the next node begin.
    tokens: u32,
    children: Children,
    /// The byte that leads here.
    byte: u8,
    /// The blocks of the node's shape.
    blocks: u16,
    /// The only child; where there are several, one less than their number in place of the byte, and where the first is in
    /// the list of children in place of the node.
    child: Child,
}

/// What a scan needs to know of a node: all of a node's children side by side, so that it looks at no records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sibling {
    pub(crate) child: Child,
    /// The place of the first token that ends here or below.
    pub(crate) tokens: u32,
    /// Where several children are in the list of siblings, as in the record.
    below: Child,
    children: Children,
    blocks: u16,
}

impl Sibling {
    /// Whether its shape is of a class of characters, as far as its blocks tell.
    #[inline]
    pub(crate) fn is_of(&self, class: Blocks) -> Option<bool> {
        class.hold(self.blocks)
    }
}

/// A byte trie in depth-first order: the nodes below node `n` are `n + 1 .. end(n)`, and so are their tokens in one run.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    /// One for each node, and one for the end.
    records: Vec<Record>,
    children: Vec<Child>,
    /// The same children with what a scan needs of each, so that it reads from one place after the other.
    siblings: Vec<Sibling>,
    tokens: Vec<u32>,
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
    /// The bytes of all tokens together may be so many: a node's number has 24 bits.
    pub(crate) const MOST_BYTES: usize = (1 << 24) - 2;

    /// The trie of a vocabulary; special tokens are `None`, empty ones are left out.
    pub(crate) fn new(tokens: &[Option<Box<[u8]>>]) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = tokens
            .iter()
            .enumerate()
            .filter_map(|(id, bytes)| bytes.as_deref().filter(|b| !b.is_empty()).map(|b| (b, id as u32)))
            .collect();
        sorted.sort_unstable();
        let mut trie = Self::default();
        trie.open(0);
        let mut path = vec![ROOT];
        let mut from = Vec::new();
        let mut last: &[u8] = &[];
        for &(bytes, id) in &sorted {
            let shared = bytes.iter().zip(last).take_while(|(a, b)| a == b).count();
            for &node in &path[shared + 1..] {
                trie.records[node as usize].end = trie.records.len() as u32;
            }
            path.truncate(shared + 1);
            for &b in &bytes[shared..] {
                path.push(trie.open(b));
            }
            trie.tokens.push(id);
            trie.note_shapes(&path, bytes, &mut from);
            last = bytes;
        }
        for &node in &path {
            trie.records[node as usize].end = trie.records.len() as u32;
        }
        trie.close();
        trie.places = vec![u32::MAX; tokens.len()];
        for (place, &token) in trie.tokens.iter().enumerate() {
            trie.places[token as usize] = place as u32;
        }
        trie
    }

    fn open(&mut self, byte: u8) -> u32 {
        self.records.push(Record { tokens: self.tokens.len() as u32, byte, ..Record::default() });
        self.shapes.push(Shape::default());
        self.records.len() as u32 - 1
    }

    /// Finds the children, once all ends are known.
    fn close(&mut self) {
        self.records.push(Record { tokens: self.tokens.len() as u32, ..Record::default() });
        for (record, shape) in self.records.iter_mut().zip(&self.shapes) {
            record.blocks = shape.blocks();
        }
        for node in 0..self.len() {
            let (at, end) = (self.children.len(), self.records[node].end);
            let mut child = node as u32 + 1;
            while child < end {
                let record = self.records[child as usize];
                self.children.push(Child::new(record.byte, child));
                child = record.end;
            }
            let (children, child) = match self.children.len() - at {
                0 => (Children::None, Child::default()),
                1 => (Children::One, self.children.pop().unwrap_or_default()),
                count => (Children::Several, Child::new((count - 1) as u8, at as u32)),
            };
            self.records[node] = Record { children, child, ..self.records[node] };
        }
        self.siblings = self.children.iter().map(|child| self.sibling(child.node())).collect();
    }

    /// Adds a token to the shapes of the nodes on its path; `from` is room for the shapes of its text from each byte on.
    fn note_shapes(&mut self, path: &[u32], bytes: &[u8], from: &mut Vec<Shape>) {
        from.clear();
        from.resize(bytes.len() + 1, Shape::default());
        for at in (0..bytes.len()).rev() {
            from[at] = Shape::of(&bytes[at..], &from[at + 1..]);
            let led = bytes[at] >= LEAD;
            let shape = if led { Shape { led, ..from[at] } } else { from[at + 1] };
            self.shapes[path[at + 1] as usize].join(shape);
        }
        self.shapes[ROOT as usize].join(from[0]);
    }

    /// The trie of what follows any of the given nodes of this one, restricted to the tokens that `keep` takes.
    pub(crate) fn derive(&self, nodes: &[u32], keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Vec::new();
        // Counting is only worth it when the whole trie is derived from.
        if nodes == [ROOT] {
            kept.reserve(self.tokens.len() + 1);
            kept.push(0u32);
            for &token in &self.tokens {
                kept.push(kept[kept.len() - 1] + u32::from(keep(token)));
            }
        }
        let any_below = |node: u32| {
            kept.is_empty() || {
                let tokens = self.token_range(node);
                kept[tokens.end as usize] > kept[tokens.start as usize]
            }
        };
        let mut out = Self::default();
        out.grow(self, nodes, 0, &keep, &any_below);
        out.origins_at.push(out.origins.len() as u32);
        out.close();
        out
    }

    fn grow(
        &mut self,
        main: &Self,
        origins: &[u32],
        byte: u8,
        keep: &dyn Fn(u32) -> bool,
        any_below: &dyn Fn(u32) -> bool,
    ) {
        let node = self.open(byte);
        self.origins_at.push(self.origins.len() as u32);
        self.origins.extend_from_slice(origins);
        let mut next: Vec<Child> = Vec::new();
        for &origin in origins {
            if node != ROOT {
                self.tokens.extend(main.own_tokens(origin).iter().copied().filter(|&t| keep(t)));
            }
            self.shapes[node as usize].join(main.shapes[origin as usize]);
            next.extend(main.children(origin).iter().filter(|child| any_below(child.node())));
        }
        if origins.len() > 1 {
            next.sort_unstable();
        }
        let mut nodes = Vec::new();
        for group in next.chunk_by(|a, b| a.byte() == b.byte()) {
            nodes.clear();
            nodes.extend(group.iter().map(|child| child.node()));
            self.grow(main, &nodes, group[0].byte(), keep, any_below);
        }
        self.records[node as usize].end = self.records.len() as u32;
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len() - 1
    }

    /// Bytes that a trie holds, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * (size_of::<Record>() + size_of::<Shape>() + size_of::<Sibling>() + 8)
            + (self.tokens.len() + self.origins.len()) * 4
    }

    /// How many nodes lie below a node.
    #[inline]
    pub(crate) fn below(&self, node: u32) -> usize {
        (self.records[node as usize].end - node - 1) as usize
    }

    /// Where the nodes below a node end.
    #[inline]
    pub(crate) fn end(&self, node: u32) -> u32 {
        self.records[node as usize].end
    }

    /// Whether a node's shape is of a class of characters, as far as its blocks tell.
    #[inline]
    pub(crate) fn is_of(&self, node: u32, class: Blocks) -> Option<bool> {
        class.hold(self.records[node as usize].blocks)
    }

    /// A node as a scan sees it.
    #[inline]
    pub(crate) fn sibling(&self, node: u32) -> Sibling {
        let Record { tokens, children, byte, blocks, child, .. } = self.records[node as usize];
        let at = if children == Children::Several { child } else { Child::default() };
        Sibling { child: Child::new(byte, node), tokens, below: at, children, blocks }
    }

    /// The children of a node as a scan sees them; `only` is room for one.
    #[inline]
    pub(crate) fn siblings_below<'a>(&'a self, node: &Sibling, only: &'a mut Sibling) -> &'a [Sibling] {
        match node.children {
            Children::None => &[],
            Children::One => {
                *only = self.sibling(node.child.node() + 1);
                std::slice::from_ref(only)
            }
            Children::Several => &self.siblings[node.below.node() as usize..][..=usize::from(node.below.byte())],
        }
    }

    /// The tokens at some places in depth-first order.
    #[inline]
    pub(crate) fn tokens_at(&self, places: std::ops::Range<u32>) -> &[u32] {
        &self.tokens[places.start as usize..places.end as usize]
    }

    /// The child of a node by a byte.
    #[inline]
    pub(crate) fn child(&self, node: u32, b: u8) -> Option<u32> {
        let children = self.children(node);
        // Alone, or the few that most nodes have: found without a search.
        let at = match children {
            [] => return None,
            [only] => return (only.byte() == b).then(|| only.node()),
            _ => children.partition_point(|child| child.byte() < b),
        };
        children.get(at).filter(|child| child.byte() == b).map(|child| child.node())
    }

    /// A node's children, their bytes ascending.
    #[inline]
    pub(crate) fn children(&self, node: u32) -> &[Child] {
        let record = &self.records[node as usize];
        match record.children {
            Children::None => &[],
            Children::One => std::slice::from_ref(&record.child),
            Children::Several => &self.children[record.child.node() as usize..][..=usize::from(record.child.byte())],
        }
    }

    /// The tokens that end at a node.
    #[inline]
    pub(crate) fn own_tokens(&self, node: u32) -> &[u32] {
        // The tokens of what is next, in depth-first order, follow a node's own.
        let (from, to) = (self.records[node as usize].tokens, self.records[node as usize + 1].tokens);
        &self.tokens[from as usize..to as usize]
    }

    /// The places of the tokens that end at a node or below.
    #[inline]
    pub(crate) fn token_range(&self, node: u32) -> std::ops::Range<u32> {
        let Record { end, tokens, .. } = self.records[node as usize];
        tokens..self.records[end as usize].tokens
    }

    /// The tokens that end at a node or below.
    #[inline]
    pub(crate) fn all_tokens(&self, node: u32) -> &[u32] {
        self.tokens_at(self.token_range(node))
    }

    /// Whether a token of the vocabulary ends at a node or below.
    #[inline]
    pub(crate) fn holds(&self, node: u32, token: u32) -> bool {
        self.token_range(node).contains(&self.places[token as usize])
    }

    #[inline]
    pub(crate) fn shape(&self, node: u32) -> &Shape {
        &self.shapes[node as usize]
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
            let children = self.children(at);
            let next = children[children.partition_point(|child| child.node() <= node) - 1];
            path.push(next.byte());
            at = next.node();
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{BLOCKS, CUT, OTHER, kind};
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

        #[test]
        fn blocks_tell_what_shapes_do(
            words in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![
                        "[a-c]", "[0-9_A-B]", "[ \"<\\\\.\n\t-]", "[é日😀\u{2028}\u{A0}]",
                        Just("é".to_owned()),
                    ].prop_map(String::into_bytes),
                    0..4,
                ).prop_map(|parts| parts.concat()),
                1..30,
            ),
            cut in 0usize..3,
            odd in proptest::collection::vec(any::<u8>(), 0..3),
            ascii in any::<u128>(),
            whole in 0u16..1 << BLOCKS.len(),
            beyond in 0u8..8,
        ) {
            // Some texts end inside a character, and one is any bytes.
            let mut words = words;
            for word in words.iter_mut().step_by(2) {
                word.truncate(word.len().saturating_sub(cut));
            }
            words.push(odd);
            let tokens: Vec<Option<Box<[u8]>>> = words.iter().map(|w| Some(w.clone().into())).collect();
            let trie = Trie::new(&tokens);
            // Classes of whole blocks, and of any characters.
            let blocks: u128 = (0..BLOCKS.len()).filter(|i| whole >> i & 1 == 1).map(|i| BLOCKS[i]).sum();
            for (ascii, beyond) in [(blocks, beyond | CUT), (blocks, 0), (ascii, beyond)] {
                let beyond = if beyond & OTHER == 0 { beyond & !CUT } else { beyond };
                for node in 1..trie.len() as u32 {
                    let path = trie.path(node);
                    let led = path[path.len() - 1] >= LEAD;
                    let from = path.len() - usize::from(led);
                    let fits = |text: &[u8]| {
                        let (valid, rest) = match std::str::from_utf8(text) {
                            Ok(valid) => (valid, &[][..]),
                            Err(e) => {
                                let (valid, rest) = text.split_at(e.valid_up_to());
                                (std::str::from_utf8(valid).unwrap_or_default(), if e.error_len().is_some() { &b"\xFF"[..] } else { rest })
                            }
                        };
                        let char_fits = |c: char| if c.is_ascii() { ascii >> (c as u32) & 1 == 1 } else { beyond & kind(c) != 0 };
                        valid.chars().all(char_fits) && (rest.is_empty() || (rest != b"\xFF" && beyond & CUT != 0))
                    };
                    let below = words.iter().filter(|w| w.starts_with(&path) && w.len() > from).map(|w| &w[from..]);
                    let expected = below.clone().all(fits);
                    prop_assert_eq!(trie.shape(node).led, led);
                    let shape = trie.shape(node);
                    let held = shape.ascii & !ascii == 0 && shape.beyond & !beyond == 0 && (shape.beyond == 0 || !shape.broken);
                    prop_assert_eq!(held, expected, "{:?} below {:?}", below.collect::<Vec<_>>(), path);
                    let parent = (0..node).rev().find(|&n| trie.end(n) > node).unwrap_or(ROOT);
                    let class = Blocks::new(ascii, beyond);
                    let mut only = Sibling::default();
                    let siblings = trie.siblings_below(&trie.sibling(parent), &mut only);
                    let sibling = siblings.iter().find(|sibling| sibling.child.node() == node);
                    let sibling = sibling.expect("a child of its parent");
                    prop_assert_eq!(sibling.tokens, trie.token_range(node).start);
                    if let Some(told) = sibling.is_of(class) {
                        prop_assert_eq!(told, expected, "blocks below {:?}", path);
                    }
                }
            }
        }
    }
}
