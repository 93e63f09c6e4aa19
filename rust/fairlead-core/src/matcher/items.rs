//! Items that an array has already: no other may become one of them. Masks are shared without regard to what an array
//! has; here the tokens are taken out that would write an item again, or leave nothing else to be written.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::reading::{Reading, meaning};
use super::seen::{Item, Seen, has_items};
use super::{GrammarMatcher, Top, Tops};
use crate::automata::{Link, Mark, Node};
use crate::mask::{Parts, Space, clear_bits};
use crate::vocab::{ROOT, Trie};

/// Steps of one search for a text that makes an item another one than those that are there. Where they don't do, which takes
/// thousands of items that are all that there can be, there is taken to be one.
const MOST_STEPS: usize = 20_000;

/// The arrays of which an item is being written and that have others already, by what is remembered of them; the innermost first.
type Arrays = SmallVec<[u32; 2]>;

/// The items of those arrays, which their next item may still become.
type Rivals<'a> = Vec<Reading<'a>>;

/// The rivals after one more byte.
fn after<'a>(rivals: &Rivals<'a>, b: u8) -> Rivals<'a> {
    let step = |rival: &Reading<'a>| {
        let mut next = rival.clone();
        next.step(b).then_some(next)
    };
    rivals.iter().filter_map(step).collect()
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

impl GrammarMatcher {
    fn open_arrays(&self, tops: &[Top]) -> Arrays {
        let store = &self.space.store;
        let mut out = Arrays::new();
        let mut seen: HashSet<Link, FixedState> = HashSet::default();
        let mut open: SmallVec<[Link; 4]> = tops.iter().map(|top| top.link).collect();
        // A single stack comes to each link once.
        let mut several = open.len() > 1;
        while let Some(link) = open.pop() {
            if link == Link::BASE || (several && !seen.insert(link)) {
                continue;
            }
            let (owners, _) = self.stack.under(link);
            several |= owners.len() > 1;
            for owner in &owners {
                let mine = has_items(owner.extra) && store.mark(owner.frame) == Some(Mark::Item);
                if mine && !out.contains(&owner.extra) {
                    out.push(owner.extra);
                }
                open.push(owner.link);
            }
        }
        out
    }

    /// The items of some arrays, to be borrowed while the matcher goes on.
    fn items_of(&self, arrays: &Arrays) -> Vec<(usize, Arc<Item>)> {
        let of = |&extra: &u32| {
            let start = self.text.len() - self.since_last_item(extra).len();
            Seen::items(&self.items, extra).map(move |seen| (start, Arc::clone(&seen.item)))
        };
        arrays.iter().flat_map(of).collect()
    }

    /// Those that the text can still become; each with where its array's next item begins.
    fn rivals<'a>(&self, items: &'a [(usize, Arc<Item>)]) -> Rivals<'a> {
        let read = |(start, item): &'a (usize, Arc<Item>)| {
            let mut reading = Reading::new(item.value.as_ref()?);
            self.text[*start..].iter().all(|&b| reading.step(b)).then_some(reading)
        };
        items.iter().filter_map(read).collect()
    }

    /// What is written of the next item of an array.
    fn since_last_item(&self, extra: u32) -> &[u8] {
        let end = Seen::items(&self.items, extra).next().map_or(0, |last| last.end);
        let written = &self.text[end.min(self.text.len())..];
        &written[written.iter().take_while(|&&b| is_space(b) || b == b',').count()..]
    }

    /// Takes the tops away from which only items can be written that are there already.
    pub(super) fn drop_repetitions(&mut self) {
        if self.items.is_empty() {
            return;
        }
        let tops = std::mem::take(&mut self.tops);
        self.tops = tops.into_iter().filter(|top| self.can_differ(*top)).collect();
    }

    /// Whether there surely is no end of values that a top can be completed to, within the innermost item that is being written.
    fn is_endless(&self, top: Top) -> bool {
        let store = &self.space.store;
        let zeros = || {
            let number =
                self.text.iter().rev().take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
            let number: SmallVec<[u8; 32]> = number.copied().collect();
            let exponent = number.iter().rposition(|b| matches!(b, b'e' | b'E'));
            exponent.is_some_and(|at| !number[at..].iter().any(|b| matches!(b, b'1'..=b'9')))
        };
        match store.node(top.frame) {
            Node::Repeat { .. } | Node::Concat(..) | Node::Union(_) if store.endless_number(top.frame) && zeros() => {}
            _ if store.endless(top.frame) => return true,
            _ => {}
        }
        let mut link = top.link;
        loop {
            let (owners, based) = self.stack.under(link);
            let [owner] = owners[..] else { return false };
            if based || store.mark(owner.frame) == Some(Mark::Item) {
                return false;
            }
            if store.endless(store.after_mark(owner.frame)) {
                return true;
            }
            link = owner.link;
        }
    }

    /// Whether a top can be completed with other items than those that are there.
    fn can_differ(&mut self, top: Top) -> bool {
        if self.is_endless(top) {
            return true;
        }
        let tops: Tops = [top].into_iter().collect();
        let arrays = self.open_arrays(&tops);
        let items = self.items_of(&arrays);
        let rivals = self.rivals(&items);
        self.differs(tops, &arrays, rivals)
    }

    /// The same of tops whose open arrays and rivals are known. That is so where the text cannot become one of these any more; a
    /// search looks for such a text, byte by byte.
    fn differs(&mut self, tops: Tops, arrays: &Arrays, rivals: Rivals<'_>) -> bool {
        // That there is another item is seen to by the array, where none is begun.
        if rivals.iter().all(Reading::is_new) {
            return true;
        }
        let before = self.checkpoint();
        let found = self.finds_another(tops, arrays, rivals);
        self.restore(before);
        found
    }

    /// The search of [`Self::differs`]; what it has tried is left to be undone.
    fn finds_another(&mut self, tops: Tops, arrays: &Arrays, rivals: Rivals<'_>) -> bool {
        let base = self.text.len();
        let first = arrays.iter().map(|&extra| self.since_last_item(extra).len()).max().unwrap_or(0);
        // What has been written after each beginning; spaces, and how characters are spelled, make no other beginnings.
        let mut tried: HashMap<Vec<u8>, [bool; 256], FixedState> = HashMap::default();
        let mut open = vec![(tops, Vec::new(), Some(rivals))];
        let mut steps = 0;
        while let Some((tops, written, rivals)) = open.pop() {
            let go = |me: &mut Self| {
                me.tops.clone_from(&tops);
                me.text.truncate(base);
                me.text.extend_from_slice(&written);
            };
            go(self);
            let near = self.next_bytes();
            let tried = tried.entry(meaning(&self.text[base - first..])).or_insert([false; 256]);
            let next: SmallVec<[u8; 32]> =
                (0..=255u8).filter(|&b| near[usize::from(b)] && (is_space(b) || !tried[usize::from(b)])).collect();
            // Spaces matter where there is something new besides, or nothing else.
            if next.iter().all(|&b| is_space(b)) && (0..=255u8).any(|b| near[usize::from(b)] && !is_space(b)) {
                continue;
            }
            next.iter().for_each(|&b| tried[usize::from(b)] = true);
            for b in next {
                steps += 1;
                if steps > MOST_STEPS {
                    return true;
                }
                go(self);
                if !self.step(&[b]) {
                    continue;
                }
                let tops = self.tops.clone();
                let now = self.open_arrays(&tops);
                // Inside of other arrays than at the beginning, rivals are found anew each time.
                let left = if now == *arrays { rivals.as_ref().map(|rivals| after(rivals, b)) } else { None };
                let none = match &left {
                    Some(left) => left.is_empty(),
                    None => self.rivals(&self.items_of(&now)).is_empty(),
                };
                if none {
                    return true;
                }
                open.push((tops, self.text[base..].to_vec(), left));
            }
        }
        false
    }

    /// Whether the next mask may have tokens that write an item again.
    pub(super) fn may_repeat_items(&self, parts: &Parts) -> bool {
        !self.items.is_empty() || parts.iter().any(|part| self.space.entry(part.entry).item_ends().next().is_some())
    }

    /// Takes out the tokens that would write an item again, or of which only items can be made that are there already.
    pub(super) fn clear_repeated_items(&mut self, space: &Space, parts: &Parts, row: &mut [u32]) {
        let trie = &space.vocab.trie;
        let mut ends: Vec<u32> = parts.iter().flat_map(|part| space.entry(part.entry).item_ends()).collect();
        ends.sort_unstable();
        ends.dedup();
        if !self.items.is_empty() && ends.first() != Some(&ROOT) {
            self.clear_from(trie, ROOT, false, row);
        }
        for node in ends {
            if !trie.all_tokens(node).iter().any(|&t| row[t as usize / 32] >> (t % 32) & 1 == 1) {
                continue;
            }
            let before = self.checkpoint();
            let fine = self.step(&trie.path(node)) && {
                let tops = self.tops.clone();
                tops.iter().any(|&top| self.can_differ(top))
            };
            if fine {
                // Where an item ends the next one may begin.
                self.clear_from(trie, node, true, row);
            } else {
                clear_bits(row, trie.all_tokens(node));
            }
            self.restore(before);
        }
    }

    /// Takes out such tokens below a node whose path has been taken.
    fn clear_from(&mut self, trie: &Trie, node: u32, between: bool, row: &mut [u32]) {
        let arrays = self.open_arrays(&self.tops);
        let items = self.items_of(&arrays);
        let rivals = self.rivals(&items);
        self.clear_below(trie, node, between, &arrays, &rivals, row);
    }

    /// The same where rivals are known: along those texts that can still become one of these, and, between items, along all.
    fn clear_below(
        &mut self,
        trie: &Trie,
        node: u32,
        between: bool,
        arrays: &Arrays,
        rivals: &Rivals<'_>,
        row: &mut [u32],
    ) {
        let children = trie.children(node);
        let between = between || self.tops.iter().any(|top| has_items(top.extra));
        let mut on_the_way = [between; 256];
        for rival in rivals {
            rival.mark_next(&mut on_the_way);
        }
        if children.is_empty() || !on_the_way.contains(&true) {
            return;
        }
        let near = self.next_bytes();
        for child in children.iter().filter(|c| near[usize::from(c.byte())] && on_the_way[usize::from(c.byte())]) {
            let (below, b) = (child.node(), child.byte());
            let before = self.checkpoint();
            let fine = self.step(&[b]) && {
                let now = self.open_arrays(&self.tops);
                if now == *arrays && is_space(b) && rivals.iter().all(Reading::is_new) {
                    self.clear_at(trie, below, arrays, rivals, row)
                } else if now == *arrays {
                    self.clear_at(trie, below, arrays, &after(rivals, b), row)
                } else {
                    let items = self.items_of(&now);
                    let rivals = self.rivals(&items);
                    self.clear_at(trie, below, &now, &rivals, row)
                }
            };
            if !fine {
                clear_bits(row, trie.all_tokens(below));
            }
            self.restore(before);
        }
    }

    /// The same at a node, unless nothing can be written there that is another item; whether something can.
    fn clear_at(&mut self, trie: &Trie, node: u32, arrays: &Arrays, rivals: &Rivals<'_>, row: &mut [u32]) -> bool {
        let tops = self.tops.clone();
        let fine = tops.iter().any(|&top| self.is_endless(top))
            || match tops[..] {
                [_] => self.differs(tops, arrays, rivals.clone()),
                _ => tops.iter().any(|&top| self.can_differ(top)),
            };
        if fine {
            self.clear_below(trie, node, false, arrays, rivals, row);
        }
        fine
    }
}
