//! What operators gave, from a file or computed, and the first value that differs.

use std::collections::BTreeMap;

use kernel::Exec;
use kernel::model::{Place, Traced};
use loader::{Checkpoint, DType};
use serde_json::{Value, json};
use session::receipt::Bits32;

use super::report::{Difference, Extent, Finding};
use crate::Failure;
use crate::open::Opened;
use crate::trace::{IDS, trace};

/// Where values stand in the computation: the embedding, each layer, what follows; within a layer by place.
type Key = (Stage, Place);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Before,
    Layer(usize),
    After,
}

/// The output of an operator, one row for each position.
struct Rows {
    width: usize,
    values: Vec<f32>,
}

/// What operators gave for a text.
pub(super) struct Values {
    rows: BTreeMap<Key, Rows>,
    /// The text, where it is known.
    pub ids: Option<Vec<u32>>,
}

fn key(place: Place, layer: usize) -> Key {
    match place {
        Place::Embedding => (Stage::Before, place),
        Place::Norm | Place::Logits => (Stage::After, place),
        _ => (Stage::Layer(layer), place),
    }
}

/// The key of a tensor, by its name.
fn key_of(name: &str) -> Option<Key> {
    let (layer, op) = match name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, op)) => (Some(layer.parse().ok()?), op),
        None => (None, name),
    };
    let place = Place::ALL.into_iter().find(|place| place.op() == op && place.in_layer() == layer.is_some())?;
    Some(key(place, layer.unwrap_or(0)))
}

fn name_of(&(stage, place): &Key) -> String {
    place.tensor(if let Stage::Layer(layer) = stage { layer } else { 0 })
}

impl Values {
    /// Those of a file. Tensors whose names say nothing here are left out.
    ///
    /// # Errors
    /// If none is left, or one is not binary32 of the shape `[positions, width]`.
    pub fn of_file(file: &Checkpoint) -> Result<Values, String> {
        let mut rows = BTreeMap::new();
        for (info, _) in file.tensors() {
            let (Some(key), Some(bytes)) = (key_of(&info.name), file.tensor_bytes(&info.name)) else { continue };
            let width = match info.shape[..] {
                [_, width] | [1, _, width] if info.dtype == DType::F32 => width,
                _ => {
                    return Err(format!(
                        "{} is {} {:?}; write it as F32 [positions, width]",
                        info.name,
                        info.dtype.name(),
                        info.shape
                    ));
                }
            };
            let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            rows.insert(key, Rows { width, values });
        }
        if rows.is_empty() {
            return Err(
                "it has no tensor of a name that is known here (`logits`, `model.layers.0.mlp.gate_proj`, ...)".into(),
            );
        }
        let ids = file.shards().iter().flat_map(|shard| shard.header().metadata()).find(|(key, _)| key == IDS);
        let ids = ids.and_then(|(_, ids)| ids.split(',').map(|id| id.parse().ok()).collect());
        Ok(Values { rows, ids })
    }

    /// Those that `exec` computes.
    ///
    /// # Errors
    /// See [`trace`].
    pub fn of_backend(opened: &Opened, exec: Exec<'_>, ids: &[u32]) -> Result<Values, Failure> {
        // There may be two sides.
        let traced = trace(&opened.model, exec, ids, 2)?;
        let rows = traced.into_iter().map(|Traced { layer, place, values }| {
            let width = values.len() / ids.len();
            (key(place, layer), Rows { width, values })
        });
        Ok(Values { rows: rows.collect(), ids: Some(ids.to_vec()) })
    }

    /// The logits of each position.
    pub fn logits(&self) -> Option<impl Iterator<Item = &[f32]>> {
        let rows = self.rows.get(&key(Place::Logits, 0)).filter(|rows| rows.width > 0)?;
        Some(rows.values.chunks_exact(rows.width))
    }
}

/// The number with the fewest decimals that is this value as binary32; none if it is not finite.
fn shortest(value: f32) -> Option<f64> {
    value.to_string().parse().ok().filter(|number: &f64| number.is_finite())
}

/// How many binary32 numbers lie from `a` to `b`; 0 from -0 to +0, none if one is NaN.
pub(super) fn ulps(a: f32, b: f32) -> Option<u64> {
    let place = |value: f32| {
        let magnitude = i64::from(value.to_bits() & 0x7fff_ffff);
        if value.is_sign_negative() { -magnitude } else { magnitude }
    };
    (!a.is_nan() && !b.is_nan()).then(|| place(a).abs_diff(place(b)))
}

/// How far apart two values may be and still count as the same.
#[derive(Clone, Copy, Default)]
pub(super) struct Near {
    pub max_ulps: u64,
    pub tolerance: f32,
}

/// Whether two values are neither the same nor near. Any NaN is the same as any other (N9).
fn differ(a: f32, b: f32, near: Near) -> bool {
    let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let by_ulps = near.max_ulps > 0 && ulps(a, b).is_some_and(|ulps| ulps <= near.max_ulps);
    let by_value = near.tolerance > 0.0 && (a - b).abs() <= near.tolerance;
    !(same || by_ulps || by_value)
}

/// The first difference: at the first position that has any, of the first operator, the first element.
pub(super) fn compare(a: &Values, b: &Values, near: Near) -> Finding {
    if let (Some(of_a), Some(of_b)) = (&a.ids, &b.ids)
        && of_a != of_b
    {
        return Finding::Cannot("the two are of different texts".to_string());
    }
    let mut first: Option<(usize, Key, usize)> = None;
    let alone = |a: &Values, b: &Values| -> Vec<String> {
        a.rows.keys().filter(|key| !b.rows.contains_key(key)).map(name_of).collect()
    };
    let not_compared = [alone(a, b), alone(b, a)].concat();
    let mut extent = Extent { not_compared, max_ulps: Some(0), ..Extent::default() };
    for (key, of_a) in &a.rows {
        let Some(of_b) = b.rows.get(key) else { continue };
        let shape = |rows: &Rows| [rows.values.len() / rows.width.max(1), rows.width];
        if of_a.width != of_b.width || of_a.values.len() != of_b.values.len() {
            let name = name_of(key);
            return Finding::Cannot(format!("{name} is {:?} in A and {:?} in B", shape(of_a), shape(of_b)));
        }
        let before = extent.values_differ;
        for (index, (&a, &b)) in of_a.values.iter().zip(&of_b.values).enumerate() {
            if differ(a, b, near) {
                extent.values_differ += 1;
                extent.max_ulps = extent.max_ulps.zip(ulps(a, b)).map(|(most, ulps)| most.max(ulps));
                let apart = (a - b).abs();
                if apart.is_nan() || apart > extent.max_difference {
                    extent.max_difference = apart;
                }
                let row = index / of_a.width;
                if first.is_none_or(|(first, ..)| row < first) {
                    first = Some((row, *key, index));
                }
            }
        }
        extent.tensors += 1;
        extent.values += of_a.values.len();
        extent.tensors_differ += usize::from(extent.values_differ > before);
    }
    if extent.tensors == 0 {
        return Finding::Cannot("the two have no tensor in common".to_string());
    }
    let Some((row, key, index)) = first else {
        return Finding::Equal(Some(format!("{} values in {} tensors", extent.values, extent.tensors)));
    };
    let (stage, place) = key;
    let [of_a, of_b] = [a, b].map(|side| side.rows[&key].values[index]);
    let number = |value: f32| -> Value { json!({"value": shortest(value), "bits": Bits32::from(value)}) };
    Finding::Differ(Box::new(Difference {
        step: Some(row + 1),
        layer: if let Stage::Layer(layer) = stage { Some(layer) } else { None },
        op: Some(place.op().to_string()),
        element: Some(index - row * a.rows[&key].width),
        ulps: ulps(of_a, of_b),
        a: number(of_a),
        b: number(of_b),
        extent: Some(extent),
        ..Difference::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_cross_zero_and_nan_has_none() {
        let next = |value: f32| f32::from_bits(value.to_bits() + 1);
        assert_eq!(ulps(1.0, next(1.0)), Some(1));
        assert_eq!(ulps(-f32::from_bits(1), f32::from_bits(2)), Some(3));
        assert_eq!((ulps(-0.0, 0.0), ulps(f32::MAX, f32::INFINITY), ulps(f32::NAN, 1.0)), (Some(0), Some(1), None));
        let exact = Near::default();
        let ulp = |max_ulps| Near { max_ulps, ..exact };
        assert!(differ(-0.0, 0.0, exact) && !differ(-0.0, 0.0, ulp(1)) && !differ(f32::NAN, -f32::NAN, exact));
        assert!(
            differ(1.0, next(1.0), exact) && !differ(1.0, next(1.0), ulp(1)) && differ(f32::NAN, 1.0, ulp(u64::MAX))
        );
        let tolerant = Near { tolerance: 0.5, ..exact };
        assert!(!differ(1.0, 1.5, tolerant) && differ(1.0, 1.6, tolerant) && differ(f32::NAN, 1.0, tolerant));
        assert_eq!((shortest(0.1), shortest(f32::INFINITY)), (Some(0.1), None));
    }

    #[test]
    fn every_place_is_found_by_its_name() {
        for place in Place::ALL {
            assert!(key_of(&place.tensor(7)) == Some(key(place, 7)), "{place:?}");
        }
        for unknown in ["", "model.layers.x.mlp.up_proj", "model.layers.3", "mlp.up_proj", "model.layers.1.logits"] {
            assert!(key_of(unknown).is_none(), "{unknown}");
        }
    }
}
