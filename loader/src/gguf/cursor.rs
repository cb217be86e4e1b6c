//! Reading numbers and texts, never beyond the end.

use super::GgufError;

/// A place in the file. Every read takes the name of what is read, for the error.
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Cursor { file, position: 0 }
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// A cursor of its own over the bytes that are left.
    pub(super) fn rest(&self) -> Cursor<'a> {
        Cursor::new(&self.file[self.position..])
    }

    pub(super) fn bytes(&mut self, len: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let left = &self.file[self.position..];
        let bytes = usize::try_from(len).ok().and_then(|len| left.get(..len));
        let Some(bytes) = bytes else {
            return Err(GgufError::Truncated {
                what: what.to_owned(),
                at: self.position,
                needed: len,
                left: left.len(),
            });
        };
        self.position += bytes.len();
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A text: its length in bytes, then UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a str, GgufError> {
        let len = self.u64(what)?;
        let at = self.position;
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes)
            .map_err(|error| GgufError::NotUtf8 { what: what.to_owned(), at: at + error.valid_up_to() })
    }
}
