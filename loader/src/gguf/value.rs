//! Metadata values.

use super::GgufError;
use super::cursor::Cursor;

/// Codes of the value types in the file.
mod code {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const TEXT: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// A metadata value. Integers of all widths are widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An integer without sign.
    Unsigned(u64),
    /// An integer with sign.
    Signed(i64),
    /// A binary32 number.
    F32(f32),
    /// A binary64 number.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// Values of one type.
    Array(Array<'a>),
}

/// Values of one type, validated, decoded when they are looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    code: u32,
    len: u64,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The number, if this is an integer.
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Value::Unsigned(number) => Some(number.into()),
            Value::Signed(number) => Some(number.into()),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&'a str> {
        match *self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The array, if this is one.
    pub fn array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl<'a> Array<'a> {
    /// Number of values.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let Array { code, len, bytes } = *self;
        let mut cursor = Cursor::new(bytes);
        // Every value was read once when the file was parsed.
        (0..len).map_while(move |_| read_plain(&mut cursor, code, "an array").ok())
    }
}

/// Reads the value of `key`: its type, then itself.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<Value<'a>, GgufError> {
    let code = cursor.u32(key)?;
    if code != code::ARRAY {
        return read_plain(cursor, code, key);
    }
    let code = cursor.u32(key)?;
    let len = cursor.u64(key)?;
    if code == code::ARRAY {
        return Err(GgufError::NestedArray { key: key.to_owned() });
    }
    let mut values = cursor.rest();
    for _ in 0..len {
        read_plain(&mut values, code, key)?;
    }
    let bytes = cursor.bytes(values.position() as u64, key)?;
    Ok(Value::Array(Array { code, len, bytes }))
}

fn read_plain<'a>(cursor: &mut Cursor<'a>, code: u32, key: &str) -> Result<Value<'a>, GgufError> {
    Ok(match code {
        code::U8 => Value::Unsigned(u8::from_le_bytes(cursor.array(key)?).into()),
        code::I8 => Value::Signed(i8::from_le_bytes(cursor.array(key)?).into()),
        code::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array(key)?).into()),
        code::I16 => Value::Signed(i16::from_le_bytes(cursor.array(key)?).into()),
        code::U32 => Value::Unsigned(cursor.u32(key)?.into()),
        code::I32 => Value::Signed(i32::from_le_bytes(cursor.array(key)?).into()),
        code::F32 => Value::F32(f32::from_le_bytes(cursor.array(key)?)),
        code::BOOL => match u8::from_le_bytes(cursor.array(key)?) {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            found => return Err(GgufError::Bool { key: key.to_owned(), found }),
        },
        code::TEXT => Value::Text(cursor.text(key)?),
        code::U64 => Value::Unsigned(cursor.u64(key)?),
        code::I64 => Value::Signed(i64::from_le_bytes(cursor.array(key)?)),
        code::F64 => Value::F64(f64::from_le_bytes(cursor.array(key)?)),
        found => return Err(GgufError::ValueType { key: key.to_owned(), found }),
    })
}
