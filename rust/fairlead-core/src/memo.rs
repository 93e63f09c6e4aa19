//! What has been worked out once, remembered for all threads: a map behind a lock per shard, for what hardly any but first visits
//! look up. What every visit looks up stands in slots and frames, which are read without a lock.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

const SHARDS: usize = 8;

/// A map from keys to small values, which are never taken out.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    shards: [Mutex<HashMap<K, V, FixedState>>; SHARDS],
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, HashMap<K, V, FixedState>> {
        // The table takes its bits from both ends of the hash.
        let shard = (FixedState::default().hash_one(key) >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a key.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.shard(key).get(key).cloned()
    }

    /// Remembers a value; the first one of a key stays, and is returned.
    pub(crate) fn insert(&self, key: K, value: V) -> V {
        self.shard(&key).entry(key).or_insert(value).clone()
    }

    /// What is known of a key, or what `make` finds, which may use the map itself.
    pub(crate) fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        match self.get(&key) {
            Some(value) => value,
            None => self.insert(key, make()),
        }
    }
}
