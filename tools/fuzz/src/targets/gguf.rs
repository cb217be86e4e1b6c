//! GGUF files. What is accepted comes back when it is written with an own writer, its numbers are those of the format's
//! definition in binary64, and a file that ends earlier is refused.

use loader::gguf::{Gguf, GgufError, GgufTensor, TensorType, Value};

use self::gguf_file::{GgufFile, array, text};
use crate::{Random, Seen, Target, mutate};

#[path = "../../../../loader/tests/loader/gguf_file.rs"]
#[allow(dead_code, missing_docs, reason = "it is the tests' of the loader")]
mod gguf_file;

pub const TARGET: Target = Target {
    name: "gguf",
    cases,
    generate,
    run,
    outcomes: &[
        "accepted",
        "Magic",
        "Version",
        "Truncated",
        "NotUtf8",
        "ValueType",
        "Bool",
        "NestedArray",
        "Duplicate",
        "Alignment",
        "Axes",
        "TensorType",
        "Shape",
        "PartialBlock",
        "Offset",
        "BeyondFile",
        "TrailingBytes",
    ],
    rare: &[],
    runs: 20_000,
};

const KEYS: [&str; 6] = ["general.architecture", "k", "é", "", "tokenizer.ggml.tokens", "general.alignment "];
/// The types of tensors: code, elements and bytes of a block.
const TYPES: [(u32, u64, usize); 6] = [(0, 1, 4), (1, 1, 2), (30, 1, 2), (2, 32, 18), (3, 32, 20), (8, 32, 34)];

fn cases() -> Vec<Vec<u8>> {
    vec![vec![], b"GGUF".to_vec(), GgufFile::new().bytes(), gguf_file::example().bytes()]
}

fn generate(random: &mut Random) -> Vec<u8> {
    let mut file = GgufFile { version: 2 + random.below(2) as u32, ..GgufFile::new() };
    if random.once_in(6) {
        file.alignment = random.choose(&[&1, &8, &64]).to_owned();
        let bytes = (file.alignment as u32).to_le_bytes();
        file = file.with("general.alignment", 4, &bytes);
    }
    for key in &KEYS[..random.below(KEYS.len())] {
        let code = random.below(13) as u32;
        let value = match code {
            9 => list(random),
            _ => plain(code, random),
        };
        file = file.with(key, code, &value);
    }
    for name in &["a", "blk.0.w", "é"][..random.below(4)] {
        let (code, block, bytes) = TYPES[random.below(TYPES.len())];
        let axes: Vec<u64> = (0..random.below(4)).map(|_| 1 + random.below(2) as u64).collect();
        let axes = [&[block * (1 + random.below(2) as u64)][..], &axes].concat();
        let blocks = axes.iter().product::<u64>() / block;
        let data: Vec<u8> = (0..blocks as usize * bytes).map(|_| random.next() as u8).collect();
        file = file.tensor(name, &axes, code, &data);
    }
    if random.once_in(2) {
        change(&mut file, random);
    }
    let mut bytes = file.bytes();
    if random.once_in(3) {
        mutate::bytes(&mut bytes, random, &[b"GGUF", &[9, 0, 0, 0], &[8, 0, 0, 0], &[0xff; 8], &[0; 8]]);
    }
    bytes
}

/// A value of a type that is no array; of a type that does not exist, too.
fn plain(code: u32, random: &mut Random) -> Vec<u8> {
    match code {
        7 => vec![random.below(2) as u8],
        8 => text(random.choose(&["llama", "", "é", "\u{10ffff}"])),
        0 | 1 => vec![random.next() as u8],
        2 | 3 => random.next().to_le_bytes()[..2].to_vec(),
        4..=6 => random.next().to_le_bytes()[..4].to_vec(),
        _ => random.next().to_le_bytes().to_vec(),
    }
}

fn list(random: &mut Random) -> Vec<u8> {
    let code = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12][random.below(12)];
    let values: Vec<Vec<u8>> = (0..random.below(4)).map(|_| plain(code, random)).collect();
    array(code, values.len() as u64, &values.concat())
}

/// Makes a claim wrong.
fn change(file: &mut GgufFile, random: &mut Random) {
    let nasty = mutate::NASTY[random.below(mutate::NASTY.len())];
    let tensors = file.tensors.len();
    let tensor = (tensors > 0).then(|| random.below(tensors));
    let changed = match (random.below(16), tensor) {
        (0, _) => file.clone().with("k", 13, &[0; 8]),
        (1, _) => file.clone().with("n", 9, &array(9, 1, &array(0, 1, &[0]))),
        (2, _) => file.clone().with("k", 7, &[random.next() as u8]),
        (3, _) => file.clone().with("general.alignment", 4, &[random.below(40) as u8, 0, 0, 0]),
        (4, _) => file.clone().with("k", 9, &array(random.below(14) as u32, nasty, &[0; 8])),
        (5, _) => GgufFile { version: random.below(5) as u32, ..file.clone() },
        (6, _) => GgufFile { magic: *b"GGML", ..file.clone() },
        (7, Some(at)) => renamed(file, at, "a"),
        (8, Some(at)) => with(file, |file| file.tensors[at].code = random.below(40) as u32),
        (9, Some(at)) => with(file, |file| file.tensors[at].offset = nasty),
        (10, Some(at)) => with(file, |file| file.tensors[at].offset += 1 + random.below(64) as u64),
        (11, Some(at)) => with(file, |file| file.tensors[at].axes.push(nasty)),
        (12, Some(at)) => with(file, |file| file.tensors[at].axes[0] += random.below(3) as u64),
        (13, Some(at)) => with(file, |file| file.tensors[at].axes.extend([1; 3])),
        (14, _) => with(file, |file| file.data.truncate(random.below(file.data.len() + 1))),
        _ => with(file, |file| file.data.extend([0; 80])),
    };
    *file = changed;
}

fn with(file: &GgufFile, change: impl FnOnce(&mut GgufFile)) -> GgufFile {
    let mut changed = file.clone();
    change(&mut changed);
    changed
}

fn renamed(file: &GgufFile, at: usize, name: &str) -> GgufFile {
    with(file, |file| file.tensors[at].name = name.to_string())
}

fn run(file: &[u8], seen: &mut Seen) {
    match Gguf::parse(file) {
        Err(error) => {
            assert!(error.to_string().len() > 15, "{error}");
            seen.refused(&error);
        }
        Ok(gguf) => {
            seen.note("accepted");
            for tensor in gguf.tensors() {
                has_its_values(tensor);
            }
            comes_back(&gguf);
            ends_early(&gguf, file);
        }
    }
}

/// Written by another writer and read again it is the same.
fn comes_back(gguf: &Gguf<'_>) {
    let mut copy = GgufFile::new();
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| *key != "general.alignment") {
        let (code, bytes) = written(value);
        copy = copy.with(key, code, &bytes);
    }
    for tensor in gguf.tensors() {
        let code = TYPES.iter().find(|(code, ..)| type_of(*code) == tensor.tensor_type()).expect("a type").0;
        let axes: Vec<u64> = tensor.shape().iter().rev().map(|len| *len as u64).collect();
        copy = copy.tensor(tensor.name(), &axes, code, tensor.bytes());
    }
    let bytes = copy.bytes();
    let again = Gguf::parse(&bytes).expect("what the format's definition says is accepted");
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| *key != "general.alignment") {
        assert_eq!(written(again.value(key).expect("every key is written")), written(value), "{key:?}");
    }
    assert_eq!(again.tensors().len(), gguf.tensors().len());
    for (tensor, same) in gguf.tensors().iter().zip(again.tensors()) {
        assert_eq!((tensor.name(), tensor.shape()), (same.name(), same.shape()));
        assert_eq!((tensor.tensor_type(), tensor.bytes()), (same.tensor_type(), same.bytes()));
        assert_eq!(gguf.tensor(tensor.name()).map(GgufTensor::bytes), Some(tensor.bytes()));
    }
}

/// The type's code and the value's bytes; integers have 64 bits.
fn written(value: &Value<'_>) -> (u32, Vec<u8>) {
    match value {
        Value::Unsigned(number) => (10, number.to_le_bytes().to_vec()),
        Value::Signed(number) => (11, number.to_le_bytes().to_vec()),
        Value::F32(number) => (6, number.to_le_bytes().to_vec()),
        Value::F64(number) => (12, number.to_le_bytes().to_vec()),
        Value::Bool(truth) => (7, vec![u8::from(*truth)]),
        Value::Text(words) => (8, text(words)),
        Value::Array(values) => {
            let items: Vec<(u32, Vec<u8>)> = values.iter().map(|item| written(&item)).collect();
            assert_eq!(items.len() as u64, values.len());
            let code = items.first().map_or(0, |(code, _)| *code);
            let bytes: Vec<u8> = items.into_iter().flat_map(|(_, bytes)| bytes).collect();
            (9, array(code, values.len(), &bytes))
        }
    }
}

fn type_of(code: u32) -> TensorType {
    match code {
        0 => TensorType::F32,
        1 => TensorType::F16,
        30 => TensorType::Bf16,
        2 => TensorType::Q4_0,
        3 => TensorType::Q4_1,
        _ => TensorType::Q8_0,
    }
}

/// The elements are those of the definition: in binary64, where no product and no sum of a block is rounded, then rounded
/// once.
fn has_its_values(tensor: &GgufTensor<'_>) {
    let (elements, values) = (tensor.shape().iter().product::<usize>(), tensor.to_f32());
    assert_eq!(values.len(), elements);
    let (kind, bytes) = (tensor.tensor_type(), tensor.bytes());
    let (block, size) = (kind.block_len(), kind.block_bytes());
    for (at, value) in values.into_iter().enumerate() {
        let bytes = &bytes[at / block * size..][..size];
        let half = |at: usize| f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let nibble = |from: usize| {
            let byte = bytes[from + at % block % 16];
            f64::from(if at % block < 16 { byte & 15 } else { byte >> 4 })
        };
        let exact = match kind {
            TensorType::F32 => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            TensorType::F16 => half(0),
            TensorType::Bf16 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16)),
            TensorType::Q4_0 => half(0) * (nibble(2) - 8.0),
            TensorType::Q4_1 => half(0) * nibble(4) + half(2),
            TensorType::Q8_0 => half(0) * f64::from(bytes[2 + at % block].cast_signed()),
        };
        let expected = exact as f32;
        let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
        assert!(same, "element {at} of {:?} is {value}, not {expected}", tensor.name());
    }
}

/// The value of a binary16, from its definition.
fn f16(half: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

/// A file that ends earlier is refused, unless only the padding behind the last tensor is gone.
fn ends_early(gguf: &Gguf<'_>, file: &[u8]) {
    let data: usize = gguf.tensors().iter().map(|tensor| tensor.bytes().len()).sum();
    let len = file.len().wrapping_mul(7) % (file.len() + 1);
    match Gguf::parse(&file[..len]) {
        Err(error) => {
            let early = matches!(error, GgufError::Truncated { .. } | GgufError::BeyondFile { .. });
            assert!(early, "{len} of {} bytes: {error}", file.len());
        }
        Ok(short) => {
            let left: usize = short.tensors().iter().map(|tensor| tensor.bytes().len()).sum();
            assert_eq!((short.metadata().len(), left), (gguf.metadata().len(), data));
        }
    }
}
