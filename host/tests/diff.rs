//! `lockstep diff` names the first difference.

use std::fs;
use std::path::Path;

use kernel::model;
use loader::{Access, Checkpoint};
use serde_json::{Value, json};

use crate::command::{lockstep, run};
use crate::place::Place;
use crate::tiny;

const IDS: &str = "3,1,4,1,5,9,2,6";

impl Place {
    /// Writes what every operator gives for [`IDS`].
    fn values(&self, name: &str, flags: &[&str]) -> String {
        let file = self.file(name);
        let finished =
            self.run("logits", &[&["--prompt-ids", IDS, "--output", &file, "--intermediates"], flags].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        file
    }

    fn diff(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let finished = self.run("diff", &[arguments, &["--json"]].concat());
        (finished.code, serde_json::from_str(&finished.stdout).unwrap_or(Value::Null))
    }

    fn receipt(&self, name: &str, flags: &[&str]) -> String {
        let file = self.file(name);
        let words = ["--prompt-ids", IDS, "--max-tokens", "6", "--receipt", &file];
        assert_eq!(self.run("generate", &[&words[..], flags].concat()).code, Some(0));
        file
    }
}

/// A copy of a file of values in which one element is `ulps` numbers farther from zero.
fn planted(file: &str, tensor: &str, row: usize, element: usize, ulps: u32) -> String {
    let mut bytes = fs::read(file).unwrap();
    let checkpoint = Checkpoint::open_file(Path::new(file), Access::Read).unwrap();
    let (info, _) = checkpoint.tensor(tensor).unwrap();
    let at = info.range.start + 4 * (row * info.shape[1] + element);
    let bits = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) + ulps;
    bytes[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    let copy = format!("{file}.{tensor}");
    fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn a_planted_difference_is_named_at_every_operator() {
    let place = Place::new();
    let values = place.values("v.safetensors", &[]);
    let equal = place.diff(&[&values, &place.values("w.safetensors", &["--backend", "scalar"])]);
    assert_eq!((equal.0, &equal.1["verdict"]), (Some(0), &json!("EQUAL")), "{equal:?}");
    for (number, operator) in model::Place::ALL.into_iter().enumerate() {
        let (row, element, ulps) = (number % 8, number % 5, 1 + number as u32);
        let other = planted(&values, &operator.tensor(1), row, element, ulps);
        let (code, found) = place.diff(&[&values, &other]);
        assert_eq!(code, Some(3), "{found}");
        let layer = if operator.in_layer() { json!(1) } else { Value::Null };
        let expected = [json!(row + 1), layer, json!(operator.op()), json!(element), json!(ulps)];
        assert_eq!(["step", "layer", "op", "element", "ulps"].map(|key| found[key].clone()), expected, "{found}");
        assert_eq!(found["extent"]["values_differ"], 1);
        let bits = |side: &str| u32::from_str_radix(found[side]["bits"].as_str().unwrap(), 16).unwrap();
        assert_eq!(bits("b"), bits("a") + ulps);
        let allowed = format!("{ulps}");
        assert_eq!(place.diff(&[&values, &other, "--max-ulps", &allowed]).0, Some(0));
        assert_eq!(place.diff(&[&values, &other, "--tolerance", "0.001"]).0, Some(0));
    }
}

#[test]
fn the_first_step_comes_before_the_first_layer() {
    let place = Place::new();
    let values = place.values("v.safetensors", &[]);
    let late = planted(&values, "model.layers.0.input_layernorm", 5, 0, 1);
    let early = planted(&late, "model.layers.1.mlp.swiglu", 2, 3, 1);
    let finished = place.run("diff", &[&values, &early]);
    assert_eq!(finished.code, Some(3));
    assert!(finished.stdout.starts_with("DIFFER at step 3, layer 1, mlp.swiglu, element 3: 1 ULP\n"), "{finished:?}");
    assert!(finished.stdout.contains("2 of "), "{finished:?}");
}

#[test]
fn backends_are_equal_and_compared_with_files() {
    let place = Place::new();
    assert_eq!(place.diff(&["scalar", "auto", "--prompt-ids", IDS]).0, Some(0));
    let values = place.values("v.safetensors", &[]);
    // The file tells its text.
    assert_eq!(place.diff(&["scalar", &values]).0, Some(0));
    let other = planted(&values, "model.layers.0.self_attn.attention", 0, 0, 4);
    let (code, found) = place.diff(&[&other, "scalar"]);
    assert_eq!((code, &found["op"], &found["step"]), (Some(3), &json!("self_attn.attention"), &json!(1)));
    // Another model differs from the first step on.
    let other = tiny::write(place.folder.path(), 2);
    let finished = run(lockstep("diff").arg("--model").arg(other).args([&values, "scalar"]), b"");
    assert!(finished.stdout.starts_with("DIFFER at step 1, model.embed_tokens, element 0"), "{finished:?}");
}

#[test]
fn what_cannot_be_compared_is_told_from_what_is_malformed() {
    let place = Place::new();
    let values = place.values("v.safetensors", &[]);
    let receipt = place.receipt("r.json", &[]);
    for (arguments, code) in [
        (vec!["scalar", "scalar"], 4),
        (vec!["scalar", &values, "--prompt-ids", "1,2"], 4),
        (vec!["scalar", &receipt], 4),
        (vec![&place.model.join("model.safetensors").display().to_string(), &values], 4),
        (vec![&place.model.join("config.json").display().to_string(), &receipt], 5),
        (vec![&place.model.join("tokenizer.json").display().to_string(), &receipt], 5),
        (vec!["x87", &values], 1),
    ] {
        assert_eq!(place.diff(&arguments).0, Some(code), "{arguments:?}");
    }
}

#[test]
fn receipts_differ_at_a_step_and_the_model_says_which_is_right() {
    let place = Place::new();
    let receipt = place.receipt("r.json", &[]);
    assert_eq!(place.diff(&[&receipt, &receipt]).0, Some(0));
    let mut keys: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    let right = keys["generation"]["logits_sha256"][3].clone();
    keys["generation"]["logits_sha256"][3] = json!("ab".repeat(32));
    let changed = place.file("changed.json");
    fs::write(&changed, keys.to_string()).unwrap();
    let (code, found) = place.diff(&[&changed, &receipt]);
    assert_eq!(code, Some(3), "{found}");
    assert_eq!((&found["step"], &found["op"]), (&json!(4), &json!("generation.logits_sha256")));
    assert_eq!((&found["a"], &found["b"]), (&json!("ab".repeat(32)), &right));
    let computed = [&found["computed"]["a"], &found["computed"]["b"]];
    assert_eq!(computed.map(|side| &side["verdict"]), ["MISMATCH", "MATCH"]);
    assert_eq!(computed[0]["step"], 4);

    // Another request is named, beside the first step.
    let other = place.receipt("other.json", &["--temperature", "1.5", "--seed", "7"]);
    let (_, found) = place.diff(&[&receipt, &other]);
    let members = found["members"].as_array().unwrap();
    for member in ["generation.request.sampler.seed", "generation.request.sampler.temperature", "transcript_sha256"] {
        assert!(members.contains(&json!(member)), "{found}");
    }
    assert!(found["step"].is_u64(), "{found}");
}

#[test]
fn a_receipt_is_compared_with_a_file_of_logits() {
    let place = Place::new();
    let receipt = place.receipt("r.json", &[]);
    let keys: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    let ids: Vec<String> = keys["generation"]["token_ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    let (file, text) = (place.file("l.safetensors"), format!("{IDS},{}", ids.join(",")));
    assert_eq!(place.run("logits", &["--prompt-ids", &text, "--output", &file]).code, Some(0));
    let (code, found) = place.diff(&[&receipt, &file]);
    assert_eq!((code, &found["what"]), (Some(0), &json!("the logits of 6 of 6 steps")), "{found}");
    // The prompt has 8 tokens: its last position is the first step.
    let (code, found) = place.diff(&[&planted(&file, "logits", 9, 100, 1), &receipt]);
    assert_eq!((code, &found["step"]), (Some(3), &json!(3)), "{found}");
    let file = planted(&file, "logits", 6, 100, 1);
    assert_eq!(place.diff(&[&receipt, &file]).0, Some(0), "what is before the first step is not in a receipt");
}
