//! Thousands of damaged files: never a panic, never more memory than the file is worth (the allocator of these tests
//! has a limit), and what is accepted is sound.

use loader::Header;
use loader::gguf::Gguf;

use crate::gguf_file::example;
use crate::safetensors_file;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    /// The seed is fixed; `LOCKSTEP_SEED` overrides it.
    fn new() -> Random {
        let seed = std::env::var("LOCKSTEP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_123);
        println!("LOCKSTEP_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Values at which lengths and offsets go wrong.
const NASTY: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff_ffff, 1 << 62, i64::MAX as u64, u64::MAX];

fn mutate(file: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(file.len());
        match random.below(6) {
            0 => file[at] ^= 1 << random.below(8),
            1 => file[at] = random.next() as u8,
            2 => file.truncate(at.max(1)),
            3 => {
                let nasty = NASTY[random.below(NASTY.len())].to_le_bytes();
                file.iter_mut().skip(at).zip(nasty).for_each(|(byte, nasty)| *byte = nasty);
            }
            4 => {
                let (from, len) = (random.below(file.len()), random.below(40));
                let copy: Vec<u8> = file[from..].iter().copied().take(len).collect();
                file.splice(at..at, copy);
            }
            _ => {
                let end = (at + random.below(40)).min(file.len());
                file.drain(at..end);
                if file.is_empty() {
                    file.push(0);
                }
            }
        }
    }
}

#[test]
fn damaged_safetensors_files_are_refused_or_sound() {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
        "b":{"dtype":"F32","shape":[],"data_offsets":[12,16]},"c":{"dtype":"I8","shape":[0,9],"data_offsets":[16,16]},
        "d":{"dtype":"U8","shape":[7],"data_offsets":[16,23]}}"#;
    let original = safetensors_file(header, 23);
    let mut random = Random::new();
    let mut accepted = 0;
    for round in 0..50_000 {
        let mut file = original.clone();
        mutate(&mut file, &mut random);
        let Ok(parsed) = Header::parse(&file, file.len() as u64) else { continue };
        accepted += 1;
        let mut covered = parsed.tensors().first().map_or(file.len(), |tensor| tensor.range.start);
        for tensor in parsed.tensors() {
            assert_eq!(tensor.range.start, covered, "round {round}");
            let elements: usize = tensor.shape.iter().product();
            assert_eq!(tensor.range.len() * 8, elements * tensor.dtype.bits() as usize, "round {round}");
            assert_eq!(parsed.tensor(&tensor.name), Some(tensor), "round {round}");
            covered = tensor.range.end;
        }
        assert_eq!(covered, file.len(), "round {round}");
    }
    assert!(accepted > 100, "the mutations never leave a file valid: {accepted}");
}

#[test]
fn damaged_gguf_files_are_refused_or_sound() {
    let original = example().bytes();
    let mut random = Random::new();
    let mut accepted = 0;
    for round in 0..50_000 {
        let mut file = original.clone();
        mutate(&mut file, &mut random);
        let Ok(parsed) = Gguf::parse(&file) else { continue };
        accepted += 1;
        for (_, value) in parsed.metadata() {
            if let Some(array) = value.array() {
                assert_eq!(array.iter().count() as u64, array.len(), "round {round}");
            }
        }
        for tensor in parsed.tensors() {
            let elements: usize = tensor.shape().iter().product();
            assert_eq!(tensor.to_f32().len(), elements, "round {round}");
        }
    }
    assert!(accepted > 100, "the mutations never leave a file valid: {accepted}");
}
