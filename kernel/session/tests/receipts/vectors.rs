//! The files in `docs/vectors/receipts`: those that `valid` makes are compared with what is issued today, and all of them have the verdict
//! that `vectors.json` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kernel::train::Optimizer;
use kernel::transcript::ids_digest;
use serde::Deserialize;
use session::receipt::{Given, Hex, Receipt, SecretKey};

use crate::model::{
    PROMPT, SEED, adapters, aggregated, data, generated, model, options, request, scored, stopped, trained, verify,
};

/// What is no vector.
const NO_VECTORS: [&str; 2] = ["vectors.json", "tokenizer.json"];

/// A line of `vectors.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    file: String,
    verdict: String,
    step: Option<u64>,
    /// A part of the reason.
    #[serde(default)]
    why: String,
    /// What the signature is: valid, invalid or none.
    signature: Option<String>,
    /// Whether prompt, data and adapters are given.
    #[serde(default)]
    given: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/receipts")
}

fn vectors() -> Vec<Vector> {
    serde_json::from_slice(&std::fs::read(folder().join("vectors.json")).unwrap()).unwrap()
}

/// What is issued, by the name of its file.
fn valid() -> Vec<(&'static str, Receipt)> {
    let model = model(SEED);
    let greedy = generated(&model, &request(6, |_| ()), false);
    let drawn = request(80, |s| (s.temperature, s.top_k, s.repetition_penalty, s.seed) = (1.5, 40, 1.25, u64::MAX));
    let stops = request(200, |s| (s.temperature, s.seed) = (8.0, 3));
    let penalised = request(40, |s| {
        (s.temperature, s.seed, s.stream) = (1.5, 9, 2);
        (s.frequency_penalty, s.presence_penalty) = (0.5, -0.25);
        s.logit_bias = vec![(40, -100.0), (3, 1.5)];
    });
    // Of the text of `drawn`, "jw" is the end of token 6 and the beginning of token 7, and "xy" the middle of the latter.
    let across = ["\u{1f}\"\\é\n", "jw"];
    let adamw = options(Optimizer::adamw(0.01));
    vec![
        ("greedy.json", greedy.clone()),
        ("drawn.json", generated(&model, &drawn, false)),
        ("stops.json", generated(&model, &stops, false)),
        ("private.json", generated(&model, &drawn, true)),
        ("penalised.json", generated(&model, &penalised, false)),
        ("penalised-private.json", generated(&model, &penalised, true)),
        ("signed.json", greedy.sign(&SecretKey::from_bytes(&[7; 32]))),
        ("scoring.json", scored(&model, false)),
        ("scoring-private.json", scored(&model, true)),
        ("stop.json", stopped(&model, &drawn, &across, false)),
        ("stop-inside.json", stopped(&model, &drawn, &["xy"], false)),
        ("stop-not-reached.json", stopped(&model, &request(6, |_| ()), &["no such text"], false)),
        ("stop-end-token.json", stopped(&model, &stops, &["no such text"], false)),
        ("stop-private.json", stopped(&model, &drawn, &across, true)),
        ("training.json", trained(&model, None, &options(Optimizer::Sgd { momentum: 0.5 }), false)),
        ("training-adapter.json", trained(&model, Some(11), &adamw, false)),
        ("training-private.json", trained(&model, None, &options(Optimizer::Sgd { momentum: 0.0 }), true)),
        ("aggregation.json", aggregated(&model, false)),
        ("aggregation-receipts.json", aggregated(&model, true)),
    ]
}

/// With `LOCKSTEP_WRITE_VECTORS=1` the files are written instead, for a new version of the format.
#[test]
fn vectors_are_what_is_issued() {
    let write = std::env::var_os("LOCKSTEP_WRITE_VECTORS").is_some();
    for (name, receipt) in valid() {
        let path = folder().join(name);
        if write {
            std::fs::write(&path, receipt.to_json()).unwrap();
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(receipt.to_json()), text(std::fs::read(path).unwrap()), "{name}");
    }
}

#[test]
fn stop_strings_end_a_generation_at_the_token_that_completes_one() {
    let receipts = valid();
    let told = |name: &str| {
        let receipt = receipts.iter().find(|(file, _)| *file == name).unwrap().1.clone();
        let generated = receipt.generation.unwrap();
        (generated.logits_sha256.len(), generated.token_ids, serde_json::to_value(generated.finish_reason).unwrap())
    };
    let (_, all, _) = told("drawn.json");
    let first = all.map(|ids| ids[..7].to_vec());
    assert_eq!(told("stop.json"), (7, first.clone(), "stop".into()));
    assert_eq!(told("stop-inside.json"), (7, first, "stop".into()));
    assert_eq!(told("stop-private.json"), (7, None, "stop".into()));
    assert_eq!(told("stop-not-reached.json"), told("greedy.json"));
    assert_eq!(told("stop-end-token.json"), told("stops.json"));
}

#[test]
fn vectors_have_their_verdicts() {
    let model = model(SEED);
    let clients = adapters(&model);
    for vector in vectors() {
        let bytes = std::fs::read(folder().join(&vector.file)).unwrap();
        let given = |step_by_step| match vector.given {
            true if ["training", "scoring"].iter().any(|kind| vector.file.starts_with(kind)) => {
                Given { data: Some(data()), ..Given::default() }
            }
            true if vector.file.starts_with("aggregation") => Given { adapters: clients.clone(), ..Given::default() },
            true => Given { prompt: Some(PROMPT.to_vec()), step_by_step, ..Given::default() },
            false => Given { step_by_step, ..Given::default() },
        };
        for step_by_step in [false, true] {
            let verdict = verify(&bytes, &model, given(step_by_step));
            let found = (verdict.word(), verdict.step());
            assert_eq!(found, (&vector.verdict[..], vector.step), "{}: {verdict:?}", vector.file);
            let why = verdict.why().unwrap_or_default();
            assert!(why.contains(&vector.why) && why.is_empty() == (found.0 == "MATCH"), "{}: {why}", vector.file);
        }
        let signature = Receipt::from_json(&bytes).map_or("none", |receipt| receipt.signature_state().word());
        assert_eq!(signature, vector.signature.as_deref().unwrap_or("none"), "{}", vector.file);
    }
}

/// A private generation whose output is given is read at once, and has the verdict of one that tells its ids.
#[test]
fn vectors_of_private_generations_have_their_verdict_with_the_output_too() {
    let model = model(SEED);
    let read = |name: &str| Receipt::from_json(&std::fs::read(folder().join(name)).unwrap()).unwrap();
    let ids = |name: &str| read(name).generation.unwrap().token_ids;
    let verify = |receipt: &Receipt, output: Option<Vec<u32>>| {
        verify(&receipt.to_json(), &model, Given { prompt: Some(PROMPT.to_vec()), output, ..Given::default() })
    };
    for (private, open) in [("private.json", "drawn.json"), ("stop-private.json", "stop.json")] {
        assert_eq!(read(open).without_ids(), read(private));
        assert_eq!(verify(&read(private), ids(open)).word(), "MATCH", "{private}");
        assert_eq!(verify(&read(open), ids(open)).word(), "MATCH", "{open}");
        for name in [private, open] {
            let verdict = verify(&read(name), Some(vec![1, 2]));
            assert!(verdict.word() == "CANNOT_VERIFY" && verdict.why().unwrap().contains("the output"), "{verdict:?}");
        }
        // The digest of fewer tokens than there are steps.
        let (mut short, output) = (read(private), ids(open).map(|ids| ids[..2].to_vec()));
        let digest = Hex(ids_digest(output.as_ref().unwrap()));
        short.generation.as_mut().unwrap().token_ids_sha256 = Some(digest);
        let verdict = verify(&short, output);
        assert!(verdict.word() == "MISMATCH" && verdict.why().unwrap().contains("2 tokens"), "{verdict:?}");
    }
}

#[test]
fn vectors_are_all_files_and_every_verdict_is_among_them() {
    let named: BTreeSet<String> = vectors().into_iter().map(|vector| vector.file).collect();
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> =
        files.filter(|name| name.ends_with(".json") && !NO_VECTORS.contains(&&name[..])).collect();
    assert_eq!(named, files);
    let verdicts: BTreeSet<String> = vectors().into_iter().map(|vector| vector.verdict).collect();
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["CANNOT_VERIFY", "MALFORMED", "MATCH", "MISMATCH"]);
}

#[test]
fn another_model_verifies_nothing() {
    let other = model(SEED + 1);
    for (name, receipt) in valid() {
        let given = Given { prompt: Some(PROMPT.to_vec()), data: Some(data()), ..Given::default() };
        let verdict = verify(&receipt.to_json(), &other, given);
        assert!(verdict.word() == "CANNOT_VERIFY" && verdict.why().unwrap().contains("weights"), "{name}: {verdict:?}");
    }
}
