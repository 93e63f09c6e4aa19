//! Threads that help with a batch. They sleep between batches: to start a thread takes as long as many a batch.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Work<'a> = dyn Fn() + Sync + 'a;

thread_local! {
    /// Each thread that fills batches has helpers of its own, which go when it ends: none waits for another's batch.
    static HELPERS: RefCell<Option<Helpers>> = const { RefCell::new(None) };
}

/// Runs `work` on this thread and on up to `helpers` others at the same time; returns when none of them is at it any more.
///
/// `work` takes its share wherever it runs, say from a list behind a lock, until nothing is left: a helper that comes late finds
/// nothing, and one that has not come by the end is not waited for.
pub(crate) fn together(helpers: usize, work: &Work<'_>) {
    HELPERS.with_borrow_mut(|mine| {
        if let Some(of_parent) = mine.take_if(|known| known.process != std::process::id()) {
            // A fork has none of its parent's threads, and may have their lock as one of them held it.
            std::mem::forget(of_parent);
        }
        mine.get_or_insert_with(Helpers::new).run(helpers, work);
    });
}

struct Helpers {
    process: u32,
    threads: usize,
    shared: Arc<Shared>,
}

impl Helpers {
    fn new() -> Self {
        Self { process: std::process::id(), threads: 0, shared: Arc::default() }
    }

    fn run(&mut self, helpers: usize, work: &Work<'_>) {
        while self.threads < helpers {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("fairlead-batch".into()).spawn(move || shared.serve());
            if thread.is_err() {
                // The system has no thread left to give: the batch is done by fewer.
                break;
            }
            self.threads += 1;
        }
        let offer = Offer::make(&self.shared, helpers.min(self.threads), work);
        work();
        offer.end();
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.shared.state().closed = true;
            self.shared.offered.notify_all();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
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
    /// How many are at it.
    busy: usize,
    panicked: bool,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a helper does as long as it lives.
    fn serve(&self) {
        let mut state = self.state();
        while !state.closed {
            let Some(work) = state.work.filter(|_| state.wanted > 0) else {
                state = self.offered.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.wanted -= 1;
            state.busy += 1;
            drop(state);
            let panicked = catch_unwind(AssertUnwindSafe(work)).is_err();
            state = self.state();
            state.panicked |= panicked;
            state.busy -= 1;
            if state.busy == 0 {
                self.left.notify_one();
            }
        }
    }
}

/// Work that helpers may take, until this is dropped.
struct Offer<'a>(&'a Shared);

impl<'a> Offer<'a> {
    #[allow(unsafe_code)]
    fn make(shared: &'a Shared, helpers: usize, work: &'a Work<'_>) -> Self {
        // SAFETY: only the lifetime changes. A helper has the work from here until it leaves it; dropping the offer, which is not
        // passed on to where it could be forgotten, takes it back and waits for that, also when the work panics on this thread.
        let work: &'static Work<'static> = unsafe { std::mem::transmute::<&Work<'_>, _>(work) };
        let mut state = shared.state();
        (state.work, state.wanted, state.panicked) = (Some(work), helpers, false);
        drop(state);
        for _ in 0..helpers {
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
        while state.busy > 0 {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
