use super::*;
use kernel::Exec;
use kernel::golden::Tiny;
use kernel::model::{Config, KvCache, Logits, RawTensor, Workspace, parameters};
use serde_json::{Value, json};

/// Two layers, wide enough for every target to have a shape of its own.
fn model() -> Model {
    let config =
        Config { vocab: 11, dim: 8, hidden: 20, heads: 2, kv_heads: 1, head_dim: 6, context: 16, ..Tiny::One.config() };
    let table = parameters(&config);
    let source = |name: &str| {
        let row = table.iter().position(|row| row.name == name)?;
        let shape = table[row].shape.clone();
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 + row * 11) % 29) as f32 / 29.0 - 0.5).collect();
        Some(RawTensor::from_f32(shape, &values))
    };
    Model::load(config, &source).unwrap()
}

/// The model with an adapter whose B is not zero.
fn adapted(rank: usize, alpha: f64, targets: &[&str]) -> Model {
    let model = model();
    let lora = LoraConfig::new(model.config(), rank, alpha, targets).unwrap();
    let tensors = lora.initial(model.config(), 5);
    let source = |name: &str| {
        let (row, values) = tensors.iter().find(|(row, _)| row.name == name)?;
        let values: Vec<f32> = values.iter().zip(1..).map(|(v, i)| v + 0.01 * i as f32).collect();
        Some(RawTensor::from_f32(row.shape.clone(), &values))
    };
    model.with_adapter(&lora, &source).unwrap()
}

fn logits(model: &Model) -> Vec<u32> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(Exec::serial(), &mut cache, &[1, 7, 3, 0], Logits::All, &mut workspace).unwrap();
    workspace.logits().iter().map(|logit| logit.to_bits()).collect()
}

/// The exported settings with some changed.
fn settings(files: &AdapterFiles, changes: &Value) -> Vec<u8> {
    let mut keys: Value = serde_json::from_slice(&files.adapter_config).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        keys[key] = value.clone();
    }
    keys.to_string().into_bytes()
}

/// An adapter file of these tensors.
fn file(tensors: &[(&str, loader::DType, &[usize], Vec<u8>)]) -> Vec<u8> {
    let sources = tensors.iter().map(|(name, dtype, shape, bytes)| TensorSource { name, dtype: *dtype, shape, bytes });
    safetensors_bytes(&sources.collect::<Vec<_>>(), &[].into()).unwrap()
}

#[test]
fn what_is_exported_comes_back_bit_for_bit() {
    for (targets, alpha) in [(&DEFAULT_TARGETS[..], DEFAULT_ALPHA), (&kernel::model::LORA_TARGETS, 0.3)] {
        let adapted = adapted(2, alpha, targets);
        let files = export(&adapted, "base").unwrap();
        let again = attach(&model(), &files.adapter_config, files.adapter_model.clone()).unwrap();
        assert_eq!(logits(&again), logits(&adapted));
        assert_ne!(logits(&again), logits(&model()));
        assert_eq!(adapter_digest(&again), adapter_digest(&adapted));
        assert_eq!(export(&again, "base").unwrap(), files);
        let replaced = attach(&again, &files.adapter_config, files.adapter_model).unwrap();
        assert_eq!(logits(&replaced), logits(&adapted));
    }
    assert!(export(&model(), "base").is_none() && adapter_digest(&model()).is_none());
}

#[test]
fn the_digest_covers_tensors_and_scale() {
    let of = |rank, alpha, targets: &[&str]| adapter_digest(&adapted(rank, alpha, targets)).unwrap();
    let digest = of(2, 4.0, &["q_proj"]);
    for other in [of(2, 5.0, &["q_proj"]), of(3, 4.0, &["q_proj"]), of(2, 4.0, &["o_proj"])] {
        assert_ne!(other, digest);
    }
    let model = adapted(2, 4.0, &["q_proj"]);
    let files = export(&model, "x").unwrap();
    let header = Header::parse(&files.adapter_model, files.adapter_model.len() as u64).unwrap();
    let mut lines: Vec<String> = header
        .tensors()
        .iter()
        .map(|t| {
            let hash = loader::digest::hex(&sha256(&files.adapter_model[t.range.clone()]));
            format!("{} F32 [{},{}] {hash}\n", t.name, t.shape[0], t.shape[1])
        })
        .collect();
    lines.push(format!("lora_alpha F64 [] {}\n", loader::digest::hex(&sha256(&4.0_f64.to_le_bytes()))));
    lines.sort();
    assert_eq!(sha256(lines.concat().as_bytes()), digest);
}

#[test]
fn settings_that_change_nothing_are_taken_and_others_refused_by_name() {
    let files = export(&adapted(2, 4.0, &["q_proj", "v_proj"]), "base").unwrap();
    let read = |changes: Value| {
        let config = settings(&files, &changes);
        attach(&model(), &config, files.adapter_model.clone()).map_err(|error| error.to_string())
    };
    for taken in [
        json!({ "lora_dropout": 0.1, "revision": "main", "peft_version": "0.21.2", "inference_mode": false }),
        json!({ "use_dora": null, "rank_pattern": {}, "alpha_pattern": null, "modules_to_save": [], "bias": null }),
        json!({ "megatron_core": "megatron.core", "qalora_group_size": 16, "task_type": null, "not_yet_known": null }),
        json!({ "init_lora_weights": "gaussian" }),
        json!({ "target_modules": ["self_attn.q_proj", "v_proj", "model.layers.1.self_attn.v_proj"] }),
    ] {
        read(taken.clone()).unwrap_or_else(|error| panic!("{taken}: {error}"));
    }
    for refused in [
        json!({ "use_rslora": true }),
        json!({ "use_dora": true }),
        json!({ "rank_pattern": { "q_proj": 4 } }),
        json!({ "alpha_pattern": { "q_proj": 4 } }),
        json!({ "modules_to_save": ["lm_head"] }),
        json!({ "bias": "lora_only" }),
        json!({ "layers_to_transform": [0] }),
        json!({ "layers_to_transform": 1 }),
        json!({ "fan_in_fan_out": true }),
        json!({ "lora_bias": true }),
        json!({ "init_lora_weights": "pissa" }),
        json!({ "task_type": "SEQ_CLS" }),
        json!({ "peft_type": "IA3" }),
        json!({ "target_modules": "all-linear" }),
        json!({ "target_modules": [1] }),
        json!({ "target_modules": ["q_proj", "lm_head"] }),
        json!({ "target_modules": ["proj"] }),
        json!({ "r": 1.5 }),
        json!({ "lora_alpha": "4" }),
        json!({ "not_yet_known": 1 }),
    ] {
        let (key, value) = refused.as_object().unwrap().iter().next().unwrap();
        let error = read(refused.clone()).unwrap_err();
        let value = if value.is_array() && key == "target_modules" {
            &value[value.as_array().unwrap().len() - 1]
        } else {
            value
        };
        assert!(error.contains(key) && error.contains(&value.to_string()), "{refused}: {error}");
    }
    for (key, word) in [("r", "rank"), ("lora_alpha", "lora_alpha"), ("target_modules", "list"), ("peft_type", "LORA")]
    {
        let error = read(json!({ key: null })).unwrap_err();
        assert!(error.contains(key) && error.contains(word), "{error}");
    }
    let some = read(json!({ "target_modules": ["q_proj", "model.layers.1.self_attn.v_proj"] })).unwrap_err();
    assert!(some.contains("v_proj in 1 of the model's 2 layers"), "{some}");
    let rank = read(json!({ "r": 9 })).unwrap_err();
    assert!(rank.contains("rank is 9") && rank.contains("1 to 8"), "{rank}");
    assert!(matches!(attach(&model(), b"[]", vec![]), Err(AdapterError::Json(_))));
}

#[test]
fn the_tensors_are_those_that_the_settings_ask_for() {
    let files = export(&adapted(1, 4.0, &["q_proj"]), "base").unwrap();
    let name =
        |layer: usize, part: char| format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight");
    let names = [name(0, 'A'), name(0, 'B'), name(1, 'A'), name(1, 'B')];
    let sizes = [8, 12, 8, 12];
    // 0.5 in each of the three types that widen exactly.
    let halves = [
        (loader::DType::F32, vec![0, 0, 0, 0x3f]),
        (loader::DType::Bf16, vec![0, 0x3f]),
        (loader::DType::F16, vec![0, 0x38]),
        (loader::DType::F64, vec![0, 0, 0, 0, 0, 0, 0xe0, 0x3f]),
    ];
    let tensors =
        |dtype: loader::DType, number: &[u8], count: usize| -> Vec<(String, loader::DType, Vec<usize>, Vec<u8>)> {
            let row = |(name, size): (&String, usize)| {
                let shape = if name.ends_with("A.weight") { vec![1, size] } else { vec![size, 1] };
                (name.clone(), dtype, shape, number.repeat(size))
            };
            names.iter().zip(sizes).map(row).take(count).collect()
        };
    let read = |tensors: &[(String, loader::DType, Vec<usize>, Vec<u8>)]| {
        let rows: Vec<_> = tensors.iter().map(|(n, d, s, b)| (n.as_str(), *d, &s[..], b.clone())).collect();
        attach(&model(), &files.adapter_config, file(&rows))
    };
    let expected = adapter_digest(&read(&tensors(halves[0].0, &halves[0].1, 4)).unwrap());
    for (dtype, number) in &halves[1..3] {
        assert_eq!(adapter_digest(&read(&tensors(*dtype, number, 4)).unwrap()), expected, "{dtype}");
    }
    let wide = read(&tensors(halves[3].0, &halves[3].1, 4)).unwrap_err();
    assert!(matches!(wide, AdapterError::Element { dtype: loader::DType::F64, .. }), "{wide}");

    let all = tensors(loader::DType::F32, &halves[0].1, 4);
    let Err(AdapterError::Missing { name: missing, shape }) = read(&all[..3]) else { panic!("one is missing") };
    assert_eq!((missing, shape), (name(1, 'B'), vec![12, 1]));
    let mut extra = all.clone();
    extra.push(("base_model.model.lm_head.lora_A.weight".to_string(), loader::DType::F32, vec![0], vec![]));
    assert!(matches!(read(&extra), Err(AdapterError::Extra { name }) if name.contains("lm_head")));
    let mut turned = all.clone();
    turned[2].2.reverse();
    let Err(AdapterError::Shape { found, expected, .. }) = read(&turned) else { panic!("it is turned") };
    assert_eq!((found, expected), (vec![8, 1], vec![1, 8]));
    let mut infinite = all.clone();
    infinite[3].3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let error = read(&infinite).unwrap_err();
    assert!(matches!(&error, AdapterError::NotFinite { name: bad } if *bad == name(1, 'B')), "{error}");
    let short = attach(&model(), &files.adapter_config, vec![1, 2, 3]).unwrap_err();
    assert!(matches!(short, AdapterError::Safetensors(_)), "{short}");
}

#[test]
fn gradients_of_an_adapter_are_counted_by_its_own_weights() {
    let bytes = |model: &Model, trained| crate::memory::gradients_bytes(model, 5, false, trained);
    let (base, with_adapter) = (model(), adapted(2, 4.0, &["q_proj"]));
    let all: usize = parameters(base.config()).iter().map(|row| row.shape.iter().product::<usize>()).sum();
    // A and B of both layers' queries: 2 x 8 and 12 x 2.
    assert_eq!(bytes(&base, false) - bytes(&with_adapter, false), 4 * (all as u64 - 2 * (16 + 24)));
    assert_eq!(bytes(&base, true) - bytes(&base, false), 4 * all as u64);
}
