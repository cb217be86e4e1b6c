//! What a result is known by: the transcript that chains the digests of its steps.

pub use crate::digest::{Sha256, Sha256Digest, hex, logits_digest};

use crate::digest::id_bytes;
use crate::generate::{Generation, Request, Step};
use crate::model::Sequence;
use crate::score::Scores;
use crate::train::{Optimizer, TrainOptions};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The name and version of the numeric contract that this crate computes by.
pub const PROFILE: &str = "lockstep/1";

/// What a generation was computed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The digest of the weights.
    pub weights: Sha256Digest,
    /// The digest of the adapter, where there is one.
    pub adapter: Option<Sha256Digest>,
    /// SHA-256 of the bytes of `tokenizer.json`.
    pub tokenizer: Sha256Digest,
}

impl Identity {
    /// The fields that every transcript begins with: `profile, weights, adapter, tokenizer`. The field of a missing adapter is
    /// empty.
    fn fields(&self) -> Sha256 {
        let mut hash = Sha256::new();
        hash.field(PROFILE.as_bytes());
        hash.field(&self.weights);
        hash.field(self.adapter.as_ref().map_or(&[], |digest| digest));
        hash.field(&self.tokenizer);
        hash
    }
}

/// The digest of a whole generation so far, see [`transcript_of`].
pub fn transcript(identity: &Identity, generation: &Generation) -> Sha256Digest {
    transcript_of(identity, generation.request(), generation.steps())
}

/// The digest of the steps that a request had:
/// `h = SHA-256(profile, weights, adapter, tokenizer, prompt ids, sampler)`, then `h = SHA-256(h, token id, logits digest)`
/// for every step.
pub fn transcript_of(identity: &Identity, request: &Request, steps: &[Step]) -> Sha256Digest {
    let mut start = identity.fields();
    start.field(&id_bytes(&request.prompt));
    start.field(request.sampler.text().as_bytes());
    steps.iter().fold(start.finish(), |h, step| {
        let mut next = Sha256::new();
        next.field(&h);
        next.field(&step.token_id.to_le_bytes());
        next.field(&step.logits_sha256);
        next.finish()
    })
}

/// The digest of token ids: SHA-256 over them as one hashed field.
pub fn ids_digest(ids: &[u32]) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.field(&id_bytes(ids));
    hash.finish()
}

/// The digest of what is learnt from: for each sequence, in the order of the data, its token ids and, a byte for each
/// of them, whether it counts.
pub fn data_digest<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Sha256Digest {
    let mut hash = Sha256::new();
    for Sequence { tokens, counted } in sequences {
        let ids = id_bytes(tokens);
        let marks: Vec<u8> = counted.iter().map(|counts| u8::from(*counts)).collect();
        hash.field(&ids);
        hash.field(&marks);
    }
    hash.finish()
}

/// The digest of a scoring: `SHA-256(profile, weights, adapter, tokenizer, data)` and, for every sequence of the data,
/// `logits digest, sum, greedy`, all in one hash; the sum is little-endian binary32, and greedy a byte.
pub fn scoring_transcript<'a>(
    identity: &Identity,
    data: &Sha256Digest,
    lines: impl IntoIterator<Item = &'a Scores>,
) -> Sha256Digest {
    let mut hash = identity.fields();
    hash.field(data);
    for scores in lines {
        hash.field(&scores.logits_sha256);
        hash.field(&scores.sum.to_le_bytes());
        hash.field(&[u8::from(scores.greedy)]);
    }
    hash.finish()
}

/// All that a training was, from the weights that it began with to those that came out.
#[derive(Clone, PartialEq, Debug)]
pub struct TrainingTranscript {
    /// What it began with.
    pub base: Identity,
    /// The [`data_digest`].
    pub data: Sha256Digest,
    /// The hyper-parameters.
    pub options: TrainOptions,
    /// The digest of all steps: that of the last [`StepReport`](crate::train::StepReport).
    pub steps: Sha256Digest,
    /// The weights digest of what came out: of all weights, or of the adapter, as binary32.
    pub trained: Sha256Digest,
}

impl TrainingTranscript {
    /// `SHA-256(profile, weights, adapter, tokenizer, data, hyper-parameters, steps, trained weights)`.
    pub fn digest(&self) -> Sha256Digest {
        let mut hash = self.base.fields();
        hash.field(&self.data);
        hash.field(hyper_parameters(&self.options).as_bytes());
        hash.field(&self.steps);
        hash.field(&self.trained);
        hash.finish()
    }
}

/// All that an aggregation of adapters was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregationTranscript<'a> {
    /// What the clients' adapters are beside.
    pub base: &'a Identity,
    /// For each client, in the order of the aggregation: the digest of its adapter, its weight, and the bytes of the receipt of its
    /// training, or none.
    pub clients: &'a [(Sha256Digest, u32, Vec<u8>)],
    /// The digest of the adapter that came out.
    pub aggregate: Sha256Digest,
}

impl AggregationTranscript<'_> {
    /// `SHA-256(profile, weights, adapter, tokenizer, (adapter, weight, receipt) of each client, aggregate)`; the weight is a
    /// little-endian u32.
    pub fn digest(&self) -> Sha256Digest {
        let mut hash = self.base.fields();
        for (adapter, weight, receipt) in self.clients {
            hash.field(adapter);
            hash.field(&weight.to_le_bytes());
            hash.field(receipt);
        }
        hash.field(&self.aggregate);
        hash.finish()
    }
}

/// The hyper-parameters as the text that is hashed; whether activations are recomputed changes no bit and is not among them.
fn hyper_parameters(options: &TrainOptions) -> String {
    let bits = |value: f64| format!("{:016x}", value.to_bits());
    let optimizer = match options.optimizer {
        Optimizer::Sgd { momentum } => format!("sgd momentum={}", bits(momentum)),
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            let [beta1, beta2, eps, weight_decay] = [beta1, beta2, eps, weight_decay].map(bits);
            format!("adamw beta1={beta1} beta2={beta2} eps={eps} weight_decay={weight_decay}")
        }
    };
    let schedule = options.schedule;
    let steps = schedule.cosine_steps.map_or("none".to_string(), |steps| steps.to_string());
    let clip = options.clip_norm.map_or("none".to_string(), bits);
    let (rate, warmup) = (bits(schedule.learning_rate), schedule.warmup);
    format!("optimizer={optimizer} learning_rate={rate} warmup={warmup} cosine_steps={steps} clip_norm={clip}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Schedule;
    use alloc::vec;

    fn options(optimizer: Optimizer) -> TrainOptions {
        let schedule = Schedule { learning_rate: 0.5, warmup: 3, cosine_steps: None };
        TrainOptions { optimizer, schedule, clip_norm: None, recompute: false }
    }

    #[test]
    fn hyper_parameters_are_written_by_their_bits() {
        let text = "optimizer=sgd momentum=0000000000000000 learning_rate=3fe0000000000000 warmup=3 cosine_steps=none \
                    clip_norm=none";
        assert_eq!(hyper_parameters(&options(Optimizer::Sgd { momentum: 0.0 })), text);
        let adamw = Optimizer::adamw(1.0);
        let schedule = Schedule { learning_rate: 2.0, warmup: 0, cosine_steps: Some(9) };
        let options = TrainOptions { schedule, clip_norm: Some(1.0), ..options(adamw) };
        let text = "optimizer=adamw beta1=3feccccccccccccd beta2=3feff7ced916872b eps=3e45798ee2308c3a \
                    weight_decay=3ff0000000000000 learning_rate=4000000000000000 warmup=0 cosine_steps=9 \
                    clip_norm=3ff0000000000000";
        assert_eq!(hyper_parameters(&options), text);
    }

    #[test]
    fn a_training_is_known_by_everything_that_it_was() {
        let base = Identity { weights: [1; 32], adapter: None, tokenizer: [2; 32] };
        let options = options(Optimizer::Sgd { momentum: 0.0 });
        let one = TrainingTranscript { base, data: [3; 32], options, steps: [4; 32], trained: [5; 32] };
        let mut plain = Sha256::new();
        plain.field(PROFILE.as_bytes());
        for field in [&[1; 32][..], &[], &[2; 32], &[3; 32], hyper_parameters(&options).as_bytes(), &[4; 32], &[5; 32]]
        {
            plain.field(field);
        }
        assert_eq!(one.digest(), plain.finish());
        let recomputed = TrainOptions { recompute: true, ..options };
        assert_eq!(TrainingTranscript { options: recomputed, ..one.clone() }.digest(), one.digest());
    }

    #[test]
    fn data_is_known_by_its_sequences_and_by_what_counts() {
        let digest = |sequences: &[Sequence]| data_digest(sequences);
        let whole = Sequence::new(vec![1, 2, 3]);
        let partly = Sequence { counted: vec![true, false, true], ..whole.clone() };
        let halves = [Sequence::new(vec![1]), Sequence::new(vec![2, 3])];
        assert_ne!(digest(core::slice::from_ref(&whole)), digest(&[partly]));
        assert_ne!(digest(core::slice::from_ref(&whole)), digest(&halves));
        let mut plain = Sha256::new();
        plain.field(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        plain.field(&[1, 1, 1]);
        assert_eq!(digest(&[whole]), plain.finish());
    }

    #[test]
    fn sha256_gives_the_published_answer() {
        let mut hash = Sha256::new();
        hash.update(b"a");
        hash.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&hash.finish()), expected);
    }

    #[test]
    fn n9_all_nans_are_one() {
        let nans = [0x7fc0_0000, 0xffc0_0001, 0x7f80_0001, 0x7fff_ffff].map(f32::from_bits);
        assert!(nans.iter().all(|nan| logits_digest(&[1.0, *nan]) == logits_digest(&[1.0, nans[0]])));
        assert_ne!(logits_digest(&[1.0, f32::INFINITY]), logits_digest(&[1.0, nans[0]]));
        assert_ne!(logits_digest(&[0.0]), logits_digest(&[-0.0]));
    }

    #[test]
    fn a_logits_digest_is_that_of_the_bytes() {
        let logits: Vec<f32> = (0..1300).map(|i| i as f32 * 0.37 - 100.0).collect();
        let mut hash = Sha256::new();
        logits.iter().for_each(|v| hash.update(&v.to_le_bytes()));
        assert_eq!(logits_digest(&logits), hash.finish());
    }
}
