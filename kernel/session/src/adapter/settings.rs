//! `adapter_config.json`.
//!
//! Null, false and empty values are as good as absent, as they are the defaults of what is not used.

use kernel::model::{Config, LORA_TARGETS, LoraConfig, parameters};
use serde_json::{Map, Value, json};

use super::AdapterError;

/// Settings that change nothing of what an adapter computes.
const WITHOUT_EFFECT: [&str; 10] = [
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
];

/// Ways to begin an adapter that leave the base weights alone.
const BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

const MERGE: &str = "train an adapter without it, or merge this one into its base in Python (merge_and_unload) and use \
                     the model that gives";
const RSLORA: &str = "set it to false and lora_alpha to lora_alpha times the square root of r, which is the same";
const BEGUN: &str = "its base weights are not those of the model: save it in Python with \
                     path_initial_model_for_weight_conversion, which makes a plain adapter of it";
const TARGETS: &str = "give a list of layers, such as [\"q_proj\", \"v_proj\"]";
const RANK: &str = "give an integer of at least 1";
const NUMBER: &str = "give a number above 0";
const LORA: &str = "only \"LORA\" is";
const TASK: &str = "only \"CAUSAL_LM\" is";

/// Reads the settings of an adapter for a model of that shape.
pub(super) fn read(bytes: &[u8], config: &Config) -> Result<LoraConfig, AdapterError> {
    let keys: Map<String, Value> = serde_json::from_slice(bytes).map_err(AdapterError::Json)?;
    let refused = |key: &str, value: &Value, advice| {
        let value: String = value.to_string().chars().take(80).collect();
        AdapterError::Setting { key: key.to_string(), value, advice }
    };
    let needed =
        |key, wanted| keys.get(key).filter(|value| !value.is_null()).ok_or(AdapterError::Absent { key, wanted });

    let kind = needed("peft_type", "\"LORA\"")?;
    if kind != "LORA" {
        return Err(refused("peft_type", kind, LORA));
    }
    for (key, value) in &keys {
        let absent = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(values) => values.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        let advice = match key.as_str() {
            "peft_type" | "r" | "lora_alpha" | "target_modules" => continue,
            key if absent || WITHOUT_EFFECT.contains(&key) => continue,
            "task_type" if value == "CAUSAL_LM" => continue,
            "bias" if value == "none" => continue,
            "init_lora_weights" if value == &Value::Bool(true) => continue,
            "init_lora_weights" if value.as_str().is_some_and(|value| BEGINNINGS.contains(&value)) => continue,
            "task_type" => TASK,
            "init_lora_weights" => BEGUN,
            "use_rslora" => RSLORA,
            _ => MERGE,
        };
        return Err(refused(key, value, advice));
    }

    let rank = needed("r", "the adapter's rank")?;
    let size = rank.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0);
    let size = size.ok_or_else(|| refused("r", rank, RANK))?;
    let alpha = needed("lora_alpha", "a number, which divided by r scales the adapter")?;
    let number = alpha.as_f64().ok_or_else(|| refused("lora_alpha", alpha, NUMBER))?;
    let modules = needed("target_modules", "a list of layers")?;
    let names: Option<Vec<&str>> = modules.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| refused("target_modules", modules, TARGETS))?;
    LoraConfig::new(config, size, number, &targets(&names, config)?).map_err(AdapterError::Lora)
}

/// The kinds of layers that have an adapter. As in `peft`, an entry stands for every module whose name it is, or whose name ends
/// in a dot and it.
fn targets(entries: &[&str], config: &Config) -> Result<Vec<&'static str>, AdapterError> {
    let (parameters, layers) = (parameters(config), config.layers);
    let modules = || parameters.iter().filter_map(|parameter| parameter.name.strip_suffix(".weight"));
    let mut used = vec![false; entries.len()];
    let mut targets = vec![];
    for target in LORA_TARGETS {
        let mut named = 0;
        for name in modules().filter(|name| name.rsplit('.').next() == Some(target)) {
            let stands_for =
                |entry: &str| name.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let found = entries.iter().zip(&mut used).filter(|(entry, _)| stands_for(entry));
            let found = found.fold(0, |found, (_, used)| {
                *used = true;
                found + 1
            });
            named += usize::from(found > 0);
        }
        match named {
            0 => {}
            _ if named == layers => targets.push(target),
            _ => return Err(AdapterError::SomeLayers { target, named, layers }),
        }
    }
    match entries.iter().zip(&used).find(|(_, used)| !**used) {
        Some((entry, _)) => Err(AdapterError::Target(entry.to_string())),
        None => Ok(targets),
    }
}

/// The settings as `peft` reads them.
pub(super) fn write(lora: &LoraConfig, base_name: &str) -> Vec<u8> {
    let alpha = lora.alpha();
    // `peft` itself writes integers.
    let alpha = if alpha.fract() == 0.0 && alpha < 1e15 { json!(alpha as u64) } else { json!(alpha) };
    let targets: Vec<&str> = LORA_TARGETS.into_iter().filter(|name| lora.targets().iter().any(|t| t == name)).collect();
    let keys = json!({
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank(),
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    });
    format!("{keys:#}\n").into_bytes()
}
