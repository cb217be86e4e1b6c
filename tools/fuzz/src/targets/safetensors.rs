//! safetensors files. What is accepted is what a reader of the JSON alone finds in it, fills the file, and comes back when
//! it is written; what is refused is refused for the same reason before the tensors have arrived.

use std::collections::BTreeMap;

use loader::{Header, SafetensorsError, TensorSource, safetensors_bytes};
use serde_json::Value;

use crate::{Random, Seen, Target, mutate, variant};

pub const TARGET: Target = Target {
    name: "safetensors",
    cases,
    generate,
    run,
    outcomes: &[
        "accepted",
        "FileTooShort",
        "FileTooLarge",
        "HeaderTooLarge",
        "HeaderBeyondFile",
        "PrefixTooShort",
        "NotUtf8",
        "NotAnObject",
        "Json",
        "Metadata",
        "DuplicateName",
        "ControlCharacter",
        "Entry",
        "UnknownDType",
        "ShapeOverflow",
        "PartialByte",
        "OffsetsReversed",
        "BeyondFile",
        "SizeMismatch",
        "Gap",
        "Overlap",
        "TrailingBytes",
    ],
    rare: &[],
    runs: 20_000,
};

/// Bytes before the header.
const LENGTH: usize = 8;

fn cases() -> Vec<Vec<u8>> {
    vec![vec![], file("", 0), file("{}", 0), file("{}", 1), file(&"[".repeat(10_000), 0)]
}

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend((0..data).map(|at| at as u8));
    file
}

/// What a header says of a tensor.
struct Entry {
    name: &'static str,
    dtype: &'static str,
    shape: Vec<u64>,
    offsets: [u64; 2],
}

const NAMES: [&str; 8] = ["a", "b", "model.norm.weight", "é", "\\u0041", "\\\"", "", "__metadata_"];
const DTYPES: [(&str, u64); 8] =
    [("F32", 32), ("BF16", 16), ("F16", 16), ("U8", 8), ("F4", 4), ("F6_E2M3", 6), ("I64", 64), ("BOOL", 8)];

fn generate(random: &mut Random) -> Vec<u8> {
    let mut end = 0;
    let mut entries: Vec<Entry> = Vec::new();
    let first = random.below(NAMES.len());
    for _ in 0..random.below(5) {
        let (dtype, bits) = DTYPES[random.below(DTYPES.len())];
        // Whole bytes: 4 elements of 6 bits are 3 bytes.
        let shape: Vec<u64> = (0..random.below(4)).map(|_| random.below(4) as u64).chain([4]).collect();
        let bytes = shape.iter().product::<u64>() * bits / 8;
        entries.push(Entry {
            name: NAMES[(first + entries.len()) % NAMES.len()],
            dtype,
            shape,
            offsets: [end, end + bytes],
        });
        end += bytes;
    }
    let mut metadata = String::new();
    if random.once_in(3) {
        metadata = r#""__metadata__":{"format":"pt","k":"\n"}"#.to_string();
    }
    let mut extra = 0;
    if random.once_in(2) {
        change(&mut entries, &mut metadata, &mut extra, random);
    }
    if random.once_in(4) && entries.len() > 1 {
        let (a, b) = (random.below(entries.len()), random.below(entries.len()));
        entries.swap(a, b);
    }
    let list = random.once_in(200);
    let tensors = entries.iter().map(|Entry { name, dtype, shape, offsets }| match list {
        // As serde reads a struct, too.
        true => format!(r#""{name}":["{dtype}",{shape:?},{offsets:?}]"#),
        false => format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}"#),
    });
    let mut members: Vec<String> = tensors.chain((!metadata.is_empty()).then_some(metadata)).collect();
    if random.once_in(4) && !members.is_empty() {
        let last = members.len() - 1;
        members.swap(0, last);
    }
    let mut file = file(&format!("{{{}}}", members.join(",")), (end + extra) as usize);
    if random.once_in(3) {
        let words: [&[u8]; 8] =
            [b"\"", b",", b"{", b"}", b"\\u0000", b"\xff", b"\"__metadata__\":", b"\"dtype\":\"F32\""];
        mutate::bytes(&mut file, random, &words);
    }
    if random.once_in(20) {
        let len = random.below(12).min(file.len());
        file[..len].fill(random.next() as u8);
    }
    file
}

/// Makes a claim wrong.
fn change(entries: &mut [Entry], metadata: &mut String, extra: &mut u64, random: &mut Random) {
    let count = entries.len();
    let Some(at) = (count > 0).then(|| random.below(count)) else {
        *extra = random.below(2) as u64;
        return;
    };
    let first = entries[0].name;
    let entry = &mut entries[at];
    let nasty = mutate::NASTY[random.below(mutate::NASTY.len())];
    match random.below(11) {
        0 => entry.offsets[random.below(2)] = nasty,
        1 => entry.offsets[random.below(2)] += random.below(3) as u64,
        2 => entry.offsets.iter_mut().for_each(|offset| *offset += 1),
        3 => entry.offsets.iter_mut().for_each(|offset| *offset = offset.saturating_sub(1)),
        4 => entry.offsets.reverse(),
        5 => entry.shape.push(nasty),
        6 => entry.shape = vec![random.below(9) as u64],
        7 => entry.dtype = random.choose(&["F8", "f32", "F4", "U64", ""]),
        8 => entry.name = if random.once_in(2) { "a\\u0007" } else { first },
        9 => *metadata = random.choose(&[r#""__metadata__":{"a":1}"#, r#""__metadata__":{"a":"","a":""}"#]).to_string(),
        _ => *extra = 1 + random.below(3) as u64,
    }
}

fn run(file: &[u8], seen: &mut Seen) {
    let length = file.len() as u64;
    let parsed = Header::parse(file, length);
    claims_too_much(file, parsed.as_ref().err(), seen);
    match parsed {
        Err(error) => {
            assert!(error.to_string().len() > 20, "{error}");
            seen.refused(&error);
        }
        Ok(header) => {
            seen.note("accepted");
            is_what_the_json_says(&header, file);
            fills_the_file(&header, file);
            comes_back(&header, file);
        }
    }
}

/// The header alone gives what the file does, less of it asks for more, and a larger file has to hold what it claims.
fn claims_too_much(file: &[u8], error: Option<&SafetensorsError>, seen: &mut Seen) {
    let length = file.len() as u64;
    let Some(first) = file.first_chunk::<LENGTH>() else { return };
    let Ok(size) = Header::size_of_prefix(*first, length) else { return };
    assert_eq!(Header::parse(&file[..size], length).err().as_ref(), error);
    let short = Header::parse(&file[..size - 1], length).map(|_| ());
    let have = size - 1;
    assert_eq!(short, Err(SafetensorsError::PrefixTooShort { have, need: if have < LENGTH { LENGTH } else { size } }));
    seen.note("PrefixTooShort");
    let vast = Header::parse(file, u64::MAX).map(|_| ());
    assert_eq!(vast, Err(SafetensorsError::FileTooLarge { file_len: u64::MAX }));
    seen.note("FileTooLarge");
    if error.is_none() {
        let longer = Header::parse(file, length + 1).expect_err("nothing claims the last byte");
        assert_eq!(variant(&longer).as_str(), "TrailingBytes");
    }
}

/// Another reader of the JSON finds the same tensors and texts.
fn is_what_the_json_says(header: &Header, file: &[u8]) {
    let size = LENGTH + u64::from_le_bytes(*file.first_chunk().expect("eight bytes")) as usize;
    let json: Value = serde_json::from_slice(&file[LENGTH..size]).expect("JSON");
    let mut members = json.as_object().expect("an object").clone();
    let metadata = members.remove("__metadata__");
    let texts = metadata.as_ref().and_then(Value::as_object).into_iter().flatten();
    let texts: BTreeMap<&str, &str> = texts.map(|(key, text)| (key.as_str(), text.as_str().expect("a text"))).collect();
    let found: BTreeMap<&str, &str> =
        header.metadata().iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    assert_eq!((found.len(), &found), (header.metadata().len(), &texts));
    assert_eq!(header.tensors().len(), members.len());
    for (name, entry) in &members {
        let tensor = header.tensor(name).expect("the tensor of each member");
        assert_eq!((&tensor.name, tensor.dtype.name()), (name, entry["dtype"].as_str().expect("a type")));
        assert_eq!(entry["shape"], Value::from(tensor.shape.clone()));
        let offsets = [tensor.range.start - size, tensor.range.end - size];
        assert_eq!(entry["data_offsets"], Value::from(offsets.to_vec()));
        let bits = tensor.shape.iter().fold(tensor.dtype.bits() as usize, |bits, len| bits * len);
        assert_eq!(tensor.range.len() * 8, bits, "{tensor:?}");
    }
}

fn fills_the_file(header: &Header, file: &[u8]) {
    let mut covered = LENGTH + u64::from_le_bytes(*file.first_chunk().expect("eight bytes")) as usize;
    for tensor in header.tensors() {
        assert_eq!(tensor.range.start, covered, "{tensor:?}");
        covered = tensor.range.end;
    }
    assert_eq!((covered, header.file_len()), (file.len(), file.len()));
}

/// Written and read again it is the same, and writing that gives the same bytes.
fn comes_back(header: &Header, file: &[u8]) {
    let metadata: BTreeMap<String, String> = header.metadata().iter().cloned().collect();
    let written = write(header, file, &metadata);
    let again = Header::parse(&written, written.len() as u64).expect("what we write is accepted");
    assert_eq!(again.metadata().iter().cloned().collect::<BTreeMap<_, _>>(), metadata);
    assert_eq!(again.tensors().len(), header.tensors().len());
    for tensor in header.tensors() {
        let same = again.tensor(&tensor.name).expect("every tensor is written");
        assert_eq!((same.dtype, &same.shape), (tensor.dtype, &tensor.shape));
        assert_eq!(written[same.range.clone()], file[tensor.range.clone()]);
    }
    assert_eq!(write(&again, &written, &metadata), written);
}

fn write(header: &Header, file: &[u8], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let tensors: Vec<TensorSource<'_>> = header
        .tensors()
        .iter()
        .map(|tensor| TensorSource {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            bytes: &file[tensor.range.clone()],
        })
        .collect();
    safetensors_bytes(&tensors, metadata).expect("what was accepted can be written")
}
