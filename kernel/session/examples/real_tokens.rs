//! Generates the first tokens of `docs/vectors/real.json` with the model in a folder, on every backend of this machine and with two
//! threads where there are threads, and compares ids and digests: `real_tokens DIR [TOKENS]`. `tools check` runs it on other
//! machines and in WebAssembly engines.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bpe::{Special, Tokenizer};
use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler};
use kernel::model::Model;
use kernel::pool::{Pool, PoolError, ThreadPool};
use kernel::simd::Backend;
use kernel::transcript::{PROFILE, hex};
use loader::{Access, Checkpoint, digest};
use serde::Deserialize;

/// What `docs/vectors/real.json` has.
#[derive(Deserialize)]
struct Expected {
    profile: String,
    model: Digests,
    prompt: String,
    prompt_token_ids: Vec<u32>,
    token_ids: Vec<u32>,
    text: String,
    logits_sha256: Vec<String>,
}

#[derive(Deserialize)]
struct Digests {
    weights_sha256: String,
    tokenizer_sha256: String,
}

const VECTOR: &str = include_str!("../../../docs/vectors/real.json");

/// How many tokens, where it is not said.
const TOKENS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().ok_or("give the model's folder: real_tokens DIR [TOKENS]")?;
    let tokens = arguments.next().map_or(Ok(TOKENS), |text| text.parse())?;
    let expected: Expected = serde_json::from_str(VECTOR)?;
    same("the profile", &expected.profile[..], PROFILE)?;
    let (model, tokenizer) = opened(Path::new(&dir), &expected)?;
    let ids = tokenizer.encode(&expected.prompt, Special::Parse);
    same("the prompt's token ids", &expected.prompt_token_ids, &ids)?;

    let backends = Backend::available_with(&env::var("LOCKSTEP_TEST_BACKENDS").unwrap_or_default())?;
    // One where the system has no more.
    let pool = match ThreadPool::new(2) {
        Err(PoolError::Spawn { .. }) => ThreadPool::new(1),
        made => made,
    }?;
    for backend in backends {
        let start = Instant::now();
        let exec = Exec { backend, pool: &pool };
        let found = generated(&model, exec, &expected, tokens)?;
        let text = tokenizer.decode(&found)?;
        if !expected.text.starts_with(&text) {
            return Err(format!("the text is {text:?}").into());
        }
        let (threads, seconds) = (pool.threads(), start.elapsed().as_secs_f64());
        eprintln!("{}, {threads} threads: {} tokens as published ({seconds:.1} s)", backend.name(), found.len());
    }
    Ok(())
}

/// The model and the tokenizer of a folder, which must be those of the vector.
fn opened(dir: &Path, expected: &Expected) -> Result<(Model, Tokenizer), Box<dyn Error>> {
    let read = |name: &str| fs::read(dir.join(name)).map_err(|error| format!("{}/{name}: {error}", dir.display()));
    let json = read("tokenizer.json")?;
    same("the digest of the tokenizer", &expected.model.tokenizer_sha256, &digest::hex(&digest::sha256(&json)))?;
    let checkpoint = Checkpoint::open(dir, Access::Read)?;
    same("the digest of the weights", &expected.model.weights_sha256, &digest::hex(&checkpoint.digest()))?;
    let model = session::model(session::config(&read("config.json")?)?, &checkpoint)?;
    Ok((model, Tokenizer::from_json(&json)?))
}

/// The first tokens, each as the vector has it.
fn generated(model: &Model, exec: Exec<'_>, expected: &Expected, tokens: usize) -> Result<Vec<u32>, Box<dyn Error>> {
    let prompt = expected.prompt_token_ids.clone();
    let request = Request { prompt, max_tokens: tokens, ignore_eos: false, sampler: Sampler::GREEDY, logprobs: None };
    let mut generation = Generation::new(model, request)?;
    while !matches!(generation.advance(model, exec)?, Progress::Finished(_)) {}
    for (step, (id, digest)) in generation.steps().iter().zip(expected.token_ids.iter().zip(&expected.logits_sha256)) {
        let place = format!("{}, step {}", exec.backend.name(), step.step);
        same(&format!("{place}: the digest of the logits"), digest, &hex(&step.logits_sha256))?;
        same(&format!("{place}: the token"), id, &step.token_id)?;
    }
    let found: Vec<u32> = generation.steps().iter().map(|step| step.token_id).collect();
    same("the number of tokens", &tokens.min(expected.token_ids.len()), &found.len())?;
    Ok(found)
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, expected: &T, found: &T) -> Result<(), Box<dyn Error>> {
    if expected == found { Ok(()) } else { Err(format!("{what} should be {expected:?} and is {found:?}").into()) }
}
