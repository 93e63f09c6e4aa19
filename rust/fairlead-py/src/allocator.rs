//! The allocator of everything in Rust, and where its memory comes from.

/// First visits of masks make many small things that stay: a fifth to a third quicker than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Address space that is taken in pages of the ordinary size; what mimalloc would take at once by itself.
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
const KEPT: std::ffi::c_long = 1000;

/// mimalloc asks for huge pages. One of these is cleared as a whole when it is first touched, which a single step of a text then
/// waits for, for milliseconds in a virtual machine whose host has to find the memory. So its first arena is one without, made
/// before anything is allocated; that of the process and of other libraries stays as it is, which `allow_thp=0` would change.
#[cfg(target_os = "linux")]
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls what stands in this section once, with arguments that a C function may ignore, when the library is
// loaded and before any code of it that allocates.
#[unsafe(link_section = ".init_array")]
static RESERVE: extern "C" fn() = {
    extern "C" fn reserve() {
        // SAFETY: mimalloc may be set up from anywhere, and does so once. The other calls need nothing but that: an option that
        // exists (one set by the environment stays as it is), and a last argument that is null or may be written to. Where there
        // is no room for the arena, mimalloc makes one in its own way.
        unsafe {
            libmimalloc_sys::mi_process_init();
            libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT);
            libmimalloc_sys::mi_reserve_os_memory_ex(ARENA, true, false, false, std::ptr::null_mut());
        }
    }
    reserve
};
