//! What C hands over as a pointer and a length, or as text: the one file whose memory the compiler cannot check.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use crate::status::Failure;

/// A number of which every combination of bits is a value.
///
/// # Safety
/// There is no other combination of bits, and no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: all bits are values.
unsafe impl Plain for u8 {}
// SAFETY: all bits are values.
unsafe impl Plain for u32 {}
// SAFETY: all bits are values.
unsafe impl Plain for f32 {}
// SAFETY: all bits are values.
unsafe impl Plain for usize {}

/// The `len` values at `pointer`, which may be null where there are none.
///
/// # Safety
/// If `pointer` is not null and is aligned, there are `len` values, which nobody changes while `'a` lasts.
///
/// # Errors
/// If the pointer is null, not aligned, or the length is more than memory has.
pub(crate) unsafe fn slice<'a, T: Plain>(name: &str, pointer: *const T, len: usize) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(name, pointer, len)?;
    // SAFETY: not null, aligned, no longer than memory may be; the rest is the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Writes `values` to the `len` places at `pointer`.
///
/// # Safety
/// If `pointer` is not null and is aligned, there are `len` places, which nobody else uses meanwhile.
///
/// # Errors
/// If the pointer is null or not aligned, or there are not as many places as values.
pub(crate) unsafe fn write<T: Plain>(name: &str, pointer: *mut T, len: usize, values: &[T]) -> Result<(), Failure> {
    if len != values.len() {
        return Err(Failure::argument(format!("{name} has {len} places for {} values", values.len())));
    }
    check(name, pointer, len)?;
    // SAFETY: not null, aligned, as many places as values; they are the caller's, so that they cannot be `values`.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), pointer, len) };
    Ok(())
}

/// The path that is the text at `pointer`, which ends with a zero byte: UTF-8, or on Unix any bytes.
///
/// # Safety
/// If `pointer` is not null, there is a zero byte at or behind it, and nobody changes the text meanwhile.
///
/// # Errors
/// If the pointer is null, or the text no path.
pub(crate) unsafe fn path(name: &str, pointer: *const c_char) -> Result<PathBuf, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: not null; the rest is the caller's word.
    let text = unsafe { CStr::from_ptr(pointer) };
    #[cfg(unix)]
    return Ok(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(text.to_bytes()).into());
    #[cfg(not(unix))]
    text.to_str().map(PathBuf::from).map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

fn check<T>(name: &str, pointer: *const T, len: usize) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if !pointer.is_aligned() {
        let align = align_of::<T>();
        return Err(Failure::argument(format!("{name} is no address of such values: no multiple of {align}")));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("{name} has a length of {len}, more than memory has"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_addresses_that_cannot_be_are_refused() {
        let values = [1_u32, 2];
        let of = |pointer, len| {
            // SAFETY: two values, or a pointer or a length that is refused.
            unsafe { slice("values", pointer, len) }.map_err(|failure| failure.message)
        };
        assert_eq!(of(values.as_ptr(), 2), Ok(&values[..]));
        assert_eq!(of(std::ptr::null(), 0), Ok(&[][..]));
        assert_eq!(of(std::ptr::null(), 2).unwrap_err(), "values is a null pointer");
        assert!(of(values.as_ptr(), usize::MAX / 4).unwrap_err().contains("more than memory has"));
        assert!(of(values.as_ptr(), usize::MAX).unwrap_err().contains("more than memory has"));
        assert!(of(values.as_ptr().wrapping_byte_add(1), 1).unwrap_err().contains("no multiple of 4"));
    }

    #[test]
    fn values_are_written_where_there_are_as_many_places() {
        let mut places = [0.0_f32; 2];
        // SAFETY: two places, or a null pointer.
        let of = |pointer, len| unsafe { write("places", pointer, len, &[1.0, 2.0]) }.map_err(|error| error.message);
        assert_eq!(of(places.as_mut_ptr(), 2), Ok(()));
        assert_eq!(of(places.as_mut_ptr(), 1).unwrap_err(), "places has 1 places for 2 values");
        assert_eq!(of(std::ptr::null_mut(), 2).unwrap_err(), "places is a null pointer");
        assert_eq!(places, [1.0, 2.0]);
    }
}
