//! Threads that help with a batch. They sleep between batches, as to start a thread takes as long as many a batch; only for a
//! moment after one they look out for the next, as to wake takes as long, too.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What to do, given which of the threads at it does it: 0 is the owner, each helper has its own number.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Asking reads files, which takes as long as a batch.
pub(crate) static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// How long a helper looks out for the next batch, and after how long batches no longer follow each other closely.
const AWAKE: Duration = Duration::from_micros(200);

thread_local! {
    /// Each thread that fills batches has helpers of its own, which go when it ends: none waits for another's batch.
    static HELPERS: RefCell<Option<Helpers>> = const { RefCell::new(None) };
}

/// Runs `work` on this thread and on up to `helpers` others at the same time; returns when none of them is at it any more.
///
/// `work` takes its share wherever it runs, say from `Shares`, until nothing is left: a helper that comes late finds nothing,
/// and one that has not come by the end is not waited for.
pub(crate) fn together(helpers: usize, work: &Work<'_>) {
    with_helpers(|mine| mine.run(helpers, work));
}

/// Whether this thread has ended a batch just now, so that helpers are awake, or worth waking for what follows.
pub(crate) fn in_a_row() -> bool {
    with_helpers(|mine| mine.ended.is_some_and(|ended| ended.elapsed() < AWAKE))
}

/// To be called where a batch ends, whoever filled it.
pub(crate) fn end_of_batch() {
    with_helpers(|mine| mine.ended = Some(Instant::now()));
}

fn with_helpers<T>(use_them: impl FnOnce(&mut Helpers) -> T) -> T {
    HELPERS.with_borrow_mut(|mine| {
        if let Some(of_parent) = mine.take_if(|known| known.process != std::process::id()) {
            // A fork has none of its parent's threads, and may have their lock as one of them held it.
            std::mem::forget(of_parent);
        }
        use_them(mine.get_or_insert_with(Helpers::new))
    })
}

/// A list cut into one share for each of some threads. Who has done with its own takes the last ones of others': so each thread
/// has the same rows of a bitmask from batch to batch, which lie in its own core's cache.
pub(crate) struct Shares<T>(Vec<Mutex<std::vec::IntoIter<T>>>);

impl<T> Shares<T> {
    pub(crate) fn new(items: impl ExactSizeIterator<Item = T>, threads: usize) -> Self {
        let mut items = items;
        let mut share = |number| {
            let length = items.len() / (threads - number);
            Mutex::new(items.by_ref().take(length).collect::<Vec<T>>().into_iter())
        };
        Self((0..threads).map(&mut share).collect())
    }

    /// The next one for this thread, until nothing is left.
    pub(crate) fn next(&self, thread: usize) -> Option<T> {
        let lock = |share: usize| self.0[share % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let own = lock(thread).next();
        own.or_else(|| (1..self.0.len()).find_map(|other| lock(thread + other).next_back()))
    }
}

/// Looks again and again whether it is so, for so long.
fn looks_out(time: Duration, is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        for _ in 0..32 {
            if is_so() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() >= time {
            return false;
        }
        std::thread::yield_now();
    }
}

struct Helpers {
    process: u32,
    threads: usize,
    /// When the last batch of this thread ended.
    ended: Option<Instant>,
    shared: Arc<Shared>,
}

impl Helpers {
    fn new() -> Self {
        Self { process: std::process::id(), threads: 0, ended: None, shared: Arc::default() }
    }

    fn run(&mut self, helpers: usize, work: &Work<'_>) {
        while self.threads < helpers {
            let (shared, number) = (Arc::clone(&self.shared), self.threads + 1);
            let thread = std::thread::Builder::new().name("fairlead-batch".into()).spawn(move || shared.serve(number));
            if thread.is_err() {
                // The system has no thread left to give: the batch is done by fewer.
                break;
            }
            self.threads += 1;
        }
        let offer = Offer::make(&self.shared, helpers.min(self.threads), self.threads, work);
        work(0);
        offer.end();
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.shared.state().closed = true;
            self.shared.offers.fetch_add(1, Ordering::Release);
            self.shared.offered.notify_all();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// How many offers have been made: whoever is awake sees a new one here. Changes with `state` locked.
    offers: AtomicUsize,
    /// How many are at the work. Grows with `state` locked only.
    busy: AtomicUsize,
    /// There is work, or the helpers may go.
    offered: Condvar,
    /// The last one at the work has left it.
    left: Condvar,
}

#[derive(Default)]
struct State {
    work: Option<&'static Work<'static>>,
    /// How many more may take it.
    wanted: usize,
    /// How many helpers wait for `offered`.
    asleep: usize,
    /// Whether there are more threads than cores: then none looks out while another could work.
    crowded: bool,
    panicked: bool,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a helper does as long as it lives.
    fn serve(&self, number: usize) {
        let mut state = self.state();
        while !state.closed {
            if let Some(work) = state.work.filter(|_| state.wanted > 0) {
                state.wanted -= 1;
                self.busy.fetch_add(1, Ordering::Relaxed);
                let another = state.wanted > 0 && state.asleep > 0;
                drop(state);
                if another {
                    self.offered.notify_one();
                }
                let panicked = catch_unwind(AssertUnwindSafe(|| work(number))).is_err();
                state = self.state();
                state.panicked |= panicked;
                // Released for the owner, who may not lock before it goes.
                if self.busy.fetch_sub(1, Ordering::Release) == 1 {
                    self.left.notify_one();
                }
            }
            let seen = self.offers.load(Ordering::Relaxed);
            if !state.crowded {
                drop(state);
                looks_out(AWAKE, || self.offers.load(Ordering::Acquire) != seen);
                state = self.state();
            }
            if self.offers.load(Ordering::Relaxed) == seen {
                state.asleep += 1;
                state = self.offered.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
            }
        }
    }
}

/// Work that helpers may take, until this is dropped.
struct Offer<'a>(&'a Shared);

impl<'a> Offer<'a> {
    #[allow(unsafe_code)]
    fn make(shared: &'a Shared, helpers: usize, threads: usize, work: &'a Work<'_>) -> Self {
        // SAFETY: only the lifetime changes. A helper has the work from here until it leaves it; dropping the offer, which is not
        // passed on to where it could be forgotten, takes it back and waits for that, also when the work panics on this thread.
        let work: &'static Work<'static> = unsafe { std::mem::transmute::<&Work<'_>, _>(work) };
        let mut state = shared.state();
        (state.work, state.wanted, state.panicked) = (Some(work), helpers, false);
        state.crowded = threads >= *CORES;
        let enough = threads.saturating_sub(state.asleep) >= helpers;
        shared.offers.fetch_add(1, Ordering::Release);
        drop(state);
        if !enough {
            // To wake one can take 20 us of this thread; whoever comes wakes the next.
            shared.offered.notify_one();
        }
        Self(shared)
    }

    /// Takes the work back; panics if it did so on a helper.
    fn end(self) {
        let shared = self.0;
        drop(self);
        assert!(!shared.state().panicked, "a helper of a batch panicked");
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.work = None;
        let crowded = state.crowded;
        drop(state);
        let nobody = || self.0.busy.load(Ordering::Acquire) == 0;
        if nobody() || (!crowded && looks_out(AWAKE, nobody)) {
            return;
        }
        let mut state = self.0.state();
        while !nobody() {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
