//! The lines of the input.

use kernel::generate::{Generation, Request, Sampler, SamplerSettings};
use loader::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session::receipt::Receipt;
use session::{Stop, chat_prompt, read_messages};

use crate::logit_bias::LogitBias;
use crate::open::Opened;
use crate::{Failure, cli};

/// A prompt, and how it is to be answered.
pub struct Prompted {
    /// What its answer is called.
    pub name: Name,
    /// What is generated.
    pub request: Request,
    /// Where its text ends.
    pub stop: Stop,
}

/// What a line is called by who wrote it; its answer is called the same.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub struct Name {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_id: Option<Value>,
}

/// A line: one prompt, a name, settings. Members that are none of these are refused: a setting that is misspelt must not be
/// passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Value>,
    custom_id: Option<Value>,
    prompt: Option<String>,
    prompt_ids: Option<Vec<u32>>,
    messages: Option<Value>,
    max_tokens: Option<usize>,
    temperature: Option<f64>,
    top_k: Option<u32>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    logit_bias: Option<LogitBias>,
    seed: Option<u64>,
    stop: Option<Texts>,
}

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// Reads the lines; what a line does not say is as the flags say.
///
/// # Errors
/// If there are no lines; at the first one that cannot be answered, with its number.
pub fn read(bytes: &[u8], arguments: &cli::Generate, opened: &Opened) -> Result<Vec<Prompted>, Failure> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err("there are no lines; write one prompt a line, {\"prompt\":\"...\"}".into());
    }
    let config = opened.tokenizer_config()?;
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let read = lines.map(|(bytes, line)| {
        let prompted = prompted(bytes, arguments, opened, config.as_deref());
        prompted.map_err(|error| format!("line {line}: {error}").into())
    });
    read.collect()
}

fn prompted(
    bytes: &[u8],
    arguments: &cli::Generate,
    opened: &Opened,
    config: Option<&[u8]>,
) -> Result<Prompted, Failure> {
    let Object(line): Object<Line> = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is no prompt as {{\"prompt\":\"...\"}} is one: {error}"))?;
    let name = Name { id: line.id, custom_id: line.custom_id };
    if [&name.id, &name.custom_id].into_iter().flatten().any(|id| !(id.is_string() || id.is_u64() || id.is_i64())) {
        return Err("its id is neither a text nor an integer of at most 64 bits".into());
    }
    let prompt = match (line.prompt, line.prompt_ids, line.messages) {
        (Some(text), None, None) => opened.tokenizer.encode(&text, arguments.prompt.special.mode()),
        (None, Some(ids), None) => ids,
        (None, None, Some(messages)) => {
            let messages = read_messages(messages.to_string().as_bytes())?;
            chat_prompt(&opened.tokenizer, config, &messages)?
        }
        _ => return Err("it needs either \"prompt\", \"messages\" or \"prompt_ids\"".into()),
    };
    let flags = arguments.sampling.settings();
    let sampler = Sampler::new(SamplerSettings {
        temperature: line.temperature.unwrap_or(flags.temperature),
        top_k: line.top_k.unwrap_or(flags.top_k),
        top_p: line.top_p.unwrap_or(flags.top_p),
        min_p: line.min_p.unwrap_or(flags.min_p),
        repetition_penalty: line.repetition_penalty.unwrap_or(flags.repetition_penalty),
        frequency_penalty: line.frequency_penalty.unwrap_or(flags.frequency_penalty),
        presence_penalty: line.presence_penalty.unwrap_or(flags.presence_penalty),
        logit_bias: line.logit_bias.map_or(flags.logit_bias, |bias| bias.0),
        seed: line.seed.unwrap_or(flags.seed),
        stream: flags.stream,
    })?;
    let stop = match line.stop {
        Some(Texts::One(text)) => vec![text],
        Some(Texts::Many(texts)) => texts,
        None => arguments.stop.clone(),
    };
    let max_tokens = line.max_tokens.unwrap_or(arguments.max_tokens.get());
    let request = Request { prompt, max_tokens, ignore_eos: arguments.ignore_eos, sampler, logprobs: None };
    Generation::new(&opened.model, request.clone())?;
    Receipt::check_generation_limits(&request)?;
    Ok(Prompted { name, request, stop: Stop::new(stop)? })
}
