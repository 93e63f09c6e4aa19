//! The allocator of everything in Rust, and where its memory comes from.

/// First visits of masks make many small things that stay: a fifth to a third quicker than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Address space that is taken in pages of the ordinary size; what mimalloc would take at once by itself.
#[cfg(target_os = "linux")]
const ARENA: usize = 1 << 30;

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
        // SAFETY: mimalloc may be set up from anywhere, and does so once. The other call needs nothing but that, and a last argument
        // that is null or may be written to. Where it fails there is no arena yet, and mimalloc makes one in its own way.
        unsafe {
            libmimalloc_sys::mi_process_init();
            libmimalloc_sys::mi_reserve_os_memory_ex(ARENA, true, false, false, std::ptr::null_mut());
        }
    }
    reserve
};
