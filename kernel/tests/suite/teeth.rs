//! The tests' own tests: other orders must differ on our inputs, and the comparators must reject what is wrong.

use crate::inputs::{Numbers, Truth, same_bits, worst_error};
use crate::spec;

const COUNT: usize = 500;

/// Of `COUNT` dot products of 576 terms, in how many another order gives other bits than the contract's.
fn differing(other: impl Fn(&[f32], &[f32]) -> f32) -> usize {
    let mut n = Numbers::new(3);
    let cases: Vec<_> = (0..COUNT).map(|_| (n.f32s(576), n.f32s(576))).collect();
    cases.iter().filter(|(x, y)| other(x, y).to_bits() != spec::dot(x, y).to_bits()).count()
}

fn products(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x * y).collect()
}

fn lanes(x: &[f32], y: &[f32], width: usize) -> f32 {
    let mut a = vec![0.0_f32; width];
    products(x, y).iter().enumerate().for_each(|(i, p)| a[i % width] += p);
    while a.len() > 1 {
        let upper = a.split_off(a.len() / 2);
        a.iter_mut().zip(upper).for_each(|(a, b)| *a += b);
    }
    a[0]
}

fn pairwise(terms: &[f32]) -> f32 {
    match terms {
        [one] => *one,
        _ => {
            let (a, b) = terms.split_at(terms.len() / 2);
            pairwise(a) + pairwise(b)
        }
    }
}

/// The fused sum, by binary64: the product is exact there, and the sum is rounded to binary32 once (nearly always as a
/// fused multiply-add would).
fn fused(x: &[f32], y: &[f32]) -> f32 {
    let mut a = [0.0_f32; 16];
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        a[i % 16] = (f64::from(a[i % 16]) + f64::from(*x) * f64::from(*y)) as f32;
    }
    spec::fold(a, |x, y| x + y)
}

/// Neighbours first, as horizontal-add instructions do.
fn neighbours(x: &[f32], y: &[f32]) -> f32 {
    let mut a = [0.0_f32; 16];
    products(x, y).iter().enumerate().for_each(|(i, p)| a[i % 16] += p);
    for n in [8, 4, 2, 1] {
        for j in 0..n {
            a[j] = a[2 * j] + a[2 * j + 1];
        }
    }
    a[0]
}

#[test]
fn other_orders_differ_on_our_inputs() {
    assert_eq!(differing(|x, y| lanes(x, y, 16)), 0);
    for (name, count) in [
        ("sequential", differing(|x, y| products(x, y).iter().fold(0.0, |a, p| a + p))),
        ("pairwise", differing(|x, y| pairwise(&products(x, y)))),
        ("8 lanes", differing(|x, y| lanes(x, y, 8))),
        ("32 lanes", differing(|x, y| lanes(x, y, 32))),
        ("fused", differing(fused)),
        ("neighbours first", differing(neighbours)),
    ] {
        assert!(count > COUNT / 2, "{name} differs in {count} of {COUNT} cases only");
    }
}

#[test]
fn comparators_reject_what_is_wrong() {
    for (a, b) in [(0.0, 1.0), (f32::NAN, 0.0), (-0.0, 0.0), (f32::INFINITY, f32::MAX)] {
        assert!(!same_bits(&[a], &[b]) && !same_bits(&[b], &[a]), "{a} {b}");
    }
    assert!(!same_bits(&[], &[1.0]));
    let error = |v: f32, value: f64| worst_error(&[v], &[Truth { value, scale: value.abs() }]);
    let max = f64::from(f32::MAX);
    for (a, b) in [(0.0, 1.0), (1.0, 0.0), (f32::NAN, 0.0), (f32::INFINITY, max), (f32::MAX, f64::INFINITY)] {
        assert!(error(a, b) >= 1e6, "{a} {b}");
    }
    assert_eq!(worst_error(&[], &[Truth { value: 1.0, scale: 1.0 }]), f64::INFINITY);
    assert_eq!(error(1.0 + f32::EPSILON, 1.0), 2.0);
}
