//! The allocator of everything in Rust, and where its memory comes from.

#[cfg(target_os = "linux")]
use std::ffi::{c_int, c_long, c_void};
#[cfg(target_os = "linux")]
use std::ptr::null_mut;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicPtr, Ordering};

/// First visits of masks make many small things that stay: a fifth to a third quicker than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Address space of the first arena; what mimalloc would take at once by itself.
#[cfg(target_os = "linux")]
const ARENA: usize = 1 << 30;

/// mimalloc's option for how many milliseconds freed memory is kept before it is given back, ten times as many in an arena. The
/// crate has no name for it, but for the one before it and the one behind.
#[cfg(target_os = "linux")]
const PURGE_DELAY: libmimalloc_sys::mi_option_t = libmimalloc_sys::mi_option_eager_commit_delay + 1;
#[cfg(target_os = "linux")]
const _: () = assert!(PURGE_DELAY + 1 == libmimalloc_sys::mi_option_use_numa_nodes);
/// A page that is given back is found and cleared anew when it is next needed, which takes longer than what most steps compute.
/// What was read to make a vocabulary and its tries is room enough for what masks are put together in.
#[cfg(target_os = "linux")]
const KEPT: c_long = 1000;

/// Where that arena begins; null where there was no room for it.
#[cfg(target_os = "linux")]
static BEGIN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// The first arena of mimalloc, made before anything is allocated, so that its pages are as [`settle`] says; that of the process
/// and of other libraries stays as it is.
#[cfg(target_os = "linux")]
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls what stands in this section once, with arguments that a C function may ignore, when the library is
// loaded and before any code of it that allocates.
#[unsafe(link_section = ".init_array")]
static RESERVE: extern "C" fn() = {
    unsafe extern "C" {
        // One of mimalloc's functions that the crate doesn't name.
        fn mi_arena_area(arena: libmimalloc_sys::mi_arena_id_t, size: *mut usize) -> *mut c_void;
    }
    extern "C" fn reserve() {
        let (mut arena, mut size) = (0, 0);
        // SAFETY: mimalloc may be set up from anywhere, and does so once. The other calls need nothing but that: an option that
        // exists (one set by the environment stays as it is), and last arguments that may be written to. Where there is no room
        // for the arena, mimalloc makes one in its own way.
        let begin = unsafe {
            libmimalloc_sys::mi_process_init();
            libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT);
            if libmimalloc_sys::mi_reserve_os_memory_ex(ARENA, true, false, false, &raw mut arena) != 0 {
                return;
            }
            mi_arena_area(arena, &raw mut size)
        };
        // Where pages are larger, huge ones are as large as half of the arena.
        // SAFETY: asks for a number.
        if size == ARENA && unsafe { libc::sysconf(libc::_SC_PAGESIZE) } == 4096 {
            advise(begin, libc::MADV_HUGEPAGE);
            BEGIN.store(begin, Ordering::Relaxed);
        }
    }
    reserve
};

/// Tells the kernel what pages the arena is to have from now on.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise(begin: *mut c_void, pages: c_int) {
    // SAFETY: this is the arena, which is never given back; which pages memory is in changes nothing of what it holds. A kernel
    // without huge pages refuses, which is as good.
    unsafe { libc::madvise(begin, ARENA, pages) };
}

/// From now on memory is taken in pages of the ordinary size; the first call counts.
///
/// What is made for the first vocabulary is read for every grammar, and stands in huge pages where the kernel gives some: other work
/// between two requests takes its translations from the processor, and there are few of these. But a huge page is cleared as a
/// whole when it is first touched, which a single step of a text would wait for, for milliseconds in a virtual machine whose host
/// has to find the memory. So what steps add comes in ordinary pages.
pub(crate) fn settle() {
    #[cfg(target_os = "linux")]
    {
        let begin = BEGIN.swap(null_mut(), Ordering::Relaxed);
        if !begin.is_null() {
            advise(begin, libc::MADV_NOHUGEPAGE);
        }
    }
}
