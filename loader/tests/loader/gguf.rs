//! GGUF files: what they give, and one test for each way to be wrong.

use loader::gguf::{Gguf, GgufError as E, TensorType, Value};

use crate::gguf_file::{GgufFile, array, example, text};

fn error(file: &GgufFile) -> E {
    let error = Gguf::parse(&file.bytes()).unwrap_err();
    assert!(error.to_string().len() > 20);
    error
}

/// Checks that the message has all these parts.
fn says(error: &E, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

#[test]
fn a_file_gives_metadata_and_tensors() {
    for version in [2, 3] {
        let bytes = GgufFile { version, ..example() }.bytes();
        let gguf = Gguf::parse(&bytes).unwrap();
        assert_eq!(gguf.metadata().len(), 15);
        assert_eq!(gguf.value("general.architecture").unwrap().text(), Some("llama"));
        let integer = |key| gguf.value(key).unwrap().integer();
        assert_eq!([integer("u8"), integer("i8"), integer("u16")], [Some(200), Some(-56), Some(513)]);
        assert_eq!([integer("i16"), integer("u32"), integer("i32")], [Some(-1), Some(1), Some(-1)]);
        assert_eq!([integer("u64"), integer("i64")], [Some(u64::MAX.into()), Some(i64::MIN.into())]);
        assert_eq!(gguf.value("f32"), Some(&Value::F32(1e-5)));
        assert_eq!(gguf.value("f64"), Some(&Value::F64(0.1)));
        assert_eq!(gguf.value("bool"), Some(&Value::Bool(true)));
        let texts: Vec<_> = gguf.value("texts").unwrap().array().unwrap().iter().map(|item| item.text()).collect();
        assert_eq!(texts, [Some("é"), Some("")]);
        let numbers = gguf.value("numbers").unwrap().array().unwrap();
        assert_eq!(numbers.iter().filter_map(|item| item.integer()).collect::<Vec<_>>(), [1, 2, -1]);
        assert!(numbers.len() == 3 && !numbers.is_empty() && gguf.value("none").unwrap().array().unwrap().is_empty());
        assert_eq!((gguf.value("f32").unwrap().text(), gguf.value("f32").unwrap().integer()), (None, None));
        assert!(gguf.value("other").is_none());

        let matrix = gguf.tensor("matrix").unwrap();
        assert_eq!((matrix.shape(), matrix.tensor_type()), (vec![3, 2], TensorType::F32));
        assert_eq!(matrix.to_f32(), [0.0; 6]);
        let vector = gguf.tensor("vector").unwrap();
        assert_eq!((vector.bytes(), vector.to_f32().len()), (&[1; 34][..], 32));
        assert!(gguf.tensor("other").is_none());
        assert_eq!(gguf.tensors().iter().map(|tensor| tensor.name()).collect::<Vec<_>>(), ["matrix", "vector", "half"]);
    }
}

#[test]
fn alignment_follows_the_metadata() {
    let mut file = GgufFile::new().with("general.alignment", 4, &[64, 0, 0, 0]);
    file.alignment = 64;
    let bytes = file.tensor("a", &[1], 0, &[0; 4]).tensor("b", &[1], 0, &1f32.to_le_bytes()).bytes();
    assert_eq!(Gguf::parse(&bytes).unwrap().tensor("b").unwrap().to_f32(), [1.0]);
}

#[test]
fn another_magic_or_version_is_refused() {
    let magic = error(&GgufFile { magic: *b"GGML", ..example() });
    assert_eq!(magic, E::Magic { found: *b"GGML" });
    for version in [0, 1, 4, 3u32.swap_bytes()] {
        let error = error(&GgufFile { version, ..example() });
        assert_eq!(error, E::Version { found: version });
        says(&error, &[&version.to_string()]);
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = example().bytes();
    for len in 0..bytes.len() {
        let error = Gguf::parse(&bytes[..len]).unwrap_err();
        assert!(matches!(error, E::Truncated { .. } | E::BeyondFile { .. }), "{len}: {error}");
        says(&error, &["incomplete"]);
    }
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let mut value = text("abc");
    value[9] = 0xff;
    let error = error(&GgufFile::new().with("k", 8, &value));
    assert!(matches!(&error, E::NotUtf8 { what, .. } if what == "k"), "{error}");
}

#[test]
fn a_value_of_an_unknown_type_is_refused() {
    assert_eq!(error(&example().with("k", 13, &[0; 8])), E::ValueType { key: "k".to_owned(), found: 13 });
    assert_eq!(error(&example().with("k", 9, &array(13, 1, &[0; 8]))), E::ValueType { key: "k".to_owned(), found: 13 });
}

#[test]
fn a_bool_other_than_0_and_1_is_refused() {
    let error = error(&example().with("k", 7, &[2]));
    assert_eq!(error, E::Bool { key: "k".to_owned(), found: 2 });
    says(&error, &["k", "2"]);
}

#[test]
fn an_array_of_arrays_is_refused() {
    let nested = array(9, 1, &array(0, 1, &[0]));
    assert_eq!(error(&example().with("k", 9, &nested)), E::NestedArray { key: "k".to_owned() });
}

#[test]
fn an_array_longer_than_the_file_is_refused() {
    for code in [0, 6, 7, 8, 12] {
        let error = error(&example().with("k", 9, &array(code, u64::MAX, &[0; 8])));
        assert!(matches!(error, E::Truncated { .. } | E::Bool { .. }), "{code}: {error}");
    }
}

#[test]
fn what_occurs_twice_is_refused() {
    assert_eq!(error(&example().with("u8", 0, &[1])), E::Duplicate { name: "u8".to_owned() });
    assert_eq!(error(&example().tensor("half", &[1], 0, &[0; 4])), E::Duplicate { name: "half".to_owned() });
}

#[test]
fn an_alignment_that_is_no_power_of_two_is_refused() {
    for value in [0u32, 3, 48] {
        let error = error(&example().with("general.alignment", 4, &value.to_le_bytes()));
        assert!(matches!(error, E::Alignment { .. }), "{value}: {error}");
        says(&error, &[&value.to_string()]);
    }
    assert!(matches!(error(&example().with("general.alignment", 8, &text("32"))), E::Alignment { .. }));
}

#[test]
fn too_many_axes_are_refused() {
    let error = error(&example().tensor("w", &[1; 5], 0, &[0; 4]));
    assert_eq!(error, E::Axes { tensor: "w".to_owned(), found: 5 });
}

#[test]
fn an_unknown_tensor_type_is_refused() {
    let error = error(&example().tensor("w", &[256], 12, &[0; 144]));
    assert_eq!(error, E::TensorType { tensor: "w".to_owned(), found: 12 });
    says(&error, &["\"w\"", "12", "Q4_1"]);
}

#[test]
fn an_impossible_shape_is_refused() {
    for axes in [&[0][..], &[4, 0], &[u64::MAX, 2], &[1 << 61], &[1 << 32, 1 << 32]] {
        let error = error(&example().tensor("w", axes, 0, &[]));
        assert_eq!(error, E::Shape { tensor: "w".to_owned(), axes: axes.to_vec() });
    }
}

#[test]
fn rows_that_are_not_whole_blocks_are_refused() {
    let error = error(&example().tensor("w", &[16, 2], 3, &[0; 20]));
    assert_eq!(error, E::PartialBlock { tensor: "w".to_owned(), row: 16, block: 32 });
}

#[test]
fn gaps_and_overlaps_are_refused() {
    for offset in [0, 32, 64, 96 + 32, 97, 160] {
        let mut file = example();
        let last = file.tensors.last_mut().unwrap();
        let expected = last.offset;
        assert_eq!(expected, 96);
        last.offset = offset;
        file.data.extend([0; 256]);
        let error = error(&file);
        assert!(matches!(error, E::Offset { .. }), "{offset}: {error}");
    }
}

#[test]
fn a_tensor_beyond_the_file_is_refused() {
    let mut file = example();
    file.data.pop();
    let error = error(&file);
    assert_eq!(error, E::BeyondFile { tensor: "half".to_owned(), offset: 96, len: 10, data_len: 105 });
}

#[test]
fn trailing_bytes_beyond_the_padding_are_refused() {
    let mut file = example();
    file.data.resize(128, 0);
    assert!(Gguf::parse(&file.bytes()).is_ok());
    file.data.push(0);
    assert_eq!(error(&file), E::TrailingBytes { end: 106, data_len: 129 });
}
