//! Changes to valid inputs: of bytes, and of JSON as a tree.

use serde_json::{Map, Value, json};

use crate::Random;

/// Values at which lengths and offsets go wrong.
pub const NASTY: [u64; 9] = [0, 1, 2, 0x7f, 0xff, 0xffff_ffff, 1 << 62, i64::MAX as u64, u64::MAX];

/// Makes one to three changes to the bytes; `words` are texts that mean something in them.
pub fn bytes(input: &mut Vec<u8>, random: &mut Random, words: &[&[u8]]) {
    for _ in 0..=random.below(3) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 => flip(input, at, 1 << random.below(8)),
            1 => flip(input, at, random.next() as u8),
            2 => input.truncate(at),
            3 => {
                let nasty = NASTY[random.below(NASTY.len())].to_le_bytes();
                input.iter_mut().skip(at).zip(nasty).for_each(|(byte, nasty)| *byte = nasty);
            }
            4 => {
                let (from, len) = (random.below(input.len() + 1), random.below(40));
                let copy: Vec<u8> = input[from..].iter().copied().take(len).collect();
                input.splice(at..at, copy);
            }
            5 => drop(input.drain(at..(at + random.below(40)).min(input.len()))),
            6 => digits(input, at, random),
            _ if words.is_empty() => input.insert(at, random.next() as u8),
            _ => drop(input.splice(at..at, random.choose(words).iter().copied())),
        }
    }
}

fn flip(input: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= bits;
    }
}

/// Writes another number in the place of the first one from `at` on.
fn digits(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|from| at + from) else { return };
    let len = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = match random.below(3) {
        0 => NASTY[random.below(NASTY.len())],
        _ => random.below(100) as u64,
    };
    input.splice(start..start + len, number.to_string().into_bytes());
}

/// Makes a change to a node of the tree, `words` being names and texts that mean something in it.
pub fn json(tree: &mut Value, random: &mut Random, words: &[&str]) {
    let other = node(tree, random).clone();
    let target = node(tree, random);
    match target {
        Value::Array(list) if !list.is_empty() && random.once_in(2) => {
            let at = random.below(list.len());
            match random.below(3) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[at].clone()),
                _ => list.insert(at, other),
            }
        }
        Value::Object(object) if !object.is_empty() && random.once_in(2) => member(object, random, words, other),
        Value::Number(number) if random.once_in(2) => {
            let near = number.as_u64().unwrap_or_default().wrapping_add(random.below(5) as u64).wrapping_sub(2);
            *target = json!(near);
        }
        Value::String(text) if !text.is_empty() && random.once_in(2) => {
            let mut changed = std::mem::take(text).into_bytes();
            let at = random.below(changed.len());
            // Digits and letters are where a change can stay well-formed.
            changed[at] = b"0123456789abcdef"[random.below(16)];
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        _ => *target = value(random, words, other),
    }
}

/// Any node of the tree, those near the root more often.
fn node<'a>(tree: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let children = match &*tree {
        Value::Array(list) => list.len(),
        Value::Object(object) => object.len(),
        _ => 0,
    };
    if children == 0 || random.once_in(5) {
        return tree;
    }
    let at = random.below(children);
    let child = match tree {
        Value::Array(list) => list.get_mut(at),
        Value::Object(object) => object.values_mut().nth(at),
        _ => None,
    };
    // There is a child `at`: it is below their number.
    node(child.expect("a child"), random)
}

fn member(object: &mut Map<String, Value>, random: &mut Random, words: &[&str], other: Value) {
    let name = object.keys().nth(random.below(object.len())).cloned().unwrap_or_default();
    match random.below(3) {
        0 => drop(object.remove(&name)),
        1 => {
            let value = object.remove(&name).unwrap_or_default();
            object.insert(word(random, words), value);
        }
        _ => drop(object.insert(word(random, words), other)),
    }
}

fn word(random: &mut Random, words: &[&str]) -> String {
    if words.is_empty() { String::new() } else { random.choose(words).to_owned() }
}

fn value(random: &mut Random, words: &[&str], other: Value) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => json!(random.once_in(2)),
        2 => json!(NASTY[random.below(NASTY.len())]),
        3 => json!(-1),
        4 => json!(random.below(100) as f64 / 8.0),
        5 => json!([]),
        6 => json!({}),
        7 => json!(word(random, words)),
        8 => json!(random.below(20)),
        _ => other,
    }
}
