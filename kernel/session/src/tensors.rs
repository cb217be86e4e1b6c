//! binary32 tensors on their way out: their bytes and their digests.

use std::borrow::Cow;

use kernel::model::{Model, Parameter};
use kernel::ops::Weights;
use kernel::transcript::Sha256Digest;
use loader::DType;
use loader::digest::{TensorDigest, sha256, weights_digest};

use crate::adapter;

/// The values as little-endian bytes; copied on big-endian machines only.
pub fn little_endian(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// What the weights digest takes from a tensor.
pub fn digest(parameter: &Parameter, values: &[f32]) -> TensorDigest {
    TensorDigest {
        name: parameter.name.clone(),
        dtype: DType::F32,
        shape: parameter.shape.clone(),
        sha256: sha256(&little_endian(values)),
    }
}

/// What a trainer trained: the tensors of the adapter, under the names of its file, where the model has one; otherwise all
/// weights. In the order of the table.
///
/// # Panics
/// If the model has no adapter and did not come out of a trainer.
pub fn trained(model: &Model) -> impl Iterator<Item = (Parameter, &[f32])> {
    let adapter = model.adapter().map(|lora| adapter::tensors(model, lora));
    let weights = adapter.is_none().then(|| model.tensors());
    let weights = weights.into_iter().flatten().map(|(parameter, weights)| match weights {
        Weights::F32(values) => (parameter, values),
        Weights::Bf16(_) => panic!("{}: a trainer's weights are binary32", parameter.name),
    });
    adapter.into_iter().flatten().chain(weights)
}

/// What a trained model is known by: the adapter's digest where it has one, otherwise the weights digest.
///
/// # Panics
/// As [`trained`].
pub fn model_digest(model: &Model) -> Sha256Digest {
    let weights = || weights_digest(trained(model).map(|(row, values)| digest(&row, values)));
    adapter::adapter_digest(model).unwrap_or_else(weights)
}
