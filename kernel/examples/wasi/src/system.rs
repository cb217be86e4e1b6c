//! What the program takes from the engine, by the names of WASI's first preview, and how it ends where Rust would.

use alloc::string::ToString;
use core::panic::PanicInfo;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Bytes to write.
#[repr(C)]
struct Piece {
    start: *const u8,
    len: usize,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    /// Writes `count` pieces and says how many bytes were written; 0, or the number of an error.
    fn fd_write(file: u32, pieces: *const Piece, count: usize, written: *mut usize) -> u32;
    /// Ends the program.
    fn proc_exit(code: u32) -> !;
}

/// Where text goes.
#[derive(Clone, Copy)]
pub enum Output {
    /// Results.
    Plain = 1,
    /// Why there are none.
    Error = 2,
}

/// Writes all of a text; the program ends where it cannot.
pub fn print(output: Output, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let piece = Piece { start: rest.as_ptr(), len: rest.len() };
        let mut written = 0;
        // SAFETY: one piece, whose bytes are there, and a place for the number.
        let error = unsafe { fd_write(output as u32, &piece, 1, &mut written) };
        match rest.get(written..) {
            Some(left) if error == 0 && written > 0 => rest = left,
            _ => exit(74),
        }
    }
}

/// Ends the program.
pub fn exit(code: u32) -> ! {
    // SAFETY: it takes a number.
    unsafe { proc_exit(code) }
}

/// The bytes of the program's memory, which never shrinks.
pub fn memory() -> usize {
    core::arch::wasm32::memory_size(0) * 65536
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(Output::Error, &info.to_string());
    exit(70)
}
