//! Every target, a few thousand times: the ordinary test of what the program `fuzz` does for hours.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use fuzz::{Random, Seen, Target, drive, minimise, targets};

/// A number of the environment.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?}: give a number")))
}

/// Runs a target. The seed is fixed; `LOCKSTEP_FUZZ_SEED` overrides it, and `LOCKSTEP_FUZZ_RUNS` the number of executions.
fn seeded(name: &str) {
    let target = targets::named(name).unwrap();
    let (seed, runs) = (given("LOCKSTEP_FUZZ_SEED").unwrap_or(20_261_127), given("LOCKSTEP_FUZZ_RUNS"));
    println!("LOCKSTEP_FUZZ_SEED={seed}");
    let report = drive(target, seed, 0..runs.unwrap_or(target.runs)).unwrap_or_else(|find| panic!("{find}"));
    println!("{:?}", report.made.counts().collect::<Vec<_>>());
    if runs.is_none_or(|runs| runs >= target.runs) {
        assert_eq!(report.missing(target), [""; 0], "never seen, with seed {seed}: the inputs do not reach everything");
    }
}

#[test]
fn safetensors_files() {
    seeded("safetensors");
}

#[test]
fn gguf_files() {
    seeded("gguf");
}

#[test]
fn tokenizer_definitions() {
    seeded("tokenizer");
}

#[test]
fn texts_and_ids() {
    seeded("bpe");
}

#[test]
fn chat_templates() {
    seeded("chat");
}

#[test]
fn receipts() {
    seeded("receipt");
}

#[test]
fn http_requests() {
    seeded("http");
}

#[test]
fn every_target_has_a_test() {
    let tests = include_str!("seeded.rs");
    for target in &targets::ALL {
        assert!(tests.contains(&format!("seeded(\"{}\");", target.name)), "{}", target.name);
    }
}

/// Fails for inputs with two `x` in them, and notes the others.
const PLANTED: Target = Target {
    name: "planted",
    cases: || vec![b"a case".to_vec()],
    generate: |random| (0..random.below(40)).map(|_| b"wxyz"[random.below(4)]).collect(),
    run: |input, seen| {
        let count = input.iter().filter(|byte| **byte == b'x').count();
        assert!(count < 2, "{count} of them");
        seen.note(if count == 0 { "none" } else { "one" });
    },
    outcomes: &["none", "one", "of cases", "never"],
    rare: &["of cases"],
    runs: 100,
};

#[test]
fn a_find_is_made_small_and_kept_in_a_file() {
    let find = drive(&PLANTED, 3, 0..1000).unwrap_err();
    assert_eq!(find.input, b"xx");
    assert!(find.message.contains(" of them") && find.message.contains("seeded.rs"), "{}", find.message);
    let execution: u64 = find.place.split(' ').nth(2).unwrap().parse().unwrap();
    let input = (PLANTED.generate)(&mut Random::new(3, execution));
    assert!(
        input.iter().filter(|byte| **byte == b'x').count() > 1,
        "the execution that is named makes the input again"
    );
    let file = find.file.clone().unwrap();
    assert!(find.to_string().contains(file.to_str().unwrap()));
    assert_eq!(std::fs::read(&file).unwrap(), b"xx");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_never_comes_up_is_told() {
    let no_x = Target { generate: |_| b"y".to_vec(), ..PLANTED };
    let report = drive(&no_x, 3, 0..10).unwrap();
    assert_eq!(report.missing(&no_x), ["one", "of cases", "never"]);
    let of_cases = Target { run: |input, seen| seen.note(if input == b"y" { "none" } else { "of cases" }), ..no_x };
    assert_eq!(drive(&of_cases, 3, 0..10).unwrap().missing(&of_cases), ["one", "never"]);
    // Only rare ones may come of cases alone.
    let all = Target { rare: &[], ..of_cases };
    assert_eq!(drive(&all, 3, 0..10).unwrap().missing(&all), ["one", "of cases", "never"]);
}

#[test]
fn an_outcome_that_is_not_listed_is_a_find() {
    let unlisted = Target { run: |_, seen| seen.note("other"), ..PLANTED };
    assert!(drive(&unlisted, 3, 0..1).unwrap_err().message.contains("\"other\" is not in the target's list"));
    let mut seen = Seen::new(&["None"]);
    seen.refused(&None::<u8>);
    assert_eq!(seen.counts().collect::<Vec<_>>(), [("None", 1)]);
}

#[test]
fn parts_that_a_failure_does_not_need_are_left_out() {
    let input: Vec<u8> = (0..200).collect();
    let needed = |input: &[u8]| input.contains(&17) && input.contains(&130) && input.len() > 4;
    let small = minimise(&input, needed);
    assert_eq!(small.len(), 5);
    assert!(small.iter().filter(|byte| **byte == b'0').count() >= 3, "{small:?}");
    // What fails always is nothing.
    assert_eq!(minimise(&input, |_| true), b"");
}
