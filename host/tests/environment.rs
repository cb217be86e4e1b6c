//! N1: a program whose caller flushes subnormal numbers to zero computes nothing.

use std::process::Command;

use crate::command::{lockstep, run};
use crate::model;

/// Sets flush-to-zero and denormals-are-zero before `main`, as libraries built with `-ffast-math` do.
const FAST_MATH: &str = "__attribute__((constructor)) static void fast(void) { __builtin_ia32_ldmxcsr(0x9fc0); }";

#[test]
fn n1_subnormals_flushed_from_outside_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("fast.c"), folder.path().join("libfast.so"));
    std::fs::write(&source, FAST_MATH).unwrap();
    // The linker of Rust programs: it is there.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(built.success());
    let generate = |preload: bool| {
        let mut command = lockstep("generate");
        command.arg("--model").arg(model::dir()).args(["--prompt-ids", "1", "--max-tokens", "1"]);
        if preload {
            command.env("LD_PRELOAD", &library);
        }
        run(&mut command, b"")
    };
    let refused = generate(true);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("flushes subnormal numbers to zero"), "{refused:?}");
    assert_eq!(generate(false).code, Some(0));
}
