//! Speed of candle, measured as `lockstep bench` measures ours, by its keys: the best of three, as a JSON line.
//!
//! usage: candle-peer MODEL-FOLDER THREADS, with `RAYON_NUM_THREADS` set to the same number.
//!
//! candle multiplies no BF16 on processors: the weights are widened to binary32 first.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};

const RUNS: usize = 3;
/// "Once upon a time"
const STORY: [u32; 4] = [6403, 1980, 253, 655];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads] = &arguments[..] else { return Err("usage: candle-peer MODEL-FOLDER THREADS".into()) };
    let folder = Path::new(folder);
    let config: LlamaConfig = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let config = config.into_config(false);
    let weights = std::fs::read(folder.join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let model = Llama::load(weights, &config)?;
    let prefill = best(|| prefill(&model, &config, 256))?;
    let decode = best(|| decode(&model, &config, 64))?;
    println!(
        "{}",
        serde_json::json!({
            "threads": threads.parse::<usize>()?,
            "prefill_tokens_per_second": prefill,
            "decode_tokens_per_second": decode,
        })
    );
    Ok(())
}

/// The highest of the speeds of some runs.
fn best(mut run: impl FnMut() -> candle_core::Result<f64>) -> candle_core::Result<f64> {
    (0..RUNS).try_fold(0.0, |best: f64, _| Ok(best.max(run()?)))
}

/// Tokens of a prompt read a second.
fn prefill(model: &Llama, config: &Config, count: u32) -> candle_core::Result<f64> {
    let ids: Vec<u32> = (0..count).map(|i| i * 37 % 40_000 + 20).collect();
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let start = Instant::now();
    choice(&read(model, &mut cache, &ids, 0)?)?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Greedy tokens a second after a short prompt.
fn decode(model: &Llama, config: &Config, count: u32) -> candle_core::Result<f64> {
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let mut token = choice(&read(model, &mut cache, &STORY, 0)?)?;
    let start = Instant::now();
    for step in 0..count as usize {
        token = choice(&read(model, &mut cache, &[token], STORY.len() + step)?)?;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn read(model: &Llama, cache: &mut Cache, ids: &[u32], position: usize) -> candle_core::Result<Tensor> {
    model.forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, position, cache)
}

fn choice(logits: &Tensor) -> candle_core::Result<u32> {
    logits.i(0)?.argmax(0)?.to_scalar()
}
