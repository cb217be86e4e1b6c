//! Low-rank adapters of the real model: trained, used, merged, and refused.

use std::fs;
use std::path::Path;

use kernel::simd::Backend;
use loader::{Access, Checkpoint};
use serde_json::{Value, json};

use crate::command::{lockstep, run, run_with_model};
use crate::place::names;

const TEXT: &str = "The cat sat on the mat and purred loudly.";

/// The lines of a training of an adapter.
fn train(steps: &str, flags: &[&str]) -> Vec<Value> {
    let fixed = ["--text", TEXT, "--steps", steps, "--optimizer", "adamw", "--learning-rate", "0.003", "--json"];
    let finished = run_with_model("train", &[&fixed[..], flags].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn generate(flags: &[&str]) -> Value {
    run_with_model("generate", &[&["--prompt", "The cat", "--max-tokens", "4", "--json"], flags].concat()).json()
}

/// One adapter, from its training to the merge; its bits depend on no thread, instruction set or way of computing.
#[test]
fn an_adapter_is_trained_saved_used_continued_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (dir, merged) = (path("adapter"), path("merged"));
    let lines = train("3", &["--method", "lora", "--save", &dir]);
    let [first, .., third, end] = &lines[..] else { panic!("{lines:?}") };
    assert!(third["loss"].as_f64() < first["loss"].as_f64(), "{lines:?}");
    assert_eq!(end["weights_sha256"], end["base_weights_sha256"]);
    let adapter = &end["adapter_sha256"];
    assert!(adapter.is_string() && *adapter != end["base_adapter_sha256"], "{end}");
    assert_eq!(names(&dir), ["adapter_config.json", "adapter_model.safetensors", "provenance.json"]);

    let other = train("3", &["--method", "lora", "--threads", "1", "--recompute", "--backend", Backend::SCALAR.name()]);
    assert_eq!((&other[3]["adapter_sha256"], &other[3]["transcript_sha256"]), (adapter, &end["transcript_sha256"]));
    for flags in [["--seed", "1"], ["--lora-rank", "4"], ["--lora-alpha", "8"], ["--lora-targets", "q_proj"]] {
        let other = &train("1", &[&["--method", "lora"], &flags[..]].concat())[1];
        assert_ne!(other["base_adapter_sha256"], end["base_adapter_sha256"], "{flags:?}");
        assert_ne!(other["transcript_sha256"], end["transcript_sha256"], "{flags:?}");
    }

    let (base, with) = (generate(&[]), generate(&["--adapter", &dir]));
    assert_eq!((&base["adapter_sha256"], &with["adapter_sha256"]), (&Value::Null, adapter));
    assert_eq!(with["weights_sha256"], base["weights_sha256"]);
    assert_ne!(with["logits_sha256"], base["logits_sha256"]);
    assert_ne!(with["transcript_sha256"], base["transcript_sha256"]);
    assert_eq!(generate(&["--adapter", &dir, "--threads", "1"])["transcript_sha256"], with["transcript_sha256"]);

    let continued = train("1", &["--adapter", &dir]);
    assert_eq!(continued[1]["base_adapter_sha256"], *adapter);
    assert!(continued[0]["loss"].as_f64() < third["loss"].as_f64());

    let report = run_with_model("merge", &["--adapter", &dir, "--save", &merged, "--json"]).json();
    assert_eq!((&report["adapter_sha256"], &report["base_weights_sha256"]), (adapter, &base["weights_sha256"]));
    let checkpoint = Checkpoint::open(Path::new(&merged), Access::Map).unwrap();
    assert_eq!(json!(loader::digest::hex(&checkpoint.digest())), report["weights_sha256"]);
    assert!(checkpoint.tensors().all(|(info, _)| info.dtype == loader::DType::F32));
    let inside =
        run(lockstep("generate").args(["--model", &merged, "--prompt", "The cat", "--max-tokens", "4", "--json"]), b"");
    let inside = inside.json();
    assert_eq!((&inside["weights_sha256"], &inside["text"]), (&report["weights_sha256"], &with["text"]));
    assert_ne!(inside["logits_sha256"], with["logits_sha256"]);
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("adapter");
    let refused = |words: &[&str]| {
        let arguments = ["--prompt", "x", "--adapter", dir.to_str().unwrap()];
        let finished = run_with_model("generate", &arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{words:?}: {}", finished.stderr);
    };
    refused(&["adapter_config.json is missing", "PEFT"]);
    fs::create_dir(&dir).unwrap();
    let config = |extra: &str| {
        let text = format!(r#"{{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"]{extra}}}"#);
        fs::write(dir.join("adapter_config.json"), text).unwrap();
    };
    config("");
    refused(&["adapter_model.safetensors is missing"]);
    fs::write(dir.join("adapter_model.safetensors"), b"12").unwrap();
    refused(&["adapter_model.safetensors", "2 bytes"]);
    config(r#","use_dora":true"#);
    refused(&["use_dora", "true", "merge_and_unload"]);

    for (command, arguments, word) in [
        ("merge", &["--save", "never"][..], "--adapter"),
        ("train", &["--text", "a b", "--steps", "1", "--learning-rate", "1", "--lora-rank", "2"], "--method lora"),
        (
            "train",
            &["--text", "a b", "--steps", "1", "--learning-rate", "1", "--method", "lora", "--lora-targets", "lm_head"],
            "lm_head",
        ),
    ] {
        let finished = run_with_model(command, arguments);
        assert!(finished.code == Some(1) && finished.stderr.contains(word), "{command}: {finished:?}");
    }
}
