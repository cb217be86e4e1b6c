//! The kernel as a WASI program. It needs no standard library: what it takes from the engine are two functions, one that writes
//! and one that ends it.
//!
//! Both tiny models of the contract generate and are trained. Each result goes out as a line of a name, a tab and a value, as
//! docs/vectors/tiny.json has them.
#![no_std]
#![no_main]

extern crate alloc;

mod system;

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;

use kernel::generate::{Generation, Progress, Request, Sampler};
use kernel::golden::{IDENTITY, Tiny};
use kernel::model::Model;
use kernel::train::Trainer;
use kernel::transcript::{PROFILE, hex, transcript};
use kernel::{Exec, environment, golden};
use system::{exit, memory, print};

/// Where the engine begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    if let Err(why) = run() {
        print(system::Output::Error, &format!("failed: {why}\n"));
        exit(1);
    }
}

/// An error as text.
fn said(error: impl Display) -> String {
    error.to_string()
}

fn tell(name: &str, value: impl Display) {
    print(system::Output::Plain, &format!("{name}\t{value}\n"));
}

fn run() -> Result<(), String> {
    environment::check().map_err(said)?;
    let exec = Exec::serial();
    tell("profile", PROFILE);
    tell("backend", exec.backend.name());
    for tiny in Tiny::ALL {
        let model = tiny.model();
        generate(exec, tiny, &model)?;
        train(exec, tiny, &model)?;
    }
    golden::check(exec).map_err(said)?;
    tell("memory", memory());
    Ok(())
}

/// Generates 40 tokens greedily.
fn generate(exec: Exec<'_>, tiny: Tiny, model: &Model) -> Result<(), String> {
    let sampler = Sampler::GREEDY;
    let request = Request { prompt: tiny.prompt(), max_tokens: 40, ignore_eos: true, sampler, logprobs: None };
    let mut generation = Generation::new(model, request).map_err(said)?;
    loop {
        match generation.advance(model, exec).map_err(said)? {
            Progress::Prefill { .. } => {}
            Progress::Token(step) if step.step == 1 => {
                tell(&format!("logits {}", tiny.number()), hex(&step.logits_sha256));
            }
            Progress::Token(_) => {}
            Progress::Finished(_) => break,
        }
    }
    tell(&format!("generation {}", tiny.number()), hex(&transcript(&IDENTITY, &generation)));
    Ok(())
}

/// Trains for three steps.
fn train(exec: Exec<'_>, tiny: Tiny, model: &Model) -> Result<(), String> {
    let batch = tiny.batch();
    let mut trainer = Trainer::new(model, tiny.training());
    for _ in 0..3 {
        let report = trainer.step(exec, &batch).map_err(said)?;
        let (digest, loss, norm) = (hex(&report.digest), report.loss.to_bits(), report.grad_norm.to_bits());
        let name = format!("training {}, step {}", tiny.number(), report.step);
        tell(&name, format_args!("{digest} loss {loss:08x} norm {norm:08x}"));
    }
    Ok(())
}
