//! The kernel on a microcontroller, without an operating system and without memory but a static array.
//!
//! The weights of a tiny model lie in flash, where they are read: none is copied. It is read forward, its gradients are computed,
//! and it is trained for a step. Each result goes out as a line of a name, a tab and a value: the first ones are those of
//! docs/vectors/tiny.json, the others say what memory it took.
#![no_std]
#![no_main]

extern crate alloc;

mod arena;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt::Display;
use core::panic::PanicInfo;

// Linked for its critical section, which the allocator takes.
use cortex_m as _;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use kernel::golden::Tiny;
use kernel::model::{KvCache, Logits, Model, Parameter, RawTensor, SharedBytes, Workspace, parameters};
use kernel::transcript::{PROFILE, hex, logits_digest};
use kernel::{Exec, environment};

/// Bytes at an address at which numbers may be read.
#[repr(align(4))]
struct Aligned<T: ?Sized>(T);

/// The tensors of the model, one after the other in the order of the table.
static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/weights.bin")));

#[entry]
fn start() -> ! {
    // SAFETY: the first thing that is done, once.
    unsafe { arena::init() };
    let code = match run() {
        Ok(()) => debug::EXIT_SUCCESS,
        Err(why) => {
            hprintln!("failed: {}", why);
            debug::EXIT_FAILURE
        }
    };
    loop {
        debug::exit(code);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}

/// An error as text.
fn said(error: impl Display) -> String {
    error.to_string()
}

fn run() -> Result<(), String> {
    environment::check().map_err(said)?;
    let exec = Exec::serial();
    hprintln!("profile\t{}", PROFILE);
    hprintln!("backend\t{}", exec.backend.name());
    let model = model().map_err(said)?;
    forward(exec, &model)?;
    hprintln!("arena, forward\t{}", arena::take_peak());
    #[cfg(feature = "training")]
    training::run(exec, &model)?;
    hprintln!("stack\t{}", stack());
    Ok(())
}

/// The model, over the weights in flash.
fn model() -> Result<Model, String> {
    let config = Tiny::One.config();
    let mut start = 0;
    let mut tensors = BTreeMap::new();
    for Parameter { name, shape } in parameters(&config) {
        let end = start + shape.iter().product::<usize>() * Tiny::One.dtype().size();
        let bytes = SharedBytes::new(Arc::new(&WEIGHTS.0), start..end).ok_or("the weights end early")?;
        tensors.insert(name, RawTensor { dtype: Tiny::One.dtype(), shape, bytes });
        start = end;
    }
    Model::load(config, &|name| tensors.get(name).cloned()).map_err(said)
}

/// Reads the prompt, and tells the logits of the token after it.
fn forward(exec: Exec<'_>, model: &Model) -> Result<(), String> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(exec, &mut cache, &Tiny::One.prompt(), Logits::Last, &mut workspace).map_err(said)?;
    hprintln!("logits 1\t{}", hex(&logits_digest(workspace.logits())));
    Ok(())
}

#[cfg(feature = "training")]
mod training {
    use super::*;
    use kernel::golden;
    use kernel::train::{Trainer, gradients};

    /// Computes gradients, trains for a step, and computes all golden values, generations and trainings of both tiny models.
    pub fn run(exec: Exec<'_>, model: &Model) -> Result<(), String> {
        let batch = Tiny::One.batch();
        let (loss, gradients) = gradients(exec, model, &batch, false).map_err(said)?;
        let tensors = (0..model.trainable().len()).filter(|&index| gradients.get(index).is_some()).count();
        hprintln!("backward 1\tloss {:08x}, {} gradients", loss.to_bits(), tensors);
        drop(gradients);
        hprintln!("arena, backward\t{}", arena::take_peak());

        let mut trainer = Trainer::new(model, Tiny::One.training());
        let report = trainer.step(exec, &batch).map_err(said)?;
        let (digest, loss, norm) = (hex(&report.digest), report.loss.to_bits(), report.grad_norm.to_bits());
        hprintln!("training 1, step 1\t{} loss {:08x} norm {:08x}", digest, loss, norm);
        drop(trainer);
        hprintln!("arena, training\t{}", arena::take_peak());

        golden::check(exec).map_err(said)?;
        hprintln!("generation\t{}", golden::EXPECTED);
        hprintln!("sampling\t{}", golden::EXPECTED_SAMPLING);
        hprintln!("training\t{}", golden::EXPECTED_TRAINING);
        hprintln!("arena, self-test\t{}", arena::take_peak());
        Ok(())
    }
}

/// The bytes of the stack that were used: from the first one, counted from its end, that is no longer as it was painted.
fn stack() -> usize {
    unsafe extern "C" {
        static _stack_end: u32;
        static _stack_start: u32;
    }
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut word = end;
    // SAFETY: cortex-m-rt has the stack, all of which it painted, between these two addresses.
    while word < start && unsafe { word.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    start as usize - word as usize
}
