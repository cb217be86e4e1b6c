//! `lockstep aggregate`: one adapter of several, its receipt, and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::command::{Finished, lockstep, run};
use crate::place::{Place, names};

const TEXTS: [&str; 3] = ["The cat sat on the mat.", "The dog ran to the sea.", "A bird sang in the tree."];

impl Place {
    /// With what three clients have trained: adapters `0`, `1`, `2`, and their private receipts.
    fn with_clients() -> Place {
        let place = Place::new();
        for (client, text) in TEXTS.iter().enumerate() {
            place.train(&client.to_string(), "2", &["--text", text, "--private"]);
        }
        place
    }

    /// Trains an adapter into the folder `name`, with its receipt beside it.
    fn train(&self, name: &str, rank: &str, flags: &[&str]) {
        let (save, receipt) = (self.file(name), self.file(&format!("{name}.json")));
        let words = ["--method", "lora", "--lora-rank", rank, "--steps", "2", "--learning-rate", "0.1"];
        let places = ["--save", &save, "--receipt", &receipt];
        let finished = self.run("train", &[&words[..], &places, flags].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }

    /// `flag` before each of these files.
    fn each(&self, flag: &str, names: &[&str]) -> Vec<String> {
        names.iter().flat_map(|name| [flag.to_string(), self.file(name)]).collect()
    }

    fn aggregate(&self, clients: &[&str], save: &str, flags: &[&str]) -> Finished {
        let adapters = self.each("--adapter", clients);
        let adapters: Vec<&str> = adapters.iter().map(String::as_str).collect();
        self.run("aggregate", &[&adapters[..], &["--save", &self.file(save), "--json"], flags].concat())
    }

    fn verify_round(&self, receipt: &str, clients: &[&str]) -> (Option<i32>, Value) {
        let adapters = self.each("--adapter", clients);
        let adapters: Vec<&str> = adapters.iter().map(String::as_str).collect();
        let finished = self.run("verify", &[&[&self.file(receipt)[..], "--json"], &adapters[..]].concat());
        (finished.code, serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}")))
    }
}

#[test]
fn three_adapters_make_one_and_anyone_can_make_it_again() {
    let place = Place::with_clients();
    let receipts = place.each("--client-receipt", &["2.json", "0.json", "1.json"]);
    let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
    let file = place.file("round.json");
    let flags = [&["--receipt", &file, "--weights", "3,1,2"], &receipts[..]].concat();
    let report = place.aggregate(&["0", "1", "2"], "round", &flags).json();
    assert_eq!((&report["rank"], &report["alpha"]), (&json!(6), &json!(48.0)));
    let digests: Vec<&str> =
        report["clients"].as_array().unwrap().iter().map(|client| client["adapter_sha256"].as_str().unwrap()).collect();
    assert!(digests.is_sorted() && digests.len() == 3, "{report}");
    let receipt: Value = serde_json::from_slice(&fs::read(place.file("round.json")).unwrap()).unwrap();
    assert_eq!(receipt["transcript_sha256"], report["transcript_sha256"]);
    assert_eq!(receipt["aggregation"]["aggregate_sha256"], report["adapter_sha256"]);
    let provenance: Value = serde_json::from_slice(&fs::read(place.file("round/provenance.json")).unwrap()).unwrap();
    assert_eq!(provenance["adapter_sha256"], report["adapter_sha256"]);

    // The same in another order; other weights give another adapter.
    let turned = place.aggregate(&["2", "0", "1"], "turned", &["--weights", "2,3,1"]).json();
    assert_eq!(turned["adapter_sha256"], report["adapter_sha256"]);
    let even = place.aggregate(&["0", "1", "2"], "even", &[]).json();
    assert_ne!(even["adapter_sha256"], report["adapter_sha256"]);

    // It is an adapter like any other.
    let words = ["--prompt-ids", "5,6", "--max-tokens", "2", "--json", "--adapter", &place.file("round")];
    assert_eq!(place.run("generate", &words).json()["adapter_sha256"], report["adapter_sha256"]);

    let (code, verdict) = place.verify_round("round.json", &["1", "2", "0"]);
    assert_eq!((code, &verdict["kind"], &verdict["steps"]), (Some(0), &json!("aggregation"), &json!(3)), "{verdict}");
    let adapters = place.each("--adapter", &["0", "1", "2"]);
    let adapters: Vec<&str> = adapters.iter().map(String::as_str).collect();
    let text = place.run("verify", &[&[&place.file("round.json")[..]], &adapters[..]].concat());
    assert_eq!(text.stdout, "MATCH: aggregation, 3 clients\nnot signed\n");
    let (code, verdict) = place.verify_round("round.json", &["1", "2"]);
    assert!(code == Some(4) && verdict["why"].as_str().unwrap().contains("missing"), "{verdict}");
    assert_eq!(place.verify_round("round.json", &[]).0, Some(4));
    // Adapters that do not belong to the model, and several for a receipt of one.
    assert_eq!(place.verify_round("round.json", &["0", "1", "none"]).0, Some(4));
    let (code, verdict) = place.verify_round("0.json", &["0", "1"]);
    assert!(code == Some(4) && verdict["why"].as_str().unwrap().contains("several --adapter"), "{verdict}");

    // One bit of an adapter.
    let file = place.file("1/adapter_model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, verdict) = place.verify_round("round.json", &["0", "1", "2"]);
    assert!(code == Some(3) && verdict["why"].as_str().unwrap().contains("no adapter here"), "{verdict}");
}

#[test]
fn a_signed_round_says_who_put_it_together() {
    let place = Place::with_clients();
    assert_eq!(run(lockstep("keygen").arg(place.file("key")), b"").code, Some(0));
    let (receipt, key) = (place.file("round.json"), place.file("key"));
    place.aggregate(&["0", "1"], "round", &["--receipt", &receipt, "--sign", &key]).json();
    let (code, verdict) = place.verify_round("round.json", &["0", "1"]);
    assert_eq!((code, &verdict["signature"]["state"]), (Some(0), &json!("valid")), "{verdict}");
}

#[test]
fn what_does_not_fit_together_leaves_nothing_behind() {
    let place = Place::with_clients();
    place.train("open", "2", &["--text", TEXTS[0]]);
    place.train("seed", "2", &["--text", TEXTS[0], "--seed", "9", "--private"]);
    place.train("rank", "3", &["--text", TEXTS[0], "--private"]);
    let before = names(&place.folder);
    let receipt = place.file("round.json");
    let refused = |clients: &[&str], receipts: &[&str], flags: &[&str], words: &[&str]| {
        let receipts = place.each("--client-receipt", receipts);
        let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
        let finished = place.aggregate(clients, "round", &[&["--receipt", &receipt], flags, &receipts[..]].concat());
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{words:?}: {finished:?}");
        assert_eq!(names(&place.folder), before, "{words:?}");
    };
    refused(&["0", "rank"], &[], &[], &["rank 3", "rank 2", "the adapters of a round"]);
    refused(&["0", "none"], &[], &[], &["none", "is missing"]);
    refused(&["0", "1"], &[], &["--weights", "1"], &["1 weights and 2 adapters"]);
    refused(&["0", "1"], &[], &["--weights", "1,0"], &["weight 2 is 0"]);
    refused(&["0", "1"], &["0.json"], &[], &["1 receipts and 2 adapters"]);
    refused(&["0", "1"], &["0.json", "2.json"], &[], &["2.json is of a training that gave"]);
    refused(&["open", "1"], &["open.json", "1.json"], &[], &["open.json", "private one"]);
    refused(&["0", "seed"], &["0.json", "seed.json"], &[], &["it began with the adapter"]);
    refused(&["0", "1"], &["0.json", "no.json"], &[], &["no.json cannot be read"]);
    refused(&["0", "1", "2", "0", "1", "2", "0", "1", "2"], &[], &[], &["9 adapters of rank 2", "16"]);
    let taken = place.aggregate(&["0", "1"], "0", &[]);
    assert!(taken.code == Some(1) && taken.stderr.contains("exists already"), "{taken:?}");
    assert_eq!(place.run("aggregate", &["--save", &place.file("round")]).code, Some(2));
}
