//! GGUF files (versions 2 and 3, little-endian), read for conversion: metadata, and tensors widened to binary32.
//!
//! Follows the format's specification (`docs/gguf.md` of ggml). Everything is a view into the file's bytes, checked
//! once in [`Gguf::parse`]; no claim of the file makes it allocate more than a small multiple of
//! the file's bytes.

mod cursor;
mod error;
mod quantisation;
mod value;

use std::ops::Range;

pub use error::GgufError;
pub use quantisation::TensorType;
pub use value::{Array, Value};

use cursor::Cursor;

/// First bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// Versions whose counts are 64 bits wide; they are otherwise alike.
const VERSIONS: [u32; 2] = [2, 3];
/// Tensors begin at multiples of this unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Most axes of a tensor, as in ggml.
const MAX_AXES: u32 = 4;

/// A validated GGUF file.
#[derive(Debug)]
pub struct Gguf<'a> {
    metadata: Vec<(&'a str, Value<'a>)>,
    tensors: Vec<GgufTensor<'a>>,
}

/// One tensor of a [`Gguf`] file.
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    name: &'a str,
    tensor_type: TensorType,
    axes: [u64; MAX_AXES as usize],
    rank: usize,
    bytes: &'a [u8],
}

/// A tensor's entry, before its place is checked.
struct Entry<'a> {
    tensor: GgufTensor<'a>,
    offset: u64,
    len: u64,
}

impl<'a> Gguf<'a> {
    /// Parses and validates the bytes of a whole file.
    ///
    /// # Errors
    /// Whatever makes the file invalid, or uses a part of the format that is not read here; names the key or tensor.
    pub fn parse(file: &'a [u8]) -> Result<Gguf<'a>, GgufError> {
        let mut cursor = Cursor::new(file);
        let magic = cursor.array::<4>("the magic number")?;
        if magic != MAGIC {
            return Err(GgufError::Magic { found: magic });
        }
        let version = cursor.u32("the version")?;
        if !VERSIONS.contains(&version) {
            return Err(GgufError::Version { found: version });
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of metadata keys")?;

        let mut metadata: Vec<(&str, Value<'_>)> = Vec::new();
        for _ in 0..key_count {
            let key = cursor.text("a metadata key")?;
            metadata.push((key, value::read(&mut cursor, key)?));
        }
        check_unique(metadata.iter().map(|(key, _)| *key))?;
        let alignment = alignment(&metadata)?;

        let mut entries = Vec::new();
        for _ in 0..tensor_count {
            entries.push(read_entry(&mut cursor)?);
        }
        check_unique(entries.iter().map(|entry| entry.tensor.name))?;
        let tensors = place(entries, file, cursor.position(), alignment)?;
        Ok(Gguf { metadata, tensors })
    }

    /// The metadata in file order.
    pub fn metadata(&self) -> &[(&'a str, Value<'a>)] {
        &self.metadata
    }

    /// The value of that key.
    pub fn value(&self, key: &str) -> Option<&Value<'a>> {
        self.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The tensors in the order of their bytes.
    pub fn tensors(&self) -> &[GgufTensor<'a>] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor<'a>> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

impl<'a> GgufTensor<'a> {
    /// Name, unique in the file.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// How its elements are stored.
    pub fn tensor_type(&self) -> TensorType {
        self.tensor_type
    }

    /// Length of each axis, outermost first (the file has them innermost first).
    pub fn shape(&self) -> Vec<usize> {
        // Checked in `read_entry`: the product of all axes is a number of elements that lie in memory.
        self.axes[..self.rank].iter().rev().map(|&len| len as usize).collect()
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements in binary32, exactly as the format defines them, in the order of [`GgufTensor::shape`].
    pub fn to_f32(&self) -> Vec<f32> {
        self.tensor_type.dequantise(self.bytes)
    }
}

fn check_unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), GgufError> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::Duplicate { name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

fn alignment(metadata: &[(&str, Value<'_>)]) -> Result<u64, GgufError> {
    let Some((_, value)) = metadata.iter().find(|(key, _)| *key == "general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let alignment = value.integer().and_then(|number| u32::try_from(number).ok()).filter(|a| a.is_power_of_two());
    alignment.map(u64::from).ok_or_else(|| GgufError::Alignment { found: format!("{value:?}") })
}

fn read_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, GgufError> {
    let name = cursor.text("a tensor's name")?;
    let rank = cursor.u32(name)?;
    if rank > MAX_AXES {
        return Err(GgufError::Axes { tensor: name.to_owned(), found: rank });
    }
    let rank = rank as usize;
    let mut axes = [1; MAX_AXES as usize];
    for len in &mut axes[..rank] {
        *len = cursor.u64(name)?;
    }
    let shape = || axes[..rank].to_vec();
    let code = cursor.u32(name)?;
    let Some(tensor_type) = TensorType::from_code(code) else {
        return Err(GgufError::TensorType { tensor: name.to_owned(), found: code });
    };
    let offset = cursor.u64(name)?;

    let elements = axes.iter().try_fold(1u64, |product, &len| product.checked_mul(len));
    // No axis is longer than the whole, and the whole fits into memory: casts of axes lose nothing.
    let addressable = elements.filter(|&elements| elements <= isize::MAX as u64 / 4 && !axes.contains(&0));
    let Some(elements) = addressable else {
        return Err(GgufError::Shape { tensor: name.to_owned(), axes: shape() });
    };
    let block = tensor_type.block_len() as u64;
    if axes[0] % block != 0 {
        return Err(GgufError::PartialBlock { tensor: name.to_owned(), row: axes[0], block });
    }
    let len = elements / block * tensor_type.block_bytes() as u64;
    Ok(Entry { tensor: GgufTensor { name, tensor_type, axes, rank, bytes: &[] }, offset, len })
}

/// Gives every tensor its bytes: in order, aligned, with nothing between them but padding.
fn place<'a>(
    mut entries: Vec<Entry<'a>>,
    file: &'a [u8],
    header_len: usize,
    alignment: u64,
) -> Result<Vec<GgufTensor<'a>>, GgufError> {
    entries.sort_by_key(|entry| entry.offset);
    let data_start = (header_len as u64).next_multiple_of(alignment);
    let data = usize::try_from(data_start).ok().and_then(|start| file.get(start..)).unwrap_or_default();
    let mut expected = 0u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for Entry { mut tensor, offset, len } in entries {
        if offset != expected.next_multiple_of(alignment) {
            return Err(GgufError::Offset {
                tensor: tensor.name.to_owned(),
                found: offset,
                expected: expected.next_multiple_of(alignment),
            });
        }
        let bytes = range(offset, len).and_then(|range| data.get(range));
        let Some(bytes) = bytes else {
            return Err(GgufError::BeyondFile {
                tensor: tensor.name.to_owned(),
                offset,
                len,
                data_len: data.len() as u64,
            });
        };
        tensor.bytes = bytes;
        tensors.push(tensor);
        // Inside the data, so far below any overflow.
        expected = offset + len;
    }
    if data.len() as u64 > expected.next_multiple_of(alignment) {
        return Err(GgufError::TrailingBytes { end: expected, data_len: data.len() as u64 });
    }
    Ok(tensors)
}

fn range(offset: u64, len: u64) -> Option<Range<usize>> {
    Some(usize::try_from(offset).ok()?..usize::try_from(offset.checked_add(len)?).ok()?)
}
