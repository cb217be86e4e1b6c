//! Two receipts: the first step that they tell otherwise, and what else they tell otherwise.

use std::collections::BTreeMap;

use serde_json::Value;
use session::receipt::Receipt;

use super::report::Difference;

/// The members that have something for every step, in the order in which a step computes them.
const STEPS: [&str; 5] = ["logits_sha256", "token_ids", "loss_bits", "step_sha256", "sum_bits"];

/// The difference, if there is one. Signatures are none.
pub(super) fn compare(a: &Receipt, b: &Receipt) -> Option<Difference> {
    let [a, b] = [a, b].map(|receipt| {
        let mut members = BTreeMap::new();
        flatten("", serde_json::to_value(receipt).unwrap_or_default(), &mut members);
        members.retain(|name, _| !name.starts_with("signature."));
        members
    });
    let member = |name: &&String| -> bool { STEPS.iter().any(|step| name.ends_with(&format!(".{step}"))) };
    let names: Vec<&String> = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))).collect();
    let differ = |name: &&String| a.get(*name) != b.get(*name);
    let mut members: Vec<String> =
        names.iter().filter(|name| !member(name) && differ(name)).map(|name| name.to_string()).collect();
    members.sort();
    let steps = names.iter().filter(|name| member(name)).filter_map(|name| first(name, a.get(*name), b.get(*name)));
    let first = steps.min_by_key(|(step, name, ..)| {
        let place = STEPS.iter().position(|member| name.ends_with(member));
        (*step, place)
    });
    match first {
        Some((step, name, a, b)) => {
            let ulps = name.ends_with("_bits").then(|| ulps(&a, &b)).flatten();
            Some(Difference { ulps, members, ..Difference::of_member(step, &name, a, b) })
        }
        None if members.is_empty() => None,
        None => Some(Difference { members, ..Difference::default() }),
    }
}

/// All members by their path: `generation.request.sampler.seed`. Arrays stay whole.
fn flatten(path: &str, value: Value, members: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => object.into_iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            flatten(&path, value, members);
        }),
        leaf => {
            members.insert(path.to_string(), leaf);
        }
    }
}

/// The first step, from 1, at which two arrays differ, and what they have there: null where one has ended.
fn first(name: &str, a: Option<&Value>, b: Option<&Value>) -> Option<(usize, String, Value, Value)> {
    let (a, b) = (a?.as_array()?, b?.as_array()?);
    let at = |array: &Vec<Value>, step: usize| array.get(step).cloned().unwrap_or(Value::Null);
    let step = (0..a.len().max(b.len())).find(|&step| a.get(step) != b.get(step))?;
    Some((step + 1, name.to_string(), at(a, step), at(b, step)))
}

/// The distance of two binary32 numbers, given by their bits.
fn ulps(a: &Value, b: &Value) -> Option<u64> {
    let number = |value: &Value| u32::from_str_radix(value.as_str()?, 16).ok().map(f32::from_bits);
    super::values::ulps(number(a)?, number(b)?)
}
