//! Checkpoints of `lockstep train`: a training that was interrupted, however it was, ends with the same bits.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use kernel::random::{Purpose, random_u64};
use loader::digest::hex;
use loader::{Access, Checkpoint};
use serde_json::{Value, json};

use crate::command::{Finished, limited, lockstep, run};
use crate::place::Place;
use crate::tiny;

const FILE: &str = "checkpoint.safetensors";

impl Place {
    /// With texts in `data.jsonl`.
    fn with_texts() -> Place {
        let place = Place::new();
        let text = |n: usize| json!({ "text": format!("{} is a number and {} is another one.", n * 7, n) }).to_string();
        fs::write(place.file("data.jsonl"), (0..10).map(|n| text(n) + "\n").collect::<String>()).unwrap();
        place
    }

    /// `lockstep train` on the data with these flags; they win over the settings here.
    fn training(&self, flags: &[&str]) -> Command {
        let mut command = lockstep("train");
        command.current_dir(self.folder.path()).arg("--json");
        let defaults = [
            ("--threads", "1"),
            ("--model", "tiny-1"),
            ("--data", "data.jsonl"),
            ("--learning-rate", "0.01"),
            ("--optimizer", "adamw"),
            ("--batch-size", "2"),
        ];
        for (name, value) in defaults {
            let other_source = name == "--data" && flags.contains(&"--text");
            if !flags.contains(&name) && !other_source {
                command.args([name, value]);
            }
        }
        command.args(flags);
        command
    }

    fn run_training(&self, flags: &[&str]) -> Finished {
        run(&mut self.training(flags), b"")
    }

    /// The lines of a training that ends well.
    fn lines(&self, flags: &[&str]) -> Vec<Value> {
        let finished = self.run_training(flags);
        assert_eq!(finished.code, Some(0), "{flags:?}: {finished:?}");
        finished.stdout.lines().map(line).collect()
    }

    /// The error of a training that does not begin.
    fn training_refused(&self, flags: &[&str]) -> String {
        let finished = self.run_training(flags);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{flags:?}: {finished:?}");
        finished.stderr
    }
}

fn without_threads(lines: &[Value]) -> Vec<Value> {
    let mut lines = lines.to_vec();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("threads")));
    lines
}

/// A line without what tells of this run only.
fn line(text: &str) -> Value {
    let mut line: Value = serde_json::from_str(text).unwrap();
    line.as_object_mut().unwrap().remove("tokens_per_second");
    line
}

/// More steps than were asked for at first: the same as having asked for them all.
#[test]
fn a_training_can_be_made_longer() {
    let place = Place::with_texts();
    let sgd = &["--optimizer", "sgd"][..];
    let all = [sgd, &["--optimizer", "sgd", "--momentum", "0.9"], &[], &["--method", "lora", "--lora-rank", "2"]];
    for (number, optimizer) in all.into_iter().enumerate() {
        let whole = place.lines(&[optimizer, &["--steps", "7"]].concat());
        let dir = format!("checkpoint-{number}");
        let checkpoint = ["--checkpoint", &dir];
        let first = place.lines(&[optimizer, &checkpoint, &["--steps", "3", "--resume"]].concat());
        assert_eq!(first[..3], whole[..3]);
        let elsewhere = ["--threads", "2", "--recompute"];
        let rest = place.lines(&[optimizer, &checkpoint, &["--steps", "7", "--resume"], &elsewhere].concat());
        assert_eq!(without_threads(&rest), without_threads(&whole[3..]));
        // Nothing is left to do but to tell the end.
        let end = place.lines(&[optimizer, &checkpoint, &["--steps", "7", "--resume"]].concat());
        assert_eq!(end, whole[7..]);
    }
}

/// Whether a checkpoint in the folder is being written, or was when its process ended.
fn unfinished(dir: &Path) -> bool {
    let mut names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().ends_with(".tmp"))
}

/// Kills the process after its first step, a few times as soon as it writes a checkpoint and then at random moments, and goes on.
#[test]
#[cfg(unix)]
fn a_training_that_is_killed_loses_no_checkpoint_and_no_bit() {
    let place = Place::with_texts();
    let decay = ["--schedule", "cosine", "--warmup", "5", "--clip-norm", "1", "--weight-decay", "0.1"];
    let steps = [&decay[..], &["--steps", "40", "--eval-fraction", "0.2", "--eval-every", "3"]].concat();
    let whole = place.lines(&steps);
    // The steps, the losses after every third and the last one, and the end.
    assert_eq!(whole.len(), 40 + 14 + 1);
    let dir = place.folder.path().join("checkpoint");
    let checkpoint = ["--checkpoint", "checkpoint", "--checkpoint-every", "1", "--resume"];
    let flags = [&steps[..], &checkpoint].concat();
    let mut interrupted = 0;
    for attempt in 0..12 {
        let mut child =
            place.training(&flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        stdout.read_line(&mut text).unwrap();
        if attempt < 4 {
            while child.try_wait().unwrap().is_none() && !unfinished(&dir) {
                sleep(Duration::from_micros(50));
            }
        } else {
            sleep(Duration::from_micros(random_u64(1, Purpose::Golden, 0, attempt) % 300_000));
        }
        // SIGKILL: nothing of the process runs after it.
        child.kill().unwrap();
        child.wait().unwrap();
        stdout.lines().for_each(|line| text.push_str(&format!("\n{}", line.unwrap())));
        for text in text.lines().filter(|line| line.ends_with('}')) {
            assert!(whole.contains(&line(text)), "{text}");
        }
        interrupted += usize::from(unfinished(&dir));
        if let Ok(file) = Checkpoint::open_file(&dir.join(FILE), Access::Read) {
            let metadata = file.shards()[0].header().metadata();
            let digest = metadata.iter().find(|(key, _)| key == "tensors_sha256").map(|(_, digest)| digest.clone());
            assert_eq!(digest, Some(hex(&file.digest())));
        } else {
            assert!(!dir.join(FILE).exists(), "a broken checkpoint stands in the place of a whole one");
        }
    }
    assert!(interrupted > 0, "no checkpoint was interrupted: the test shows nothing");
    let rest = place.lines(&flags);
    assert!(rest.len() < whole.len(), "no checkpoint was completed: the test shows nothing");
    assert_eq!(rest, whole[whole.len() - rest.len()..]);
    // What was interrupted is cleared away.
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

/// A file may not grow beyond the limit, as on a full disk.
#[test]
#[cfg(unix)]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let place = Place::with_texts();
    let flags = ["--checkpoint", "checkpoint", "--resume", "--steps"];
    place.lines(&[&flags[..], &["2"]].concat());
    let path = place.folder.path().join("checkpoint").join(FILE);
    let before = fs::read(&path).unwrap();
    let finished = run(&mut limited("-f 2000", &place.training(&[&flags[..], &["4"]].concat())), b"");
    assert!(finished.code == Some(1) && finished.stderr.contains("checkpoint before it is as it was"), "{finished:?}");
    assert_eq!(finished.stdout.lines().count(), 2);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(place.file("checkpoint")).unwrap().count(), 1);
}

#[test]
fn a_checkpoint_of_another_training_is_refused_by_name() {
    let place = Place::with_texts();
    tiny::write(place.folder.path(), 2);
    let data = fs::read_to_string(place.file("data.jsonl")).unwrap();
    fs::write(place.file("other.jsonl"), data.replace("number", "figure")).unwrap();
    let checkpoint = ["--checkpoint", "checkpoint"];
    place.lines(&[&checkpoint[..], &["--steps", "2"]].concat());
    let resume = [&checkpoint[..], &["--steps", "3", "--resume"]].concat();
    for (flags, words) in [
        (&["--learning-rate", "0.02"][..], &["learning_rate", "0.01", "0.02"][..]),
        (&["--optimizer", "sgd"], &["optimizer", "adamw", "sgd"]),
        (&["--weight-decay", "0.5"], &["weight_decay", "0.5"]),
        (&["--warmup", "1"], &["warmup"]),
        (&["--schedule", "cosine"], &["cosine_steps", "none", "3"]),
        (&["--clip-norm", "1"], &["clip_norm"]),
        (&["--batch-size", "1"], &["batch_size"]),
        (&["--seed", "3"], &["seed", "0", "3"]),
        (&["--data", "other.jsonl"], &["data_sha256"]),
        (&["--eval-fraction", "0.1"], &["data_sha256"]),
        (&["--model", "tiny-2"], &["base_weights_sha256"]),
        (&["--method", "lora"], &["method", "full", "lora"]),
        (&["--steps", "1"], &["step 2", "--steps 1"]),
    ] {
        let kept: Vec<&str> =
            resume.chunks(2).filter(|pair| pair[0] != flags[0]).flatten().chain(flags).copied().collect();
        let error = place.training_refused(&kept);
        assert!(words.iter().all(|word| error.contains(word)), "{flags:?}: {error}");
    }
    let error = place.training_refused(&[&checkpoint[..], &["--steps", "3"]].concat());
    assert!(error.contains("--resume"), "{error}");
    assert_eq!(place.run_training(&["--steps", "3", "--resume"]).code, Some(2));
    // After all that the training still goes on.
    place.lines(&resume);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let place = Place::with_texts();
    let flags = ["--checkpoint", "checkpoint", "--steps", "2", "--resume"];
    place.lines(&flags);
    let path = place.folder.path().join("checkpoint").join(FILE);
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        place.training_refused(&flags)
    };
    for len in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        assert!(refused(&whole[..len]).contains("is damaged"), "{len} bytes");
    }
    assert!(refused(&[&whole[..], b"x"].concat()).contains("is damaged"));
    let mut flipped = whole.clone();
    flipped[whole.len() - 100] ^= 1;
    assert!(refused(&flipped).contains("another digest"));
    // Model weights, of the right shapes even, are no checkpoint.
    let error = refused(&fs::read(place.model.join("model.safetensors")).unwrap());
    assert!(error.contains("no checkpoint") && error.contains("format"), "{error}");
}

/// The weights decay by a factor so high that they overflow in the first update.
#[test]
fn a_training_that_has_lost_itself_writes_no_checkpoint() {
    let place = Place::with_texts();
    let flags = ["--optimizer", "adamw", "--learning-rate", "3e38", "--weight-decay", "10", "--steps", "2"];
    let finished =
        place.run_training(&[&flags[..], &["--checkpoint", "checkpoint", "--checkpoint-every", "1"]].concat());
    assert!(finished.code == Some(1) && finished.stderr.contains("after step 1 the weights of"), "{finished:?}");
    assert_eq!(finished.stdout.lines().count(), 1);
    assert_eq!(fs::read_dir(place.file("checkpoint")).unwrap().count(), 0);
    // Without one it is found by the next step, and nothing is saved.
    let finished = place.run_training(&[&flags[..], &["--save", "trained"]].concat());
    assert!(finished.code == Some(1) && finished.stderr.contains("after step 1 the weights of"), "{finished:?}");
    assert!(!fs::exists(place.file("trained")).unwrap());
}

#[test]
fn losses_of_data_that_is_set_apart_are_told_and_change_nothing() {
    let place = Place::with_texts();
    let plain = place.lines(&["--steps", "4"]);
    let told = place.lines(&["--steps", "4", "--eval-data", "data.jsonl", "--eval-every", "2"]);
    let [_, _, second, _, _, fourth, end] = &told[..] else { panic!("{told:?}") };
    for (line, step) in [(second, 2), (fourth, 4)] {
        let loss: f32 = serde_json::from_value(line["eval_loss"].clone()).unwrap();
        assert_eq!((&line["step"], &line["eval_loss_bits"]), (&json!(step), &json!(format!("{:08x}", loss.to_bits()))));
    }
    assert!(fourth["eval_loss"].as_f64() < second["eval_loss"].as_f64(), "it learns this data");
    assert_eq!(end["transcript_sha256"], plain[4]["transcript_sha256"]);
    assert_eq!((&plain[4]["eval_data_sha256"], &end["eval_data_sha256"]), (&Value::Null, &end["data_sha256"]));

    // A part that is set apart is not learnt from, and the seed decides which.
    let split = |seed: &str| place.lines(&["--steps", "1", "--eval-fraction", "0.3", "--seed", seed]);
    let (one, other) = (split("1"), split("2"));
    assert_eq!(one, split("1"));
    let digests = |lines: &[Value]| [&lines[2]["data_sha256"], &lines[2]["eval_data_sha256"]].map(Value::clone);
    assert!(digests(&one)[0] != digests(&other)[0] && digests(&one)[1] != digests(&other)[1]);
    assert!(place.training_refused(&["--steps", "1", "--eval-fraction", "0.01"]).contains("at least one"));
    for flags in [&["--text", "a b", "--eval-fraction", "0.5"][..], &["--eval-data", "x", "--eval-fraction", "0.5"]] {
        assert_eq!(place.run_training(&[&["--steps", "1"], flags].concat()).code, Some(2), "{flags:?}");
    }
}

/// 250,000 positions, of each pair of which the backward pass holds two values a head: a terabyte.
#[test]
#[cfg(target_os = "linux")]
fn a_training_that_memory_cannot_hold_is_refused_before_it_begins() {
    let place = Place::with_texts();
    fs::write(place.file("long.jsonl"), json!({ "text": "7".repeat(250_000) }).to_string()).unwrap();
    let error = place.training_refused(&["--data", "long.jsonl", "--steps", "1", "--batch-size", "1", "--recompute"]);
    for word in ["needs about 1", "MB are available", "--optimizer sgd", "shorter texts"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(!error.contains("--recompute") && !error.contains("--batch-size"), "{error}");
}
