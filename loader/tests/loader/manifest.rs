//! `manifest.json`.

use loader::digest::sha256;
use loader::manifest::{Manifest, ManifestError as E, ManifestFile};

fn manifest() -> Manifest {
    let file = |name: &str| ManifestFile { name: name.to_owned(), size: 3, sha256: sha256(name.as_bytes()) };
    Manifest {
        name: "Model".to_owned(),
        source: "hub".to_owned(),
        revision: Some("abc".to_owned()),
        files: vec![file("config.json"), file("model.safetensors")],
        weights_sha256: sha256(b"weights"),
        tensors: [("a".to_owned(), sha256(b"a")), ("b".to_owned(), sha256(b"b"))].into(),
    }
}

#[test]
fn a_manifest_is_read_as_it_is_written() {
    let written = manifest();
    let text = written.to_json();
    assert!(text.ends_with("}\n"));
    assert_eq!(Manifest::from_json(text.as_bytes()), Ok(written.clone()));
    assert_eq!(written.file("config.json"), Some(&written.files[0]));
    assert_eq!(written.file("other"), None);
    let without = Manifest { revision: None, ..written };
    assert!(!without.to_json().contains("revision"));
    assert_eq!(Manifest::from_json(without.to_json().as_bytes()), Ok(without));
}

#[test]
fn a_malformed_manifest_is_refused() {
    let text = manifest().to_json();
    let digest = loader::digest::hex(&sha256(b"weights"));
    for (from, to, part) in [
        ("{", "[", "malformed"),
        ("\"size\": 3", "\"size\": -3", "-3"),
        (digest.as_str(), "beef", "\"beef\""),
        ("\"b\":", "\"a\":", "\"a\" is listed twice"),
        ("\"source\"", "\"sauce\"", "source"),
    ] {
        let error = Manifest::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, E::Json { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let file = format!(r#"["config.json",3,"{digest}"]"#);
    for text in [
        format!(r#"["tiny","hub",null,[],"{digest}",{{}}]"#),
        format!(r#"{{"name":"tiny","source":"hub","files":[{file}],"weights_sha256":"{digest}","tensors":{{}}}}"#),
    ] {
        let error = Manifest::from_json(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("a JSON object"), "{error}");
    }
}

#[test]
fn file_names_are_plain_and_unique() {
    for name in ["../config.json", "/etc/passwd", "a\\\\b", ""] {
        let text = manifest().to_json().replace("config.json", name);
        let error = Manifest::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, E::FileName { .. }), "{name}: {error:?}");
    }
    let text = manifest().to_json().replace("config.json", "model.safetensors");
    let error = Manifest::from_json(text.as_bytes()).unwrap_err();
    assert_eq!(error, E::FileTwice { name: "model.safetensors".to_owned() });
    assert!(error.to_string().contains("\"model.safetensors\" twice"), "{error}");
}
