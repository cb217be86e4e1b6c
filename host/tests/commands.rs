//! generate, tokenize, logits and bench, as a shell calls them.

use serde_json::{Value, json};

use crate::command::{lockstep, run, run_with_model};
use crate::model;

/// The first tokens after "Once upon a time", from the reference.
pub const PROMPT: [u32; 4] = [6403, 1980, 253, 655];
pub const FIRST: [u32; 8] = [28, 260, 2240, 282, 23324, 27108, 436, 253];

#[test]
fn generate_streams_the_text_and_nothing_else() {
    let finished = run_with_model("generate", &["--prompt", "Once upon a time", "--max-tokens", "8"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, ", the city of Nova Haven was a");
    assert_eq!(finished.stderr, "");
}

#[test]
fn generate_json_has_every_key_and_the_reference_tokens() {
    let object = run_with_model("generate", &["--prompt", "Once upon a time", "--max-tokens", "8", "--json"]).json();
    assert_eq!(object["prompt_token_ids"], json!(PROMPT));
    assert_eq!(object["token_ids"], json!(FIRST));
    assert_eq!(object["text"], ", the city of Nova Haven was a");
    assert_eq!(object["finish_reason"], "length");
    assert_eq!(object["profile"], "lockstep/1");
    let is_digest = |value: &Value| {
        let text = value.as_str().unwrap();
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let digests = object["logits_sha256"].as_array().unwrap();
    assert!(digests.len() == 8 && digests.iter().all(is_digest));
    for key in ["transcript_sha256", "weights_sha256", "tokenizer_sha256"] {
        assert!(is_digest(&object[key]), "{key}");
    }
    assert!(object["backend"].is_string() && object["threads"].as_u64() >= Some(1) && object["model"].is_string());
    let timings = &object["timings"];
    assert_eq!((&timings["prompt_n"], &timings["predicted_n"]), (&json!(4), &json!(8)));
    assert!(timings["prompt_ms"].as_f64() > Some(0.0) && timings["predicted_ms"].as_f64() > Some(0.0));
}

/// The same seed draws the same tokens on every backend, another seed others.
#[test]
fn drawn_tokens_depend_on_the_seed_and_on_nothing_else() {
    let drawn = |seed: &str, flags: &[&str]| {
        let settings =
            ["--prompt", "Once upon a time", "--max-tokens", "6", "--json", "--temperature", "1.2", "--top-p", "0.95"];
        let object = run_with_model("generate", &[&settings[..], &["--seed", seed], flags].concat()).json();
        [object["token_ids"].clone(), object["transcript_sha256"].clone()]
    };
    let first = drawn("1", &[]);
    assert_eq!(drawn("1", &["--threads", "1", "--backend", "scalar"]), first);
    let [ids, transcript] = drawn("2", &[]);
    assert!(ids != first[0] && transcript != first[1]);
    assert_ne!(ids, json!(FIRST[..6]));
}

/// N11: neither threads nor backend nor the way the file is read nor the form of the prompt changes a bit.
#[test]
fn generate_gives_the_same_bits_however_it_runs() {
    let run = |arguments: &[&str]| {
        let mut object = run_with_model("generate", &[arguments, &["--max-tokens", "4", "--json"]].concat()).json();
        for key in ["timings", "backend", "threads"] {
            object.as_object_mut().unwrap().remove(key);
        }
        object
    };
    let text = ["--prompt", "Once upon a time"];
    let expected = run(&text);
    assert_eq!(run(&["--prompt-ids", "6403,1980,253,655"]), expected);
    for flags in
        [&["--threads", "1"][..], &["--threads", "3"], &["--backend", "scalar"], &["--no-mmap"], &["--ctx-size", "8"]]
    {
        assert_eq!(run(&[&text, flags].concat()), expected, "{flags:?}");
    }
}

#[test]
fn generate_ends_at_the_end_of_text_unless_told_not_to() {
    let prompt = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>";
    let arguments = ["--prompt", prompt.strip_suffix("<|im_end|>").unwrap(), "--max-tokens", "12", "--json"];
    let stopped = run_with_model("generate", &arguments).json();
    let ids = stopped["token_ids"].as_array().unwrap();
    assert_eq!((stopped["finish_reason"].as_str(), ids.last()), (Some("stop"), Some(&json!(2))), "{stopped}");
    assert!(!stopped["text"].as_str().unwrap().contains("<|im_end|>"));

    let went_on = run_with_model("generate", &[&arguments[..], &["--ignore-eos"]].concat()).json();
    let longer = went_on["token_ids"].as_array().unwrap();
    assert_eq!((longer.len(), went_on["finish_reason"].as_str()), (12, Some("length")));
    assert_eq!(longer[..ids.len()], ids[..]);
    assert!(went_on["text"].as_str().unwrap().contains("<|im_end|>"));
}

#[test]
fn special_tokens_of_a_prompt_are_parsed_unless_told_not_to() {
    let ids = |flags: &[&str]| {
        let arguments = [&["--prompt", "<|im_start|>", "--max-tokens", "1", "--json"], flags].concat();
        run_with_model("generate", &arguments).json()["prompt_token_ids"].clone()
    };
    assert_eq!(ids(&[]), json!([1]));
    assert!(ids(&["--plain-special"]).as_array().unwrap().len() > 1);
}

#[test]
fn what_cannot_be_generated_is_a_failure_that_names_the_numbers() {
    for (arguments, words) in [
        (&["--prompt", ""][..], &["prompt"][..]),
        (&["--prompt-ids", "49152"], &["49152"]),
        (&["--prompt", "Once upon a time", "--max-tokens", "8189"], &["4", "8189", "8192"]),
        (&["--prompt", "Once upon a time", "--max-tokens", "5", "--ctx-size", "8"], &["4", "5", "8"]),
        (&["--prompt", "x", "--ctx-size", "8193"], &["8193", "8192"]),
    ] {
        let finished = run_with_model("generate", arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in
        [&[][..], &["--prompt", "x", "--prompt-ids", "1"], &["--prompt", "x", "--threads", "0"], &["--nonsense"]]
    {
        assert_eq!(run_with_model("generate", arguments).code, Some(2), "{arguments:?}");
    }
    let finished = run_with_model("generate", &["--prompt", "x", "--backend", "x87"]);
    assert!(finished.code == Some(2) && finished.stderr.contains("scalar"), "{finished:?}");
}

#[test]
fn a_missing_model_names_the_command_that_fetches_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    for command in [["generate", "--prompt=x"], ["logits", "--prompt=x"], ["serve", "--port=0"]] {
        let mut arguments = command[1..].to_vec();
        if command[0] == "logits" {
            arguments.push("--output=none.safetensors");
        }
        for dir in [&missing, &folder.path().to_path_buf()] {
            let finished = run(lockstep(command[0]).arg("--model").arg(dir).args(&arguments), b"");
            assert_eq!(finished.code, Some(1), "{finished:?}");
            let named = [&dir.display().to_string(), "cargo run --release -p tools -- fetch-model"];
            assert!(named.iter().all(|name| finished.stderr.contains(*name)), "{finished:?}");
        }
    }
}

#[test]
fn a_variable_sets_the_flag_of_its_name_and_a_flag_wins() {
    let run = |flags: &[&str]| {
        let mut command = lockstep("generate");
        command.env("LOCKSTEP_MODEL", model::dir()).env("LOCKSTEP_THREADS", "3").env("LOCKSTEP_MAX_TOKENS", "2");
        command.env("LOCKSTEP_IGNORE_EOS", "1").env("LOCKSTEP_BACKEND", "auto");
        run(command.args(["--prompt", "Once upon a time", "--json"]).args(flags), b"").json()
    };
    let by_variables = run(&[]);
    assert_eq!((&by_variables["threads"], &by_variables["token_ids"]), (&json!(3), &json!(FIRST[..2])));
    let by_flags = run(&["--threads", "1", "--max-tokens", "1"]);
    assert_eq!((&by_flags["threads"], &by_flags["token_ids"]), (&json!(1), &json!(FIRST[..1])));
}

fn tokenize(flags: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let finished = run(lockstep("tokenize").arg("--model").arg(model::dir()).args(flags), stdin.as_bytes());
    (finished.code, finished.stdout, finished.stderr)
}

#[test]
fn tokenize_goes_there_and_back() {
    let texts =
        ["Once upon a time", "", "x  12\n\t\r\u{0}", "Grüße, 🙂 <|im_start|>user", "\u{1F469}\u{200D}\u{1F52C}"];
    let lines: String = texts.iter().map(|text| format!("{}\n", json!({ "text": text, "more": 1 }))).collect();
    let (code, ids, _) = tokenize(&[], &lines);
    assert_eq!(code, Some(0));
    assert!(ids.starts_with("{\"ids\":[6403,1980,253,655]}\n{\"ids\":[]}\n"), "{ids}");
    let (code, back, _) = tokenize(&["--decode"], &ids);
    assert_eq!(code, Some(0));
    let back: Vec<Value> = back.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back, texts.map(|text| json!({ "text": text })));

    assert_eq!(tokenize(&[], "{\"text\":\"<|im_end|>\"}").1, "{\"ids\":[2]}\n");
    assert_ne!(tokenize(&["--plain-special"], "{\"text\":\"<|im_end|>\"}").1, "{\"ids\":[2]}\n");
    assert_eq!(tokenize(&["--decode"], "{\"ids\":[1,2]}").1, "{\"text\":\"<|im_start|><|im_end|>\"}\n");
}

#[test]
fn tokenize_names_the_malformed_line() {
    for (flags, bad) in [
        (&[][..], "{\"ids\":[1]}"),
        (&[], "\"text\""),
        (&[], "[\"a\"]"),
        (&[], ""),
        (&[], "{\"text\":\"\\ud800\"}"),
        (&["--decode"], "{\"ids\":[1.5]}"),
        (&["--decode"], "{\"ids\":[-1]}"),
        (&["--decode"], "[[81]]"),
        (&["--decode"], "{\"ids\":[49152]}"),
    ] {
        let good = if flags.is_empty() { "{\"text\":\"a\"}" } else { "{\"ids\":[81]}" };
        let (code, stdout, stderr) = tokenize(flags, &format!("{good}\n{good}\n{bad}\n{good}\n"));
        assert_eq!((code, stdout.lines().count()), (Some(1), 2), "{bad}");
        assert!(stderr.contains("line 3"), "{bad}: {stderr}");
    }
}

/// The rows of the file are the logits that `generate` hashed, whether they came from one prefill or from decode steps.
#[test]
fn logits_are_those_that_generate_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logits.safetensors");
    let ids: Vec<String> = PROMPT.iter().chain(&FIRST[..7]).map(u32::to_string).collect();
    let arguments = ["--prompt-ids", &ids.join(","), "--output", file.to_str().unwrap(), "--json"];
    let report = run_with_model("logits", &arguments).json();
    let generated = run_with_model("generate", &["--prompt", "Once upon a time", "--max-tokens", "8", "--json"]).json();
    assert_eq!(report["shape"], json!([11, 49152]));
    assert_eq!(report["logits_sha256"].as_array().unwrap()[3..], generated["logits_sha256"].as_array().unwrap()[..]);

    let bytes = std::fs::read(&file).unwrap();
    let prefix = loader::Header::size_of_prefix(bytes[..8].try_into().unwrap(), bytes.len() as u64).unwrap();
    let header = loader::Header::parse(&bytes[..prefix], bytes.len() as u64).unwrap();
    let logits = header.tensor("logits").unwrap();
    assert_eq!((logits.dtype.name(), &logits.shape[..], header.tensors().len()), ("F32", &[11, 49152][..], 1));
    let rows =
        bytes[logits.range.clone()].chunks(49152 * 4).map(|row| loader::digest::hex(&loader::digest::sha256(row)));
    assert_eq!(json!(rows.collect::<Vec<_>>()), report["logits_sha256"]);
}

#[test]
fn logits_refuses_what_it_cannot_compute_or_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none/logits.safetensors").display().to_string();
    for arguments in [["--prompt-ids", "1", "--output", &file], ["--prompt", "", "--output", &file]] {
        let finished = run_with_model("logits", &arguments);
        assert_eq!(finished.code, Some(1), "{finished:?}");
    }
}

#[test]
fn bench_measures_each_part_with_each_number_of_threads() {
    let object =
        run_with_model("bench", &["--json", "--threads", "2,1", "--only", "prefill,decode,decode-short,train"]).json();
    assert_eq!((&object["prefill_tokens"], &object["decode_tokens"]), (&json!(256), &json!(64)));
    assert!(object["backend"].is_string() && object["weights_sha256"].is_string());
    let results = object["results"].as_array().unwrap();
    let threads: Vec<_> = results.iter().map(|row| &row["threads"]).collect();
    assert_eq!(threads, [&json!(2), &json!(1)]);
    let parts =
        ["prefill_tokens_per_second", "decode_tokens_per_second", "decode_short_tokens_per_second", "train_step_ms"];
    for row in results {
        assert_eq!(row.as_object().unwrap().len(), 1 + parts.len());
        assert!(parts.iter().all(|key| row[key].as_f64() > Some(0.0)), "{row}");
    }
}
