//! Model folders: one file, shards with an index, mapped, read, or from memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use loader::digest::hex;
use loader::{Access, Checkpoint, CheckpointError as E, Header, Part};

use crate::safetensors_file;

const INDEX: &str = "model.safetensors.index.json";
const THREE: &str = r#"{"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},
    "b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#;
const A_AND_C: &str =
    r#"{"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;

/// A file with the tensors of these names, one byte each.
fn file(names: &[&str]) -> Vec<u8> {
    let entry = |(at, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{}]}}"#, at + 1)
    };
    let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
    safetensors_file(&format!("{{{}}}", entries.join(",")), names.len())
}

fn index(weight_map: &[(&str, &str)]) -> String {
    let entries: Vec<String> = weight_map.iter().map(|(tensor, file)| format!(r#""{tensor}":"{file}""#)).collect();
    format!(r#"{{"metadata":{{"total_size":3}},"weight_map":{{{}}}}}"#, entries.join(","))
}

fn accesses() -> Vec<Access> {
    vec![
        Access::Read,
        #[cfg(feature = "mmap")]
        Access::Map,
    ]
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Opens the folder in every way; all must agree on the error.
fn open_error(dir: &Path) -> E {
    let mut errors: Vec<E> = accesses().into_iter().map(|access| Checkpoint::open(dir, access).unwrap_err()).collect();
    assert!(errors.windows(2).all(|pair| pair[0].to_string() == pair[1].to_string()), "{errors:?}");
    errors.remove(0)
}

fn sharded(weight_map: &[(&str, &str)]) -> E {
    let dir = folder(&[
        ("x.safetensors", &file(&["a", "b"])),
        ("y.safetensors", &file(&["c"])),
        (INDEX, index(weight_map).as_bytes()),
    ]);
    open_error(dir.path())
}

#[test]
fn a_single_file_and_its_shards_hold_the_same_weights() {
    let single = folder(&[("model.safetensors", &safetensors_file(THREE, 3))]);
    let shards = folder(&[
        ("x.safetensors", &safetensors_file(A_AND_C, 2)),
        ("y.safetensors", &{
            let mut file = file(&["b"]);
            *file.last_mut().unwrap() = 2;
            file
        }),
        (INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors"), ("c", "x.safetensors")]).as_bytes()),
    ]);
    for access in accesses() {
        let single = Checkpoint::open(single.path(), access).unwrap();
        let shards = Checkpoint::open(shards.path(), access).unwrap();
        assert_eq!((single.shards().len(), shards.shards().len()), (1, 2));
        for name in ["a", "b", "c"] {
            assert_eq!(single.tensor_bytes(name), shards.tensor_bytes(name), "{name}");
            assert_eq!(single.tensor(name).unwrap().0.name, name);
        }
        assert_eq!(single.tensor_bytes("c"), Some(&[0][..]));
        assert!(single.tensor("d").is_none() && shards.tensor_bytes("d").is_none());
        assert_eq!(single.tensors().count(), shards.tensors().count());
        assert_eq!(hex(&single.digest()), hex(&shards.digest()));
    }
}

#[test]
fn the_digest_depends_on_every_byte() {
    let digest = |bytes: &[u8]| {
        let dir = folder(&[("model.safetensors", bytes)]);
        Checkpoint::open(dir.path(), Access::Read).unwrap().digest()
    };
    let file = safetensors_file(THREE, 3);
    let mut other = file.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_ne!(digest(&file), digest(&other));
}

#[test]
fn parts_in_memory_are_the_folder() {
    let part = |name: &str, bytes: Vec<u8>| {
        let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
        Part { file: name.to_owned(), header, bytes: Arc::new(bytes) }
    };
    let both = || vec![part("x.safetensors", file(&["a", "b"])), part("y.safetensors", file(&["c"]))];
    let map = index(&[("a", "x.safetensors"), ("b", "x.safetensors"), ("c", "y.safetensors")]);
    let checkpoint = Checkpoint::from_parts(both(), Some(map.as_bytes())).unwrap();
    assert_eq!(checkpoint.tensor_bytes("b"), Some(&[1][..]));
    assert!(Checkpoint::from_parts(vec![part("one", file(&["a"]))], None).is_ok());

    let error = Checkpoint::from_parts(both(), None).unwrap_err();
    assert!(matches!(error, E::IndexNeeded { files: 2 }) && error.to_string().contains('2'), "{error}");
    assert!(matches!(Checkpoint::from_parts(vec![], None), Err(E::IndexNeeded { files: 0 })));

    let mut short = both();
    short[1].bytes = Arc::new(file(&["c"])[1..].to_vec());
    let error = Checkpoint::from_parts(short, Some(map.as_bytes())).unwrap_err();
    let whole = file(&["c"]).len();
    assert!(
        matches!(&error, E::Length { expected, found, .. } if (*expected, *found) == (whole, whole - 1)),
        "{error}"
    );
    assert!(error.to_string().contains("y.safetensors"), "{error}");

    let mut twice = both();
    twice.push(part("y.safetensors", file(&["c"])));
    let error = Checkpoint::from_parts(twice, Some(map.as_bytes())).unwrap_err();
    assert!(matches!(&error, E::FileTwice { file } if file == "y.safetensors"), "{error}");
}

#[test]
fn a_folder_without_weights_is_refused() {
    let dir = folder(&[]);
    let error = open_error(dir.path());
    assert!(matches!(error, E::NotFound { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = folder(&[(INDEX, index(&[("a", "gone.safetensors")]).as_bytes())]);
    let error = open_error(dir.path());
    assert!(matches!(&error, E::Io { path, .. } if path.ends_with("gone.safetensors")), "{error}");
    let dir = folder(&[]);
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    for access in accesses() {
        let error = Checkpoint::open(dir.path(), access).unwrap_err();
        assert!(matches!(&error, E::Io { path, .. } if path.ends_with("model.safetensors")), "{error}");
    }
}

#[test]
fn a_truncated_file_is_refused_with_its_name() {
    let whole = safetensors_file(THREE, 3);
    let dir = folder(&[("model.safetensors", &whole[..whole.len() - 1])]);
    let error = open_error(dir.path());
    assert!(matches!(&error, E::Safetensors { file, .. } if file == "model.safetensors"), "{error}");
    let dir = folder(&[("model.safetensors", b"")]);
    assert!(matches!(open_error(dir.path()), E::Safetensors { .. }));
}

#[test]
fn an_index_that_is_malformed_is_refused() {
    for (text, part) in [
        ("", "JSON"),
        ("[]", "JSON"),
        (r#"{"metadata":{}}"#, "weight_map"),
        (r#"{"weight_map":{"a":1}}"#, "JSON"),
        (r#"[{"a":"x"}]"#, "a JSON object"),
        (r#"{"weight_map":{}}"#, "empty"),
        (r#"{"weight_map":{"a":"x","a":"x"}}"#, "\"a\" twice"),
    ] {
        let dir = folder(&[(INDEX, text.as_bytes())]);
        let error = open_error(dir.path());
        assert!(matches!(error, E::Index { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn an_index_leads_nowhere_else() {
    for name in ["../x.safetensors", "/x", "..", ".", "", "a/b", r"a\\b", "c:x", r"x\u0000"] {
        let error = sharded(&[("a", name)]);
        assert!(matches!(&error, E::FileName { tensor, .. } if tensor == "a"), "{name}: {error}");
        assert!(error.to_string().contains("\"a\""), "{error}");
    }
}

#[test]
fn a_tensor_that_its_file_lacks_is_refused() {
    let error =
        sharded(&[("a", "x.safetensors"), ("b", "x.safetensors"), ("c", "y.safetensors"), ("d", "y.safetensors")]);
    assert!(matches!(&error, E::Missing { tensor, file } if tensor == "d" && file == "y.safetensors"), "{error}");
    assert!(error.to_string().contains("\"d\""), "{error}");
}

#[test]
fn a_tensor_that_the_index_lacks_or_places_elsewhere_is_refused() {
    let error = sharded(&[("a", "x.safetensors"), ("c", "y.safetensors")]);
    assert!(matches!(&error, E::Unlisted { tensor, listed: None, .. } if tensor == "b"), "{error}");
    assert!(error.to_string().contains("\"b\"") && error.to_string().contains("x.safetensors"), "{error}");
    let error = sharded(&[("a", "x.safetensors"), ("b", "y.safetensors"), ("c", "y.safetensors")]);
    assert!(matches!(&error, E::Unlisted { tensor, listed: Some(_), .. } if tensor == "b"), "{error}");
    assert!(error.to_string().contains("y.safetensors"), "{error}");
}
