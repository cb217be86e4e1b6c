//! Lays the weights of a tiny model into a file, which the program has in flash, and tells the linker the memory.

use std::path::PathBuf;
use std::{env, fs};

use kernel::golden::Tiny;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder"));
    let weights: Vec<u8> = Tiny::One.tensors().flat_map(|(_, bytes)| bytes).collect();
    fs::write(out.join("weights.bin"), weights).expect("the folder can be written to");
    fs::copy("memory.x", out.join("memory.x")).expect("the folder can be written to");
    println!("cargo:rustc-link-search={}", out.display());
    // Small segments without padding between them; the layout of cortex-m-rt.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=memory.x");
}
