//! The rotary embedding of a `config.json`: its base and its scaling, in both layouts that transformers writes.

use super::ConfigError;
use super::fields::{Field, above_zero, at_least_one, count, describe, from_one, positive, whole};
use crate::ops::RopeScaling;
use alloc::format;

/// The keys of a layout.
struct Layout {
    object: &'static str,
    rope_type: &'static str,
    /// What `rope_type` was called before.
    older_type: &'static str,
    factor: &'static str,
    low_freq_factor: &'static str,
    high_freq_factor: &'static str,
    original: &'static str,
}

/// Until transformers 4: `rope_theta` beside it.
const OLD: Layout = Layout {
    object: "rope_scaling",
    rope_type: "rope_scaling.rope_type",
    older_type: "rope_scaling.type",
    factor: "rope_scaling.factor",
    low_freq_factor: "rope_scaling.low_freq_factor",
    high_freq_factor: "rope_scaling.high_freq_factor",
    original: "rope_scaling.original_max_position_embeddings",
};

/// From transformers 5 on: `rope_theta` inside.
const NEW: Layout = Layout {
    object: "rope_parameters",
    rope_type: "rope_parameters.rope_type",
    older_type: "rope_parameters.type",
    factor: "rope_parameters.factor",
    low_freq_factor: "rope_parameters.low_freq_factor",
    high_freq_factor: "rope_parameters.high_freq_factor",
    original: "rope_parameters.original_max_position_embeddings",
};

/// The base of the frequencies and their scaling.
pub(super) fn read<'a>(lookup: &impl Fn(&str) -> Field<'a>) -> Result<(f64, Option<RopeScaling>), ConfigError> {
    let (outside, inside) = ("rope_theta", "rope_parameters.rope_theta");
    let theta = match (lookup(outside), lookup(inside)) {
        (_, Field::Absent) => at_least_one(lookup, outside)?,
        (Field::Absent, _) => at_least_one(lookup, inside)?,
        _ => match (at_least_one(lookup, outside)?, at_least_one(lookup, inside)?) {
            (one, other) if one == other => one,
            (one, other) => {
                let what = format!("rope_theta is {one}, and in rope_parameters it is {other}");
                return Err(ConfigError::Mismatch { what });
            }
        },
    };
    let scaling = match (lookup(OLD.object), lookup(NEW.object)) {
        (Field::Absent, Field::Absent) => None,
        (Field::Absent, _) => scaling(lookup, &NEW)?,
        (_, Field::Absent) => scaling(lookup, &OLD)?,
        _ => match (scaling(lookup, &OLD)?, scaling(lookup, &NEW)?) {
            (one, other) if one == other => one,
            _ => {
                let what = "rope_scaling and rope_parameters say two things of the frequencies";
                return Err(ConfigError::Mismatch { what: what.into() });
            }
        },
    };
    Ok((theta, scaling))
}

/// What [`Config::check`](super::Config::check) asks of a scaling.
pub(super) fn check(scaling: &RopeScaling) -> Result<(), ConfigError> {
    match *scaling {
        RopeScaling::Linear { factor } => from_one(OLD.factor, factor).map(drop),
        RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original } => {
            from_one(OLD.factor, factor)?;
            above_zero(OLD.low_freq_factor, low)?;
            above_zero(OLD.high_freq_factor, high)?;
            whole(OLD.original, original as f64)?;
            if low as f32 >= high as f32 {
                let what = format!("low_freq_factor {low} is not below high_freq_factor {high}");
                return Err(ConfigError::Mismatch { what });
            }
            Ok(())
        }
    }
}

fn scaling<'a>(lookup: &impl Fn(&str) -> Field<'a>, layout: &Layout) -> Result<Option<RopeScaling>, ConfigError> {
    let Layout { object, rope_type, older_type, factor, low_freq_factor, high_freq_factor, original } = *layout;
    if !matches!(lookup(object), Field::Other) {
        let (key, found) = (object, describe(&lookup(object)));
        return Err(ConfigError::Invalid { key, found, expected: "an object" });
    }
    let key = if lookup(rope_type) == Field::Absent { older_type } else { rope_type };
    match lookup(key) {
        // An object that has the base alone.
        Field::Absent | Field::Text("default") if lookup(factor) == Field::Absent => Ok(None),
        Field::Absent => Err(ConfigError::Missing { key: rope_type }),
        Field::Text("linear") => Ok(Some(RopeScaling::Linear { factor: at_least_one(lookup, factor)? })),
        Field::Text("llama3") => {
            let (factor, original) = (at_least_one(lookup, factor)?, count(lookup, original)?);
            let (low, high) = (positive(lookup, low_freq_factor)?, positive(lookup, high_freq_factor)?);
            Ok(Some(RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original }))
        }
        other => {
            let supported = "\"default\" without a factor, \"linear\", \"llama3\"";
            Err(ConfigError::Unsupported { key, found: describe(&other), supported })
        }
    }
}
