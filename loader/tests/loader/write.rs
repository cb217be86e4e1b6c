//! Writing: what is written can be read, and what cannot be written leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use loader::digest::weights_digest;
use loader::{
    Access, Checkpoint, DType, SafeFile, TensorSource, WriteError as E, safetensors_bytes, write_safetensors,
};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn source<'a>(name: &'a str, dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> TensorSource<'a> {
    TensorSource { name, dtype, shape, bytes }
}

#[test]
fn what_is_written_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let metadata: BTreeMap<String, String> = [("format".to_owned(), "p\"t".to_owned())].into();
    let tensors = [
        source("z\"é", DType::F32, &[1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]),
        source("byte", DType::U8, &[3], &[9, 8, 7]),
        source("a", DType::F32, &[], &[4, 3, 2, 1]),
        source("none", DType::I64, &[0, 5], &[]),
    ];
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let checkpoint = Checkpoint::open(dir.path(), Access::default()).unwrap();
    assert_eq!(weights_digest(tensors.iter().map(TensorSource::digest)), checkpoint.digest());
    for tensor in &tensors {
        let (info, _) = checkpoint.tensor(tensor.name).unwrap();
        assert_eq!((info.dtype, &info.shape[..]), (tensor.dtype, tensor.shape));
        assert_eq!(checkpoint.tensor_bytes(tensor.name), Some(tensor.bytes));
        assert_eq!(info.range.start % (tensor.dtype.bits() as usize / 8), 0, "{} is aligned", tensor.name);
    }
    let header = checkpoint.shards()[0].header();
    assert_eq!(header.metadata(), [("format".to_owned(), "p\"t".to_owned())]);
    let order: Vec<&str> = header.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(order, ["none", "a", "z\"é", "byte"], "wide elements first, then names");
    assert_eq!(names(dir.path()), ["model.safetensors"]);

    let before = fs::read(&path).unwrap();
    let mut reversed = tensors;
    reversed.reverse();
    write_safetensors(&path, &reversed, &metadata).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "equal tensors give equal bytes");
    assert_eq!(safetensors_bytes(&tensors, &metadata).unwrap(), before, "in memory as in a file");
}

#[test]
fn wrong_tensors_are_refused_and_leave_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    fs::write(&path, b"old").unwrap();
    let refuse = |tensors: &[TensorSource<'_>]| write_safetensors(&path, tensors, &BTreeMap::new()).unwrap_err();
    let byte = |name| source(name, DType::U8, &[1], &[0]);
    for tensors in [vec![byte("a"), byte("a")], vec![byte("__metadata__")], vec![byte("a\nb")]] {
        let error = refuse(&tensors);
        assert!(matches!(&error, E::Name { name } if name == tensors[0].name), "{error}");
    }
    for (shape, bytes) in [(&[2, 2][..], &[0; 7][..]), (&[usize::MAX, 2], &[]), (&[], &[])] {
        let error = refuse(&[source("w", DType::F16, shape, bytes)]);
        assert!(matches!(&error, E::Size { .. }) && error.to_string().contains("\"w\""), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["model.safetensors"]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone").join("model.safetensors");
    let error = write_safetensors(&path, &[], &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, E::Io { .. }) && error.to_string().contains("gone"), "{error}");
}

#[test]
fn a_file_that_is_not_committed_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"old").unwrap();
    let mut file = SafeFile::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old", "the target is untouched until the commit");
    assert_eq!(names(dir.path()).len(), 2);
    drop(file);
    assert_eq!(names(dir.path()), ["file"]);
    SafeFile::write(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["file"]);
    assert!(SafeFile::create(Path::new("/")).is_err());
}
