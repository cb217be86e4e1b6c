//! An adapter that Python's `peft` made (see `peft/README.md`), read, computed with and written again.
#![allow(clippy::unwrap_used)] // As in any test; clippy does not take these helpers for tests.

use std::sync::Arc;

use kernel::Exec;
use kernel::model::{KvCache, LORA_TARGETS, Logits, Model, Workspace};
use loader::{Checkpoint, Header, Part};
use serde::Deserialize;
use serde_json::{Map, Value};
use session::adapter::{adapter_digest, attach, export};

const CONFIG: &[u8] = include_bytes!("peft/adapter_config.json");
const WEIGHTS: &[u8] = include_bytes!("peft/adapter_model.safetensors");

#[derive(Deserialize)]
struct Reference {
    ids: Vec<u32>,
    torch_f32_max_abs_logit_error: f64,
    largest_change_by_the_adapter: f64,
    logits_f64: Vec<Vec<f64>>,
}

fn base() -> Model {
    let bytes = include_bytes!("peft/model.safetensors").to_vec();
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    let part = Part { file: "model.safetensors".to_string(), header, bytes: Arc::new(bytes) };
    let config = session::config(include_bytes!("peft/config.json")).unwrap();
    session::model(config, &Checkpoint::from_parts(vec![part], None).unwrap()).unwrap()
}

/// The largest distance of the model's logits from the reference's.
fn error(model: &Model, reference: &Reference) -> f64 {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(Exec::serial(), &mut cache, &reference.ids, Logits::All, &mut workspace).unwrap();
    let truth = reference.logits_f64.iter().flatten();
    assert_eq!(workspace.logits().len(), reference.ids.len() * model.config().vocab);
    let errors = workspace.logits().iter().zip(truth).map(|(ours, truth)| (f64::from(*ours) - truth).abs());
    errors.fold(0.0, |largest, error| if error <= largest { largest } else { error })
}

#[test]
fn logits_are_as_near_to_float64_as_those_of_torch() {
    let reference: Reference = serde_json::from_str(include_str!("peft/logits.json")).unwrap();
    let adapted = attach(&base(), CONFIG, WEIGHTS.to_vec()).unwrap();
    let bound = 1.5 * reference.torch_f32_max_abs_logit_error;
    let beside = error(&adapted, &reference);
    assert!(beside <= bound, "{beside:e} is more than {bound:e}");
    let inside = error(&adapted.merged(Exec::serial()), &reference);
    assert!(inside <= bound, "merged: {inside:e} is more than {bound:e}");
    // Without the adapter, or with another scale, the comparison must fail.
    let without = error(&base(), &reference);
    assert!((without - reference.largest_change_by_the_adapter).abs() < 1e-3, "{without}");
    let scaled = String::from_utf8(CONFIG.to_vec()).unwrap().replace("\"lora_alpha\": 5", "\"lora_alpha\": 5.001");
    let scaled = attach(&base(), scaled.as_bytes(), WEIGHTS.to_vec()).unwrap();
    assert!(error(&scaled, &reference) > bound);
}

#[test]
fn what_we_write_is_what_peft_wrote() {
    let adapted = attach(&base(), CONFIG, WEIGHTS.to_vec()).unwrap();
    assert_eq!(adapted.adapter().unwrap().targets(), LORA_TARGETS);
    let files = export(&adapted, "base").unwrap();

    let keys = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes).unwrap();
    let theirs = keys(CONFIG);
    for (key, value) in keys(&files.adapter_config) {
        let (mut ours, mut expected) = (value, theirs[&key].clone());
        match key.as_str() {
            "base_model_name_or_path" => assert_eq!(ours, "base"),
            "target_modules" => {
                // Theirs is a set, in any order.
                for list in [&mut ours, &mut expected] {
                    list.as_array_mut().unwrap().sort_by_key(Value::to_string);
                }
                assert_eq!(ours, expected);
            }
            _ => assert_eq!(ours, expected, "{key}"),
        }
    }

    let header = |bytes: &[u8]| Header::parse(bytes, bytes.len() as u64).unwrap();
    let (ours, theirs) = (header(&files.adapter_model), header(WEIGHTS));
    assert_eq!((ours.tensors().len(), ours.metadata()), (theirs.tensors().len(), theirs.metadata()));
    for (mine, other) in ours.tensors().iter().zip(theirs.tensors()) {
        assert_eq!((&mine.name, mine.dtype, &mine.shape), (&other.name, other.dtype, &other.shape));
        assert!(files.adapter_model[mine.range.clone()] == WEIGHTS[other.range.clone()], "{}", mine.name);
    }
    let again = attach(&base(), &files.adapter_config, files.adapter_model).unwrap();
    assert_eq!(adapter_digest(&again), adapter_digest(&adapted));
}
