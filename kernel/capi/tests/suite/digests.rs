//! The digests that C gets are those of the loader and of the session.

use std::mem::MaybeUninit;
use std::ptr;

use kernel::Exec;
use kernel::golden::Tiny;
use kernel::train::Trainer;
use loader::{DType, TensorSource, safetensors_bytes};
use lockstep::*;

/// A handle that a function makes.
fn made<T>(make: impl FnOnce(Option<&mut MaybeUninit<*mut T>>) -> LockstepStatus) -> Box<T> {
    let mut place = MaybeUninit::new(ptr::null_mut());
    assert_eq!(make(Some(&mut place)), LockstepStatus::Ok);
    // SAFETY: after a success the place has a handle, which nobody else owns.
    unsafe { Box::from_raw(place.assume_init()) }
}

fn weights_digest(model: &LockstepModel) -> [u8; 32] {
    let mut digest = MaybeUninit::new(LockstepDigest { bytes: [0; 32] });
    assert_eq!(lockstep_model_weights_digest(Some(model), Some(&mut digest), None), LockstepStatus::Ok);
    // SAFETY: it had a value from the beginning.
    unsafe { digest.assume_init() }.bytes
}

/// The tiny models as the bytes of files.
fn files(tiny: Tiny) -> (String, Vec<u8>) {
    let kernel::model::Config { vocab, dim, hidden, layers, heads, kv_heads, head_dim, context, .. } = tiny.config();
    let (tied, biases) = (tiny == Tiny::One, tiny == Tiny::Two);
    let config = format!(
        "{{\"model_type\": \"llama\", \"vocab_size\": {vocab}, \"hidden_size\": {dim}, \"intermediate_size\": {hidden}, \
         \"num_hidden_layers\": {layers}, \"num_attention_heads\": {heads}, \"num_key_value_heads\": {kv_heads}, \
         \"head_dim\": {head_dim}, \"max_position_embeddings\": {context}, \"rope_theta\": 10000, \"rms_norm_eps\": 1e-5, \
         \"tie_word_embeddings\": {tied}, \"attention_bias\": {biases}, \"mlp_bias\": {biases}}}"
    );
    let tensors: Vec<_> = tiny.tensors().collect();
    let dtype = if tied { DType::Bf16 } else { DType::F32 };
    let sources: Vec<TensorSource<'_>> =
        tensors.iter().map(|(row, bytes)| TensorSource { name: &row.name, dtype, shape: &row.shape, bytes }).collect();
    (config, safetensors_bytes(&sources, &Default::default()).expect("the tensors are those of the table"))
}

#[test]
fn a_model_of_bytes_and_the_same_model_made_have_one_digest_and_the_same_logits() {
    let ids = [1, 2, 3];
    for (tiny, number) in [(Tiny::One, 1), (Tiny::Two, 2)] {
        let (config, weights) = files(tiny);
        // SAFETY: both lengths are those of what the pointers point to.
        let read = made(|place| unsafe {
            lockstep_model_from_bytes(config.as_ptr(), config.len(), weights.as_ptr(), weights.len(), place, None)
        });
        let model = made(|place| lockstep_model_tiny(number, place, None));
        assert_eq!(weights_digest(&read), weights_digest(&model));
        let logits = [&read, &model].map(|model| {
            let mut logits = [0.0_f32; 61];
            // SAFETY: three ids, and 61 places.
            let status = unsafe { lockstep_model_logits(Some(model), ids.as_ptr(), 3, logits.as_mut_ptr(), 61, None) };
            assert_eq!(status, LockstepStatus::Ok);
            logits.map(f32::to_bits)
        });
        assert_eq!(logits[0], logits[1]);
    }
}

#[test]
fn trained_weights_are_known_by_the_digest_of_the_session() {
    let model = made(|place| lockstep_model_tiny(1, place, None));
    let mut trainer = made(|place| lockstep_trainer_new(Some(&model), None, place, None));
    let mut report = MaybeUninit::uninit();
    let (ids, lengths) = ([1, 2, 3, 4, 5], [3, 2]);
    // SAFETY: two lengths, and as many ids as they say together.
    let status = unsafe {
        lockstep_trainer_step(Some(&mut trainer), ids.as_ptr(), lengths.as_ptr(), 2, Some(&mut report), None)
    };
    assert_eq!(status, LockstepStatus::Ok);
    let trained = made(|place| lockstep_trainer_model(Some(&trainer), place, None));

    let schedule = kernel::train::Schedule { learning_rate: 0.001, warmup: 0, cosine_steps: None };
    let optimizer = kernel::train::Optimizer::Sgd { momentum: 0.0 };
    let options = kernel::train::TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
    let mut plain = Trainer::new(&Tiny::One.model(), options);
    let batch = [vec![1, 2, 3], vec![4, 5]].map(kernel::model::Sequence::new);
    let expected = plain.step(Exec::serial(), &batch).unwrap();
    // SAFETY: the step wrote it.
    let report = unsafe { report.assume_init() };
    assert_eq!((report.digest.bytes, report.loss.to_bits()), (expected.digest, expected.loss.to_bits()));
    assert_eq!(weights_digest(&trained), session::tensors::model_digest(plain.model()));
    assert_ne!(weights_digest(&trained), weights_digest(&model));
}
