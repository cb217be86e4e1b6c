//! What a program for a microcontroller takes of its memory, by the segments of its ELF file.

/// Where the machine's RAM begins: flash is before.
const RAM: u32 = 0x2000_0000;
/// A segment that is loaded.
const LOAD: u32 = 1;

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sizes {
    /// Code, constants, and the first values of variables.
    pub flash: u64,
    /// Variables.
    pub ram: u64,
}

/// The sizes of a program; none if it is no little-endian ELF file of 32 bits.
pub(super) fn sizes(file: &[u8]) -> Option<Sizes> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?)));
    let u32_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    if file.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, entry, count) = (u32_at(28)? as usize, u16_at(42)?, u16_at(44)?);
    let mut sizes = Sizes::default();
    for segment in (0..count).map(|index| table + index * entry) {
        if u32_at(segment)? == LOAD {
            let (address, stored, size) = (u32_at(segment + 8)?, u32_at(segment + 16)?, u32_at(segment + 20)?);
            sizes.flash += u64::from(stored);
            sizes.ram += if address >= RAM { u64::from(size) } else { 0 };
        }
    }
    Some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_where_they_lie() {
        let mut file = b"\x7fELF\x01\x01".to_vec();
        file.resize(52, 0);
        for (at, value) in [(28, 52), (42, 32), (44, 4)] {
            file[at] = value;
        }
        // Code, variables with first values, variables without, and one that is not loaded.
        for (kind, address, stored, size) in
            [(1, 0, 1000_u32, 1000_u32), (1, RAM, 20, 20), (1, RAM + 20, 0, 300), (2, RAM, 5, 5)]
        {
            for word in [kind, 0, address, 0, stored, size, 0, 0] {
                file.extend(u32::to_le_bytes(word));
            }
        }
        assert_eq!(sizes(&file), Some(Sizes { flash: 1020, ram: 320 }));
        assert_eq!(sizes(&file[..file.len() - 40]), None);
        assert_eq!(sizes(b"\x7fELF\x02\x01"), None);
    }
}
