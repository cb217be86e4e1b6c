//! The memory of a server, and the estimate by which a training is refused, against what the system lets a training take.

use std::io::{BufRead, BufReader};

use host::open::open;
use kernel::model::LoraConfig;
use kernel::train::Optimizer;
use loader::Access;
use session::adapter::{DEFAULT_ALPHA, DEFAULT_RANK, DEFAULT_TARGETS};
use session::memory::{Plan, training_bytes};

use crate::command::{Finished, limited, lockstep, run};
use crate::model;
use crate::server::{request, start};

/// What the program needs beside a training: itself, the tokenizer, the stacks of two threads.
const PROGRAM: u64 = 64 << 20;
/// A text of 32 tokens.
const WORDS: u64 = 32;

/// Two steps, the second of which has all that the optimiser remembers, in a process that may have so many bytes of its own.
fn steps_within(bytes: u64, flags: &[&str]) -> Finished {
    let text = " word".repeat(WORDS as usize);
    let mut command = lockstep("train");
    command.arg("--model").arg(model::dir()).args(["--text", &text, "--steps", "2", "--threads", "2"]);
    command.args(["--learning-rate", "0.001"]).args(flags);
    run(&mut limited(&format!("-d {}", bytes >> 10), &command), b"")
}

#[test]
#[cfg(target_os = "linux")]
fn a_training_takes_what_the_estimate_says_and_not_much_less() {
    let opened = open(&model::dir(), Access::Map, None).unwrap();
    let config = opened.model.config();
    let adamw = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let sgd = Optimizer::Sgd { momentum: 0.0 };
    let lora = LoraConfig::new(config, DEFAULT_RANK, DEFAULT_ALPHA, &DEFAULT_TARGETS).unwrap();
    let plan = Plan { tokens: WORDS as usize, optimizer: sgd, recompute: false, hold_gradients: false, adapter: None };
    for (flags, plan) in [
        (&[][..], plan),
        (&["--optimizer", "adamw", "--clip-norm", "1"], Plan { optimizer: adamw, hold_gradients: true, ..plan }),
        (&["--method", "lora", "--optimizer", "adamw"], Plan { optimizer: adamw, adapter: Some(&lora), ..plan }),
    ] {
        let bytes = training_bytes(config, plan);
        let enough = steps_within(bytes + PROGRAM, flags);
        assert_eq!(enough.code, Some(0), "{bytes} bytes are not enough: {flags:?} {enough:?}");
        // Of what an adapter needs, the room for what is small is the larger part.
        if plan.adapter.is_some() {
            continue;
        }
        let part = bytes / 100 * 85;
        let little = steps_within(part, flags);
        assert!(little.stderr.contains("memory allocation of"), "{part} bytes are enough: {flags:?} {little:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_fills_a_context_of_512_tokens_has_less_than_80_mb_of_its_own() {
    let server = start(&["--ctx-size", "512", "--threads", "2"]);
    let path = format!("/api/generate?max_tokens=32&prompt={}", "%20word".repeat(480));
    let events = BufReader::new(server.send(&request("GET", &path, "")));
    let tokens = events.lines().map(Result::unwrap).filter(|line| line == "event: token");
    let memory: Vec<u64> = tokens.map(|_| server.own_memory()).collect();
    assert_eq!(memory.len(), 32);
    // Keys and values of 512 tokens, and the vocabulary, are about 30 MB.
    let most = memory.iter().max().copied().unwrap_or_default();
    assert!((20_000_000..80_000_000).contains(&most), "{memory:?}");
}
