//! Sets of trie nodes at which frames are left: interned, each with what is worked out of it once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::events::{KeyEvent, KeyEvents};
use super::text::Escaped;
use crate::automata::Mark;
use crate::memo::Memo;
use crate::vocab::{Child, ROOT, Trie};

/// The id of an interned set of exits.
pub(crate) type ExitsId = u32;

/// The exits of a mask that no frame can be left in.
pub(crate) const NO_EXITS: ExitsId = 0;

/// The start of a token as a set of exits.
pub(crate) const AT_ROOT: ExitsId = 1;

/// So many nodes are walked from one by one.
const FEW: usize = 4;
/// Nodes below a set of exits up to which its tails are merged into a trie of their own.
const MERGED: usize = 1 << 12;

/// A trie in which equal beginnings of what follows some nodes are merged, and where in it that begins.
#[derive(Clone, Debug)]
pub(super) struct Tails {
    pub(super) trie: Arc<Trie>,
    pub(super) starts: Box<[u32]>,
}

/// Another set of which one lacks a few nodes: its masks are the other's without the tokens below those.
pub(super) type Lacking = (ExitsId, Box<[u32]>);

#[derive(Debug, Default)]
struct Exits {
    nodes: OnceLock<Box<[u32]>>,
    lacking: Option<Lacking>,
    tails: OnceLock<Option<Tails>>,
    /// The children of all nodes, by their bytes.
    heads: OnceLock<Box<[Child]>>,
    /// The events of keys that are completed at these nodes.
    events: OnceLock<Arc<KeyEvents>>,
    items: OnceLock<Arc<KeyEvents>>,
    /// The texts with escapes that a free string can be that goes on at these nodes.
    escaped: OnceLock<Escaped>,
}

impl Exits {
    fn of(nodes: Box<[u32]>) -> Self {
        Self { nodes: nodes.into(), ..Self::default() }
    }
}

/// All sets of exits of a space.
#[derive(Debug)]
pub(super) struct ExitSets {
    sets: boxcar::Vec<Exits>,
    /// The sets of one node, which most are, by that node; 0 if there is none yet.
    single: Box<[AtomicU32]>,
    ids: Memo<Box<[u32]>, ExitsId>,
    lacking: Memo<Lacking, ExitsId>,
}

impl ExitSets {
    pub(super) fn new(trie: &Trie) -> Self {
        let sets = Self {
            sets: boxcar::Vec::new(),
            single: (0..trie.len()).map(|_| AtomicU32::new(NO_EXITS)).collect(),
            ids: Memo::default(),
            lacking: Memo::default(),
        };
        let mut bytes = 0;
        sets.id(Vec::new(), |n| bytes += n);
        sets.id(vec![ROOT], |n| bytes += n);
        sets
    }

    /// The id of a set of nodes, ascending. `charge` is told the bytes of a set that is new.
    pub(super) fn id(&self, nodes: Vec<u32>, mut charge: impl FnMut(usize)) -> ExitsId {
        if let [node] = nodes[..] {
            let known = &self.single[node as usize];
            let id = known.load(Ordering::Acquire);
            if id != NO_EXITS {
                return id;
            }
            charge(size_of::<Exits>());
            let id = self.sets.push(Exits::of([node].into())) as ExitsId;
            let other = known.compare_exchange(NO_EXITS, id, Ordering::AcqRel, Ordering::Acquire);
            return other.err().unwrap_or(id);
        }
        if let Some(id) = self.ids.get(&*nodes) {
            return id;
        }
        charge(size_of::<Exits>() + nodes.len() * 8);
        let nodes: Box<[u32]> = nodes.into();
        let id = self.sets.push(Exits::of(nodes.clone())) as ExitsId;
        self.ids.insert(nodes, id)
    }

    /// A set of exits without some of its nodes.
    pub(super) fn without(&self, wider: ExitsId, gone: &[u32], charge: impl Fn(usize)) -> ExitsId {
        self.lacking.get_or_insert_with((wider, gone.into()), || {
            charge(size_of::<Exits>() + gone.len() * 8);
            self.sets.push(Exits { lacking: Some((wider, gone.into())), ..Exits::default() }) as ExitsId
        })
    }

    /// The set that this one was made of by leaving nodes out, and those.
    pub(super) fn lacking(&self, exits: ExitsId) -> Option<&Lacking> {
        self.sets[exits as usize].lacking.as_ref()
    }

    /// The nodes of a set, ascending.
    pub(super) fn nodes(&self, exits: ExitsId) -> &[u32] {
        let set = &self.sets[exits as usize];
        set.nodes.get_or_init(|| {
            let (wider, gone) = set.lacking.as_ref().map_or((NO_EXITS, &[][..]), |(wider, gone)| (*wider, gone));
            self.nodes(wider).iter().filter(|node| !gone.contains(node)).copied().collect()
        })
    }

    /// What follows a set, merged; a few nodes need that as little as very many can have it.
    pub(super) fn tails(&self, main: &Trie, exits: ExitsId, charge: impl Fn(usize)) -> Option<&Tails> {
        let merge = || {
            let nodes = self.nodes(exits);
            // The sum is given up early: of many nodes, each is a wait for memory.
            let add = |size: usize, &node: &u32| Some(size + main.below(node)).filter(|&size| size <= MERGED);
            (nodes.len() > FEW && nodes.iter().try_fold(0, add).is_some()).then(|| {
                let trie = main.derive(nodes, |_| true);
                charge(trie.bytes());
                Tails { trie: Arc::new(trie), starts: [ROOT].into() }
            })
        };
        self.sets[exits as usize].tails.get_or_init(merge).as_ref()
    }

    /// The children of all nodes of a set, by their bytes: of very many nodes, few go on with what a frame begins with.
    pub(super) fn heads(&self, main: &Trie, exits: ExitsId, charge: impl Fn(usize)) -> &[Child] {
        self.sets[exits as usize].heads.get_or_init(|| {
            // Each node is a wait for memory: its children are read once.
            let nodes = self.nodes(exits);
            let mut children = Vec::with_capacity(nodes.len() * 4);
            for &node in nodes {
                children.extend_from_slice(main.children(node));
            }
            by_bytes(&children, charge)
        })
    }

    /// Tells the children of all nodes of a set, in any order, where they are known already.
    pub(super) fn set_heads(&self, exits: ExitsId, children: &[Child], charge: impl Fn(usize)) {
        self.sets[exits as usize].heads.get_or_init(|| by_bytes(children, charge));
    }

    /// Tells what follows a set, merged, where that is known already.
    pub(super) fn set_tails(&self, exits: ExitsId, trie: &Arc<Trie>, starts: Vec<u32>) {
        let tails = || Some(Tails { trie: Arc::clone(trie), starts: starts.into() });
        self.sets[exits as usize].tails.get_or_init(tails);
    }

    /// The events of what is completed at a set.
    pub(super) fn events(&self, main: &Trie, exits: ExitsId, mark: Mark) -> Arc<KeyEvents> {
        let nodes = self.nodes(exits);
        let set = &self.sets[exits as usize];
        let key = |&node: &u32| KeyEvent::new(&main.path(node), node, false);
        Arc::clone(match mark {
            Mark::Key => set.events.get_or_init(|| Arc::new(KeyEvents::new(nodes.iter().map(key).collect()))),
            Mark::Item => set.items.get_or_init(|| Arc::new(KeyEvents::of_items(nodes.to_vec()))),
        })
    }

    /// What strings with escapes that go on at a set can be, by the function that knows.
    pub(super) fn escaped(&self, exits: ExitsId, make: impl FnOnce() -> Escaped) -> &Escaped {
        self.sets[exits as usize].escaped.get_or_init(make)
    }

    /// Whether one node of a set lies below another.
    pub(super) fn nested(&self, main: &Trie, exits: ExitsId) -> bool {
        self.nodes(exits).windows(2).any(|pair| pair[1] < main.end(pair[0]))
    }
}

/// Sorts children by counting: there are many of them, and a byte has few values.
fn by_bytes(children: &[Child], charge: impl Fn(usize)) -> Box<[Child]> {
    let mut places = [0usize; 257];
    for child in children {
        places[usize::from(child.byte()) + 1] += 1;
    }
    for byte in 0..256 {
        places[byte + 1] += places[byte];
    }
    let mut sorted = vec![Child::default(); children.len()];
    for &child in children {
        let place = &mut places[usize::from(child.byte())];
        sorted[*place] = child;
        *place += 1;
    }
    charge(size_of_val(&*sorted));
    sorted.into()
}
