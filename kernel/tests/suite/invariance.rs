//! N11: no bit depends on how a text is cut, on the cache, on threads or on the backend.

use crate::inputs::{Numbers, Threads, backends};
use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler, SamplerSettings};
use kernel::golden::Tiny;
use kernel::model::{Config, DType, KvCache, Logits, Model, RawTensor, Workspace, parameters};
use kernel::ops::RopeScaling;
use kernel::pool::SerialPool;
use proptest::prelude::*;

/// A small model of any shape, with weights in a mixture of formats.
pub fn model(config: &Config, seed: u64) -> Model {
    let mut numbers = Numbers::new(seed);
    let tensors: Vec<(String, RawTensor)> = parameters(config)
        .into_iter()
        .map(|parameter| {
            let count = parameter.shape.iter().product();
            let (dtype, bytes): (DType, Vec<u8>) = if numbers.word() & 1 == 0 {
                (DType::F32, numbers.f32s(count).iter().flat_map(|v| v.to_le_bytes()).collect())
            } else {
                (DType::Bf16, numbers.bf16s(count).iter().flat_map(|v| v.0.to_le_bytes()).collect())
            };
            (parameter.name, RawTensor { dtype, shape: parameter.shape, bytes: bytes.into() })
        })
        .collect();
    let find = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, raw)| raw.clone());
    Model::load(config.clone(), &find).unwrap()
}

fn config() -> impl Strategy<Value = Config> {
    let sizes = (1..40_usize, 1..40_usize, 1..3_usize, 1..4_usize, 1..4_usize, 1..20_usize);
    let scaling = prop_oneof![
        Just(None),
        Just(Some(RopeScaling::Linear { factor: 2.5 })),
        Just(Some(RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 16 })),
    ];
    (sizes, 2..60_usize, any::<[bool; 4]>(), scaling).prop_map(
        |((dim, hidden, layers, kv_heads, group, half), vocab, [tied, input, output, mlp_bias], rope_scaling)| Config {
            vocab,
            dim,
            hidden,
            layers,
            heads: kv_heads * group,
            kv_heads,
            head_dim: 2 * half,
            context: 64,
            rope_theta: 10_000.0,
            rope_scaling,
            rms_norm_eps: 1e-5,
            tied,
            attention_bias: input,
            attention_output_bias: output,
            mlp_bias,
            eos: vec![],
        },
    )
}

/// The logits of all positions, the text being read in pieces of the given lengths, the last one as often as needed.
fn logits(model: &Model, exec: Exec<'_>, tokens: &[u32], pieces: &[usize]) -> Vec<u32> {
    let (mut cache, mut workspace, mut all) = (KvCache::new(model.config()), Workspace::default(), vec![]);
    let mut lengths = pieces.iter().chain(std::iter::repeat(pieces.last().unwrap()));
    let mut rest = tokens;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        model.forward(exec, &mut cache, piece, Logits::All, &mut workspace).unwrap();
        all.extend(workspace.logits().iter().map(|v| v.to_bits()));
        rest = after;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn prefill_equals_decode(
        config in config(),
        seed: u64,
        text in prop::collection::vec(any::<u32>(), 1..50),
        pieces in prop::collection::vec(1..20_usize, 1..5),
        threads in 1..5_usize,
    ) {
        let model = model(&config, seed);
        let tokens: Vec<u32> = text.iter().map(|t| t % config.vocab as u32).collect();
        let expected = logits(&model, Exec { backend: kernel::simd::Backend::SCALAR, pool: &SerialPool }, &tokens, &[1]);
        for backend in backends() {
            let pool = Threads::new(threads);
            prop_assert_eq!(&logits(&model, Exec { backend, pool: &pool }, &tokens, &pieces), &expected);
            prop_assert_eq!(&logits(&model, Exec { backend, pool: &SerialPool }, &tokens, &[64]), &expected);
        }
    }

    #[test]
    fn a_truncated_cache_is_as_good_as_a_new_one(config in config(), seed: u64, keep in 0..10_usize) {
        let model = model(&config, seed);
        let vocab = config.vocab as u32;
        let (first, second): (Vec<u32>, Vec<u32>) = ((0..12).map(|i| i * 5 % vocab).collect(), (0..9).map(|i| i * 3 % vocab).collect());
        let exec = Exec::serial();
        let (mut cache, mut workspace) = (KvCache::new(&config), Workspace::default());
        model.forward(exec, &mut cache, &first, Logits::None, &mut workspace).unwrap();
        prop_assert!(workspace.logits().is_empty());
        cache.truncate(keep);
        prop_assert_eq!(cache.len(), keep);
        model.forward(exec, &mut cache, &second, Logits::Last, &mut workspace).unwrap();
        let reused: Vec<u32> = workspace.logits().iter().map(|v| v.to_bits()).collect();
        let whole: Vec<u32> = first[..keep].iter().chain(&second).copied().collect();
        let expected = logits(&model, exec, &whole, &[64]);
        prop_assert_eq!(&reused[..], &expected[expected.len() - config.vocab..]);
    }
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let config = Config { vocab: 5, context: 8, ..tiny() };
    let model = model(&config, 1);
    let (mut cache, mut workspace) = (KvCache::new(&config), Workspace::default());
    let mut read = |tokens: &[u32]| {
        let result = model.forward(Exec::serial(), &mut cache, tokens, Logits::Last, &mut workspace);
        (result.map_err(|e| e.to_string()), cache.len())
    };
    assert_eq!(read(&[1, 2, 3]), (Ok(()), 3));
    assert_eq!(read(&[]), (Err("there are no tokens; a prompt needs at least one".into()), 3));
    assert_eq!(read(&[4, 5]), (Err("token 5 is outside the vocabulary, whose ids end at 4".into()), 3));
    assert_eq!(read(&[0; 6]), (Err("9 positions are more than the model's context of 8; shorten the text".into()), 3));
    assert_eq!(read(&[0; 5]), (Ok(()), 8));
}

#[test]
fn a_generation_ends_where_it_should() {
    let config = Config { vocab: 7, context: 154, ..tiny() };
    let model = model(&config, 2);
    let run = |model: &Model, prompt: usize, max_tokens: usize, ignore_eos: bool| {
        let request =
            Request { prompt: vec![1; prompt], max_tokens, ignore_eos, sampler: Sampler::GREEDY, logprobs: None };
        let mut generation = Generation::new(model, request).map_err(|e| e.to_string())?;
        let mut reading = vec![];
        loop {
            match generation.advance(model, Exec::serial()).map_err(|e| e.to_string())? {
                Progress::Prefill { done, total } => reading.push((done, total)),
                Progress::Token(step) => assert_eq!(step.step, generation.steps().len()),
                Progress::Finished(reason) => {
                    let ids: Vec<u32> = generation.steps().iter().map(|s| s.token_id).collect();
                    return Ok((reading, ids, reason.as_str()));
                }
            }
        }
    };
    let refused = |prompt, max_tokens| -> String { run(&model, prompt, max_tokens, false).unwrap_err() };
    let (reading, ids, reason) = run(&model, 134, 20, false).unwrap();
    assert_eq!((reading, ids.len(), reason), (vec![(128, 134)], 20, "length"));
    assert!(refused(135, 20).contains("135 tokens and 20 new ones exceed the context of 154"));
    assert!(refused(1, usize::MAX).contains("exceed the context"));
    assert!(refused(0, 1).contains("no tokens") && refused(1, 0).contains("at least 1"));
    let biases = SamplerSettings { logit_bias: vec![(3, 1.0), (7, 1.0)], ..SamplerSettings::default() };
    let request = Request {
        prompt: vec![1],
        max_tokens: 1,
        ignore_eos: false,
        sampler: Sampler::new(biases).unwrap(),
        logprobs: None,
    };
    let refusal = Generation::new(&model, request).unwrap_err().to_string();
    assert_eq!(refusal, "logit_bias: token 7 is outside the vocabulary, whose ids end at 6");

    let stopping = self::model(&Config { eos: vec![ids[2]], ..config }, 2);
    let first = ids.iter().position(|id| *id == ids[2]).unwrap();
    assert_eq!(run(&stopping, 134, 20, false).unwrap(), (vec![(128, 134)], ids[..=first].to_vec(), "stop"));
    assert_eq!(run(&stopping, 134, 20, true).unwrap(), (vec![(128, 134)], ids, "length"));
}

pub fn tiny() -> Config {
    Config { vocab: 5, dim: 12, hidden: 20, heads: 2, kv_heads: 1, head_dim: 6, context: 64, ..Tiny::One.config() }
}
