//! Which of five kinds a character is, as the reference sees it. `tables/README.md` says where the table comes from.

mod runs;

use runs::RUNS;

/// What the splitter distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// `\p{L}` of the reference's pattern (Unicode 16.0).
    Letter,
    /// `\p{N}` of the reference's pattern (Unicode 16.0), which `Digits` cuts out as well.
    Number,
    /// A number since Unicode 17.0: `Digits` cuts it out, the pattern takes it for `Other`.
    NewNumber,
    /// `\s`.
    Space,
    /// Everything else.
    Other,
}

impl Class {
    /// The class of a character.
    #[inline]
    pub(crate) fn of(c: char) -> Class {
        let code_point = c as u32;
        match ASCII.get(code_point as usize) {
            Some(&class) => class,
            None => in_runs(code_point),
        }
    }

    /// The class of an ASCII byte; bytes from 0x80 on are part of a longer character and have none.
    #[inline]
    pub(crate) fn of_ascii(byte: u8) -> Option<Class> {
        ASCII.get(usize::from(byte)).copied()
    }
}

/// The run that holds the code point; the first run starts at 0.
fn in_runs(code_point: u32) -> Class {
    let after = RUNS.partition_point(|&(start, _)| start <= code_point);
    RUNS[after - 1].1
}

const ASCII: [Class; 128] = {
    let mut table = [Class::Other; 128];
    let (mut run, mut byte) = (0, 0);
    while byte < table.len() {
        if RUNS[run + 1].0 as usize == byte {
            run += 1;
        }
        table[byte] = RUNS[run].1;
        byte += 1;
    }
    table
};
