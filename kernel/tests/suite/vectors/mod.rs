//! The published vectors in `docs/vectors`: the operators' are what the spec oracle says and what every backend gives, the tiny
//! models' are what every backend gives. The README there says how inputs are made, so that anyone can compute them again.
//!
//! With `LOCKSTEP_WRITE_VECTORS=1` the files are written instead, for a new version of the contract.

mod backward;
mod forward;
mod optimizers;
mod tiny;

use crate::inputs::{everywhere, exported, guarded};
use crate::spec;
use kernel::Exec;
use kernel::random::philox;
use kernel::simd::Bf16;
use kernel::transcript::PROFILE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const STORED: &str = include_str!("../../../../docs/vectors/operators.json");

/// Operators that are two others in one call: those have the vectors, the tests in `ops.rs` hold these to the same bits.
const FUSED: [&str; 3] = ["matmul_forward_each", "matmul_sgd_step", "matmul_backward_sgd_step"];

/// What the elements of an input are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// binary32
    F32,
    /// binary32 numbers that are bfloat16 too
    Bf16,
    /// binary32 numbers that are not negative
    Square,
    /// Token ids
    Ids,
}

/// An input: its elements follow from the seed, the place among the inputs, and the kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    /// Of ids, the number that they are below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<u32>,
}

pub fn input(name: &str, kind: Kind, shape: &[usize]) -> Input {
    Input { name: name.to_string(), kind, shape: shape.to_vec(), below: None }
}

pub fn f32s(name: &str, shape: &[usize]) -> Input {
    input(name, Kind::F32, shape)
}

pub fn bf16s(name: &str, shape: &[usize]) -> Input {
    input(name, Kind::Bf16, shape)
}

pub fn ids(name: &str, count: usize, below: usize) -> Input {
    Input { below: Some(below as u32), ..input(name, Kind::Ids, &[count]) }
}

/// A named list of numbers, as their bits: 8 hexadecimal digits each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    name: String,
    bits: String,
}

/// A line of `operators.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    operator: String,
    seed: u64,
    /// Names and sizes.
    dims: Vec<(String, usize)>,
    /// Names and bits.
    scalars: Vec<(String, String)>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    profile: String,
    vectors: Vec<Vector>,
}

/// An operator in one of its forms: its shapes, what it takes and gives, how the kernel runs it and what the contract says.
pub struct Row {
    pub operator: &'static str,
    pub dims: &'static [&'static str],
    pub shapes: &'static [&'static [usize]],
    pub scalars: &'static [(&'static str, f32)],
    pub inputs: fn(&Given) -> Vec<Input>,
    pub outputs: &'static [&'static str],
    pub run: fn(Exec<'_>, &Given) -> Vec<Vec<f32>>,
    pub spec: fn(&Given) -> Vec<Vec<f32>>,
}

/// What a vector is computed from.
pub struct Given {
    dims: Vec<(String, usize)>,
    scalars: Vec<(String, f32)>,
    values: Vec<(String, Vec<f32>)>,
    ids: Vec<(String, Vec<u32>)>,
}

fn named<'a, T>(all: &'a [(String, T)], name: &str) -> &'a T {
    &all.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name} in this vector")).1
}

impl Given {
    fn new(dims: Vec<(String, usize)>, scalars: Vec<(String, f32)>) -> Given {
        Given { dims, scalars, values: vec![], ids: vec![] }
    }

    /// The same with its inputs.
    fn with(mut self, seed: u64, inputs: &[Input]) -> Given {
        for (input, place) in inputs.iter().zip(0..) {
            let count: usize = input.shape.iter().product();
            let words = (0..count as u32).map(|i| philox(seed, [u32::MAX, place, i, 0])[0]);
            match (input.kind, input.below) {
                (Kind::Ids, Some(below)) => self.ids.push((input.name.clone(), words.map(|w| w % below).collect())),
                (kind, _) => self.values.push((input.name.clone(), words.map(|w| number(w, kind)).collect())),
            }
        }
        self
    }

    pub fn dim(&self, name: &str) -> usize {
        *named(&self.dims, name)
    }

    pub fn scalar(&self, name: &str) -> f32 {
        *named(&self.scalars, name)
    }

    pub fn values(&self, name: &str) -> &[f32] {
        named::<Vec<f32>>(&self.values, name)
    }

    pub fn ids(&self, name: &str) -> &[u32] {
        named::<Vec<u32>>(&self.ids, name)
    }

    /// Values of the kind [`Kind::Bf16`] in their width.
    pub fn narrow(&self, name: &str) -> Vec<Bf16> {
        self.values(name).iter().map(|v| Bf16((v.to_bits() >> 16) as u16)).collect()
    }

    /// Runs `f` on a copy of these values, between two zones that must stay untouched.
    pub fn changed(&self, name: &str, f: impl FnOnce(&mut [f32])) -> Vec<f32> {
        let start = self.values(name);
        guarded(start.len(), |out| {
            out.copy_from_slice(start);
            f(out);
        })
    }
}

/// A number of a random word: uniform between -1 and 1, now and then a zero, 16 times as large or 2^20 times smaller. All of it
/// is exact.
fn number(word: u32, kind: Kind) -> f32 {
    let unit = (word >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let value = match word & 0xff {
        0 => 0.0,
        1 => -0.0,
        2..8 => unit * 16.0,
        8..12 => unit / (1 << 20) as f32,
        _ => unit,
    };
    match kind {
        Kind::Bf16 => f32::from_bits(value.to_bits() & 0xffff_0000),
        Kind::Square => value.abs(),
        Kind::F32 | Kind::Ids => value,
    }
}

fn bits(values: &[f32]) -> String {
    values.iter().map(|value| format!("{:08x}", value.to_bits())).collect()
}

fn rows() -> impl Iterator<Item = &'static Row> {
    forward::ROWS.iter().chain(backward::ROWS).chain(optimizers::ROWS)
}

/// The vectors, as the spec oracle says.
fn specified() -> Vec<(&'static Row, Given, Vector)> {
    let mut all = Vec::new();
    for row in rows() {
        for sizes in row.shapes {
            let seed = all.len() as u64 + 1;
            let dims: Vec<_> = row.dims.iter().map(|name| name.to_string()).zip(sizes.iter().copied()).collect();
            let scalars: Vec<_> = row.scalars.iter().map(|(name, value)| (name.to_string(), *value)).collect();
            let given = Given::new(dims.clone(), scalars.clone());
            let inputs = (row.inputs)(&given);
            let given = given.with(seed, &inputs);
            let outputs = row.outputs.iter().zip((row.spec)(&given));
            let outputs =
                outputs.map(|(name, values)| Output { name: name.to_string(), bits: bits(&values) }).collect();
            let scalars = scalars.into_iter().map(|(name, value)| (name, bits(&[value]))).collect();
            all.push((row, given, Vector { operator: row.operator.to_string(), seed, dims, scalars, inputs, outputs }));
        }
    }
    all
}

/// Whether the files are to be written instead of compared.
fn writing() -> bool {
    std::env::var_os("LOCKSTEP_WRITE_VECTORS").is_some()
}

fn write(name: &str, text: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors");
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn vectors_of_operators_are_what_the_contract_says_and_every_backend_gives() {
    let specified = specified();
    if writing() {
        let lines: Vec<String> = specified.iter().map(|(_, _, v)| serde_json::to_string(v).unwrap()).collect();
        write("operators.json", &format!("{{\"profile\":\"{PROFILE}\",\"vectors\":[\n{}\n]}}\n", lines.join(",\n")));
        return;
    }
    let stored: Stored = serde_json::from_str(STORED).unwrap();
    assert_eq!((&stored.profile[..], stored.vectors.len()), (PROFILE, specified.len()));
    for ((row, given, vector), stored) in specified.iter().zip(&stored.vectors) {
        assert_eq!(vector, stored, "what the spec oracle says of {} {:?}", row.operator, vector.dims);
        everywhere(|exec, place| {
            let found = (row.run)(exec, given);
            assert_eq!(found.len(), stored.outputs.len());
            for (found, Output { name, bits: expected }) in found.iter().zip(&stored.outputs) {
                let at = bits(found).bytes().zip(expected.bytes()).position(|(a, b)| a != b).map(|at| at / 8);
                let same = bits(found) == *expected;
                assert!(same, "{} {:?}, {name}, {place}: element {at:?}", row.operator, vector.dims);
            }
        });
    }
}

#[test]
fn vectors_are_there_for_every_exported_operator_and_bite() {
    let named: BTreeSet<&str> = rows().map(|row| row.operator).chain(FUSED).collect();
    let exports = exported(&["_forward", "_backward", "_step", "_merge"]);
    assert_eq!(exports, named);
    // No output is zeros or holds a NaN, which N9 lets be any: such a vector would see nothing.
    for (row, _, vector) in specified() {
        for Output { name, bits } in &vector.outputs {
            let words = || (0..bits.len()).step_by(8).map(|at| u32::from_str_radix(&bits[at..at + 8], 16).unwrap());
            let finite = words().all(|word| f32::from_bits(word).is_finite());
            assert!(finite && words().any(|word| word << 1 != 0), "{} {:?} {name}", row.operator, vector.dims);
        }
    }
    let sizes: BTreeSet<usize> =
        rows().flat_map(|row| row.shapes.iter().flat_map(|sizes| sizes.iter().copied())).collect();
    assert!([1, 2, 15, 16, 17, 53].iter().all(|size| sizes.contains(size)));
}

/// The elements of a row of a matrix.
pub fn row(matrix: &[f32], cols: usize, index: usize) -> &[f32] {
    &matrix[index * cols..(index + 1) * cols]
}

/// `x W^T`, by the contract.
pub fn linear(x: &[f32], w: &[f32], cols: usize) -> Vec<f32> {
    x.chunks_exact(cols).flat_map(|x| w.chunks_exact(cols).map(move |w| spec::dot(w, x))).collect()
}
