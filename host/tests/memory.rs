//! The estimate by which a training is refused, against what the system lets a training take.

use std::process::Command;

use host::open::open;
use kernel::model::LoraConfig;
use kernel::train::Optimizer;
use loader::Access;
use session::adapter::{DEFAULT_ALPHA, DEFAULT_RANK, DEFAULT_TARGETS};
use session::memory::{Plan, training_bytes};

use crate::command::{Finished, lockstep, run};
use crate::model;

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
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -d $1; shift; exec \"$@\"", "sh"]).arg((bytes >> 10).to_string());
    run(limited.arg(command.get_program()).args(command.get_args()), b"")
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
