//! The header of a safetensors file: what it gives, and one test for each way to be wrong.

use loader::{DType, Header, MAX_HEADER_LEN, SafetensorsError as E};

use crate::safetensors_file;

fn parse(header: &str, data_len: usize) -> Result<Header, E> {
    let file = safetensors_file(header, data_len);
    Header::parse(&file, file.len() as u64)
}

fn error(header: &str, data_len: usize) -> E {
    parse(header, data_len).unwrap_err()
}

/// Checks that the message has all these parts.
fn says(error: &E, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

const TWO: &str = r#"{"__metadata__":{"format":"pt","":"é"},
    "b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},
    "a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}  "#;

#[test]
fn a_header_gives_tensors_in_the_order_of_their_bytes() {
    let header = parse(TWO, 10).unwrap();
    let start = 8 + TWO.len();
    let tensors = header.tensors();
    assert_eq!(tensors.len(), 2);
    assert_eq!((tensors[0].name.as_str(), tensors[0].dtype, &tensors[0].shape[..]), ("a", DType::Bf16, &[][..]));
    assert_eq!(tensors[0].range, start..start + 2);
    assert_eq!((tensors[1].name.as_str(), tensors[1].dtype, &tensors[1].shape[..]), ("b", DType::F32, &[2, 1][..]));
    assert_eq!(tensors[1].range, start + 2..start + 10);
    assert_eq!(header.tensor("b"), Some(&tensors[1]));
    assert_eq!(header.tensor("c"), None);
    assert_eq!(header.metadata(), [("format".to_owned(), "pt".to_owned()), (String::new(), "é".to_owned())]);
    assert_eq!(header.file_len(), start + 10);
}

#[test]
fn a_prefix_is_enough() {
    let file = safetensors_file(TWO, 10);
    let len = file.len() as u64;
    let size = Header::size_of_prefix(*file.first_chunk().unwrap(), len).unwrap();
    assert_eq!(size, 8 + TWO.len());
    assert!(Header::parse(&file[..size], len).is_ok());
    for have in 0..size {
        let error = Header::parse(&file[..have], len).unwrap_err();
        assert_eq!(error, E::PrefixTooShort { have, need: if have < 8 { 8 } else { size } });
    }
}

#[test]
fn every_dtype_has_its_name_and_size() {
    let all = "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 \
               F32 C64 F64 I64 U64";
    for name in all.split_whitespace() {
        let dtype = DType::from_name(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((dtype.name(), dtype.to_string().as_str()), (name, name));
        let bytes = dtype.bits();
        let header = format!(r#"{{"x":{{"dtype":"{name}","shape":[2,4],"data_offsets":[0,{bytes}]}}}}"#);
        assert_eq!(parse(&header, bytes as usize).unwrap().tensors()[0].dtype, dtype);
    }
}

#[test]
fn empty_tensors_and_empty_files_are_valid() {
    let header = r#"{"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},
        "b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"I64","shape":[0],"data_offsets":[1,1]}}"#;
    let parsed = parse(header, 1).unwrap();
    assert_eq!(parsed.tensors().iter().map(|tensor| tensor.name.as_str()).collect::<String>(), "abc");
    assert!(parse("{}", 0).unwrap().tensors().is_empty());
}

#[test]
fn a_file_without_room_for_the_length_is_refused() {
    for len in 0..8 {
        let error = Header::parse(&[0; 8][..len], len as u64).unwrap_err();
        assert_eq!(error, E::FileTooShort { file_len: len as u64 });
        says(&error, &[&len.to_string(), "8 bytes"]);
    }
}

#[test]
fn a_header_beyond_the_limit_is_refused() {
    let header_len = MAX_HEADER_LEN + 1;
    let error = Header::parse(&header_len.to_le_bytes(), u64::MAX).unwrap_err();
    assert_eq!(error, E::HeaderTooLarge { header_len });
    says(&error, &["100000001", "100000000"]);
}

#[test]
fn a_header_beyond_the_file_is_refused() {
    let error = Header::parse(&10u64.to_le_bytes(), 17).unwrap_err();
    assert_eq!(error, E::HeaderBeyondFile { header_len: 10, file_len: 17 });
    says(&error, &["10", "17", "incomplete"]);
}

#[test]
fn a_file_beyond_the_address_space_is_refused() {
    let error = Header::parse(&safetensors_file("{}", 0), u64::MAX).unwrap_err();
    assert_eq!(error, E::FileTooLarge { file_len: u64::MAX });
    says(&error, &["18446744073709551615"]);
}

#[test]
fn a_header_that_is_not_utf8_is_refused() {
    let mut file = safetensors_file(TWO, 10);
    file[8 + 5] = 0xff;
    let error = Header::parse(&file, file.len() as u64).unwrap_err();
    assert_eq!(error, E::NotUtf8 { at: 5 });
    says(&error, &["byte 5"]);
}

#[test]
fn a_header_that_is_not_an_object_is_refused() {
    assert_eq!(error("[]", 0), E::NotAnObject { first: Some(b'[') });
    assert_eq!(error(" {}", 0), E::NotAnObject { first: Some(b' ') });
    assert_eq!(error("", 0), E::NotAnObject { first: None });
    says(&error("[]", 0), &["0x5b", "{"]);
}

#[test]
fn a_header_that_is_not_json_is_refused() {
    for header in ["{", "{}x", r#"{"a":}"#, r#"{"a":1,}"#, "{a:1}", &format!("{}{}", r#"{"a":"#, "[".repeat(100_000))] {
        let error = error(header, 0);
        assert!(matches!(error, E::Json { .. }), "{error:?}");
        says(&error, &["JSON", "line 1 column"]);
    }
}

#[test]
fn metadata_other_than_texts_is_refused() {
    for metadata in [r#"{"a":1}"#, "[]", "null", r#"{"a":"x","a":"y"}"#] {
        let error = error(&format!(r#"{{"__metadata__":{metadata}}}"#), 0);
        assert!(matches!(error, E::Metadata { .. }), "{error:?}");
        says(&error, &["__metadata__"]);
    }
    says(&error(r#"{"__metadata__":{"k":"x","k":"y"}}"#, 0), &["\"k\"", "twice"]);
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let error = error(&format!(r#"{{"w":{entry},"v":{entry},"\u0077":{entry}}}"#), 1);
    assert_eq!(error, E::DuplicateName { name: "w".to_owned() });
    says(&error, &["\"w\"", "twice"]);
}

#[test]
fn a_name_with_a_control_character_is_refused() {
    let error = error(r#"{"w\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    assert_eq!(error, E::ControlCharacter { name: "w\n".to_owned() });
    says(&error, &[r#""w\n""#]);
}

#[test]
fn a_malformed_entry_is_refused() {
    for entry in [
        "1",
        "null",
        r#"{"shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1]}"#,
        r#"{"dtype":8,"shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0]}"#,
        r#"{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}"#,
        r#"["U8",[1],[0,1]]"#,
    ] {
        let error = error(&format!(r#"{{"w":{entry}}}"#), 1);
        assert!(matches!(&error, E::Entry { name, .. } if name == "w"), "{entry}: {error:?}");
        says(&error, &["\"w\""]);
    }
}

#[test]
fn an_unknown_dtype_is_refused() {
    let error = error(r#"{"w":{"dtype":"bf16","shape":[1],"data_offsets":[0,2]}}"#, 2);
    assert_eq!(error, E::UnknownDType { name: "w".to_owned(), dtype: "bf16".to_owned() });
    says(&error, &["\"w\"", "\"bf16\""]);
}

#[test]
fn a_shape_that_overflows_is_refused() {
    for shape in ["[4294967296,4294967296]", "[9223372036854775807]", "[18446744073709551615,1]"] {
        let error = error(&format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#), 0);
        assert!(matches!(&error, E::ShapeOverflow { name, .. } if name == "w"), "{shape}: {error:?}");
        says(&error, &["\"w\"", "64 bits"]);
    }
}

#[test]
fn a_tensor_that_ends_inside_a_byte_is_refused() {
    let error = error(r#"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, 2);
    assert_eq!(error, E::PartialByte { name: "w".to_owned(), dtype: DType::F4, shape: vec![3] });
    says(&error, &["\"w\"", "F4", "[3]"]);
}

#[test]
fn reversed_offsets_are_refused() {
    let error = error(r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}}"#, 2);
    assert_eq!(error, E::OffsetsReversed { name: "w".to_owned(), start: 2, end: 1 });
    says(&error, &["\"w\"", "[2, 1]"]);
}

#[test]
fn a_truncated_file_is_refused() {
    let file = safetensors_file(TWO, 10);
    for missing in 1..=8 {
        let error = Header::parse(&file, file.len() as u64 - missing).unwrap_err();
        assert_eq!(error, E::BeyondFile { name: "b".to_owned(), end: 10, data_len: 10 - missing });
        says(&error, &["\"b\"", "10", "incomplete"]);
    }
}

#[test]
fn a_size_other_than_the_shapes_is_refused() {
    let error = error(r#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,23]}}"#, 23);
    let expected =
        E::SizeMismatch { name: "w".to_owned(), dtype: DType::F32, shape: vec![2, 3], needed: 24, found: 23 };
    assert_eq!(error, expected);
    says(&error, &["\"w\"", "F32 [2, 3]", "24", "23"]);
}

#[test]
fn a_gap_is_refused() {
    let header =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#;
    let gap = error(header, 4);
    assert_eq!(gap, E::Gap { name: "b".to_owned(), expected: 1, start: 3 });
    says(&gap, &["\"b\"", "byte 3", "at 1"]);
    let first = error(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2);
    assert_eq!(first, E::Gap { name: "a".to_owned(), expected: 0, start: 1 });
}

#[test]
fn an_overlap_is_refused() {
    let header =
        r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}}"#;
    let overlap = error(header, 5);
    let expected = E::Overlap { name: "b".to_owned(), other: "a".to_owned(), start: 2, other_end: 3 };
    assert_eq!(overlap, expected);
    says(&overlap, &["\"a\"", "\"b\"", "byte 2", "at 3"]);
    let same =
        r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
    assert!(matches!(error(same, 3), E::Overlap { .. }));
}

#[test]
fn trailing_bytes_are_refused() {
    let error = error(TWO, 11);
    assert_eq!(error, E::TrailingBytes { end: 10, data_len: 11 });
    says(&error, &["10", "11"]);
}
