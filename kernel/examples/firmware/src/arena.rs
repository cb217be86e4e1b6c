//! All the memory that is allocated: a free list in a static array, which remembers the most that was in use.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use embedded_alloc::LlffHeap;

/// Its bytes.
#[cfg(feature = "training")]
pub const SIZE: usize = 768 * 1024;
/// Its bytes.
#[cfg(not(feature = "training"))]
pub const SIZE: usize = 256 * 1024;

static mut MEMORY: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];

#[global_allocator]
static ARENA: Arena = Arena { heap: LlffHeap::empty(), peak: AtomicUsize::new(0) };

struct Arena {
    heap: LlffHeap,
    peak: AtomicUsize,
}

// SAFETY: the heap's own promises; the counter touches no memory of it.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout, handed on.
        let place = unsafe { self.heap.alloc(layout) };
        self.peak.fetch_max(self.heap.used(), Relaxed);
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's place and layout, handed on.
        unsafe { self.heap.dealloc(place, layout) }
    }
}

/// Gives the allocator its memory.
///
/// # Safety
/// It is called once, before anything is allocated.
pub unsafe fn init() {
    // SAFETY: nobody else uses the array, and this is the only call.
    unsafe { ARENA.heap.init(addr_of_mut!(MEMORY) as usize, SIZE) }
}

/// The most bytes that were in use since the last call, and those that are now.
pub fn take_peak() -> usize {
    ARENA.peak.swap(ARENA.heap.used(), Relaxed)
}
