//! Append-only lists of values, each of which is there once.

use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

const SHARDS: usize = 16;

/// An append-only list in which equal values have equal indices. Of those that were asked for last, each shard has so many at hand.
#[derive(Debug)]
pub(super) struct Interner<T, const RECENT: usize = 1> {
    pub(super) values: boxcar::Vec<T>,
    shards: [Mutex<Shard<RECENT>>; SHARDS],
}

/// Half of each hash, and the index of the value.
#[derive(Debug)]
struct Shard<const RECENT: usize> {
    all: HashTable<(u32, u32)>,
    /// Of twenty expressions that are there already, nineteen were asked for shortly before. The whole table doesn't fit the caches
    /// of a processor; this does.
    recent: [(u32, u32); RECENT],
}

impl<T, const RECENT: usize> Interner<T, RECENT> {
    pub(super) fn new() -> Self {
        let shard = |_| Mutex::new(Shard { all: HashTable::new(), recent: [(0, u32::MAX); RECENT] });
        Self { values: boxcar::Vec::new(), shards: std::array::from_fn(shard) }
    }

    /// The index of the value that `equals` the key, which `make` makes if there is none.
    pub(super) fn intern<K: Hash>(&self, key: K, equals: impl Fn(&T, &K) -> bool, make: impl FnOnce(K) -> T) -> u32 {
        let hash = FixedState::default().hash_one(&key);
        let mut shard = self.shards[(hash >> 60) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        // The upper half has chosen the shard; the table takes its bits from both ends.
        let short = hash as u32;
        let spread = |short: u32| u64::from(short) << 32 | u64::from(short);
        let same = |&(h, i): &(u32, u32)| h == short && equals(&self.values[i as usize], &key);
        let Shard { all, recent } = &mut *shard;
        let place = (hash >> 32) as usize % RECENT;
        if recent[place].1 != u32::MAX && same(&recent[place]) {
            return recent[place].1;
        }
        let index = if let Some(&(_, i)) = all.find(spread(short), same) {
            i
        } else {
            let index = self.values.push(make(key)) as u32;
            all.insert_unique(spread(short), (short, index), |&(h, _)| spread(h));
            index
        };
        recent[place] = (short, index);
        index
    }
}
