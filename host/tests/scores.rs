//! `lockstep score`: log-probabilities of given texts, and their receipts.

use std::fs;

use serde_json::{Value, json};

use crate::command::{Finished, run_with_model};
use crate::place::Place;

/// One line of each kind; the second is the third in ids.
const DATA: &str = r#"{"text":"The cat sat on the mat."}
{"prompt":"The capital of France is","completion":" Paris."}
{"ids":[504,3575,282,4649,314,7042,30],"counted":"0000011"}
{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello there"}]}
"#;

impl Place {
    /// With [`DATA`] in `data.jsonl`.
    fn with_data() -> Place {
        let place = Place::new();
        fs::write(place.file("data.jsonl"), DATA).unwrap();
        place
    }

    fn score(&self, flags: &[&str]) -> Finished {
        self.run("score", &[&["--data", "data.jsonl"], flags].concat())
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn bits(value: &Value) -> f32 {
    f32::from_bits(u32::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

/// Every number of a line, from its bits.
fn check(line: &Value) {
    let array = |name: &str| line[name].as_array().unwrap();
    let (values, digits) = (array("logprobs"), array("logprob_bits"));
    assert_eq!((values.len(), digits.len()), (array("token_ids").len(), values.len()));
    assert!(values[0].is_null());
    let scored: Vec<f32> = digits.iter().filter(|digits| !digits.is_null()).map(bits).collect();
    let decimal: Vec<f32> =
        values.iter().filter_map(|value| value.as_f64().map(|value| value.to_string().parse().unwrap())).collect();
    assert_eq!(scored, decimal);
    let sum = scored.iter().fold(0.0, |sum, value| sum + value);
    assert_eq!((bits(&line["sum_bits"]), line["tokens"].as_u64().unwrap()), (sum, scored.len() as u64));
    assert!(sum < 0.0 && line["sum"].as_f64().unwrap() as f32 == sum);
}

#[test]
fn the_real_model_scores_as_it_trains_and_as_it_generates() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (data, output, receipt) = (file("data.jsonl"), file("out.jsonl"), file("r.json"));
    let cat = json!({ "text": "The cat sat on the mat and purred loudly." });
    fs::write(&data, format!("{cat}\n{DATA}")).unwrap();
    let words = ["--data", &data, "--output", &output, "--receipt", &receipt, "--json"];
    let summary = run_with_model("score", &words).json();
    let lines = objects(&fs::read_to_string(&output).unwrap());
    lines.iter().for_each(check);
    // The README's training begins with this loss: the mean, with the other sign.
    let mean = -bits(&lines[0]["sum_bits"]) / lines[0]["tokens"].as_u64().unwrap() as f32;
    assert_eq!(mean.to_bits(), 0x40a2_1069);
    // What the README's generation says is greedy, and its ids are those of the text.
    assert_eq!((&lines[2]["greedy"], &lines[2]["tokens"]), (&json!(true), &json!(2)));
    assert_eq!(without(&lines[2], "line"), without(&lines[3], "line"));
    // The token of a step of a generation has the digest of its logits.
    let one = file("one.jsonl");
    fs::write(&one, json!({ "prompt": "Once upon a time", "completion": "," }).to_string()).unwrap();
    let scored = objects(&run_with_model("score", &["--data", &one, "--json"]).stdout);
    let generated = run_with_model("generate", &["--json", "--prompt", "Once upon a time", "--max-tokens", "1"]).json();
    assert_eq!(scored[0]["logits_sha256"], generated["logits_sha256"][0]);
    let report = run_with_model("verify", &[&receipt, "--json", "--threads", "1"]).json();
    assert_eq!(
        (&report["verdict"], &report["kind"], &report["steps"]),
        (&json!("MATCH"), &json!("scoring"), &json!(5))
    );
    let keys: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    assert_eq!(keys["transcript_sha256"], summary["transcript_sha256"]);
    assert_eq!(keys["scoring"]["data_sha256"], summary["data_sha256"]);
}

fn without(line: &Value, name: &str) -> Value {
    let mut line = line.clone();
    line.as_object_mut().unwrap().remove(name).unwrap();
    line
}

#[test]
fn n11_no_bit_of_a_line_depends_on_the_others_or_on_the_machine() {
    let place = Place::with_data();
    let whole = objects(&place.score(&["--json"]).stdout);
    assert_eq!(whole.len(), 5);
    whole[..4].iter().for_each(check);
    let [sums, total] = [&whole[..4], &whole[4..]].map(|lines| lines.iter().map(|line| bits(&line["sum_bits"])));
    assert_eq!(sums.fold(0.0, |sum, line| sum + line), total.fold(0.0, |_, total| total));
    for flags in [["--threads", "1"], ["--threads", "3"], ["--backend", "scalar"]] {
        let lines = objects(&place.score(&[&["--json"][..], &flags].concat()).stdout);
        assert_eq!(lines[..4], whole[..4], "{flags:?}");
        assert_eq!(lines[4]["transcript_sha256"], whole[4]["transcript_sha256"]);
    }
    for (line, number) in DATA.lines().zip(0..) {
        fs::write(place.file("alone.jsonl"), line).unwrap();
        let alone = objects(&place.run("score", &["--data", "alone.jsonl", "--json"]).stdout);
        assert_eq!(without(&alone[0], "line"), without(&whole[number], "line"));
    }
    let text = place.score(&[]).stdout;
    let words: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(words == ["line", "line", "line", "line", "all:"] && text.contains("perplexity"), "{text}");
}

#[test]
fn a_scoring_is_verified_by_scoring_again() {
    let place = Place::with_data();
    let receipt = place.file("r.json");
    for flags in [&["--output", "out.jsonl"][..], &["--private"]] {
        let finished = place.score(&[&["--receipt", &receipt][..], flags].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let private = flags == ["--private"];
        let verify = |flags: &[&str]| place.run("verify", &[&[&receipt[..]], flags].concat());
        if private {
            assert_eq!(verify(&[]).code, Some(4));
            assert_eq!(verify(&["--text", "The cat sat on the mat."]).code, Some(4));
        }
        let given: &[&str] = if private { &["--data", "data.jsonl"] } else { &[] };
        let finished = verify(given);
        assert_eq!((finished.code, &finished.stdout[..]), (Some(0), "MATCH: scoring, 4 lines\nnot signed\n"));
        let mut keys: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
        keys["scoring"]["sum_bits"][2] = json!("c0000000");
        fs::write(&receipt, keys.to_string()).unwrap();
        let finished = verify(given);
        assert!(finished.code == Some(3) && finished.stdout.starts_with("MISMATCH at step 3"), "{finished:?}");
    }
}

#[test]
fn a_bad_line_is_told_before_anything_is_computed_and_nothing_is_lost() {
    let place = Place::with_data();
    fs::write(place.file("out.jsonl"), "of before\n").unwrap();
    let before = fs::read_dir(place.folder.path()).unwrap().count();
    for (bad, words) in [
        ("{", "line 2 is not"),
        (r#"{"prompt":"x","completion":""}"#, "line 2: the completion"),
        (r#"{"ids":[1,49152]}"#, "line 2: token 49152"),
        (r#"{"ids":[1]}"#, "line 2 has 1 tokens"),
    ] {
        fs::write(place.file("bad.jsonl"), format!("{{\"text\":\"a b\"}}\n{bad}\n{{\"text\":\"a b\"}}\n")).unwrap();
        let finished = place.run("score", &["--data", "bad.jsonl", "--output", "out.jsonl", "--json"]);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains("bad.jsonl: ") && finished.stderr.contains(words), "{finished:?}");
    }
    let long = place.score(&["--ctx-size", "4", "--output", "out.jsonl"]);
    assert!(long.code == Some(1) && long.stderr.contains("data.jsonl: line 1 has"), "{long:?}");
    for path in ["data.jsonl", "./data.jsonl", ".", "no folder/out.jsonl"] {
        let refused = place.score(&["--output", path]);
        assert!(refused.code == Some(1) && refused.stderr.contains("--output"), "{path}: {refused:?}");
    }
    assert_eq!(fs::read_to_string(place.file("data.jsonl")).unwrap(), DATA);
    assert_eq!(fs::read_to_string(place.file("out.jsonl")).unwrap(), "of before\n");
    fs::remove_file(place.file("bad.jsonl")).unwrap();
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), before);
    // What is well is put in the place of what was there.
    assert_eq!(place.score(&["--output", "out.jsonl"]).code, Some(0));
    assert_eq!(objects(&fs::read_to_string(place.file("out.jsonl")).unwrap()).len(), 4);
}
