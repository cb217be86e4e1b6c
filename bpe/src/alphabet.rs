//! The byte-level alphabet: GPT-2's way to write any bytes as visible characters, used by every token in tokenizer.json.

use alloc::vec::Vec;

/// Printable bytes stand for themselves (as Latin-1); the 68 others are U+0100 and up, in rising order.
const ALPHABET: [char; 256] = {
    let mut alphabet = ['\0'; 256];
    let mut next = 0x100u32;
    let mut byte = 0usize;
    while byte < 256 {
        let code_point = match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte as u32,
            _ => {
                next += 1;
                next - 1
            }
        };
        alphabet[byte] = match char::from_u32(code_point) {
            Some(c) => c,
            None => panic!("all below U+0144"),
        };
        byte += 1;
    }
    alphabet
};

/// The character that stands for a byte.
pub(crate) fn char_of(byte: u8) -> char {
    ALPHABET[usize::from(byte)]
}

/// Appends the bytes that a token's text stands for. A text with a character outside the alphabet stands for itself, in
/// UTF-8, as in the reference's decoder; false for such a text.
pub(crate) fn extend_with_bytes_of(bytes: &mut Vec<u8>, token: &str) -> bool {
    let start = bytes.len();
    for byte in token.chars().map(byte_of) {
        match byte {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return false;
            }
        }
    }
    true
}

fn byte_of(c: char) -> Option<u8> {
    let byte = match c as u32 {
        code_point @ 0..=0xff => code_point as u8,
        // The n-th byte that is not printable: 33 before '!', 34 from DEL to NBSP, and the soft hyphen.
        code_point @ 0x100..=0x120 => (code_point - 0x100) as u8,
        code_point @ 0x121..=0x142 => (code_point - 0x121 + 0x7f) as u8,
        0x143 => 0xad,
        _ => return None,
    };
    (char_of(byte) == c).then_some(byte)
}
