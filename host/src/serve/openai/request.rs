//! What a request asks for: read once, and valid from then on.

use kernel::generate::SamplerSettings;
use serde_json::{Value, json};
use session::Stop;

use super::fields::Fields;
use super::messages::messages;
use super::prompts::prompts;
use crate::logit_bias::LogitBias;
use crate::serve::api_error::ApiError;
use crate::serve::engine::WAITING;

/// The most choices for one prompt.
const MAX_CHOICES: usize = 16;
/// The most choices of a request: as many as the engine lets wait.
const MAX_TOGETHER: usize = WAITING;
/// The tokens of a request that does not say how many.
const COMPLETION_TOKENS: usize = 16;
const CHAT_TOKENS: usize = 512;
/// The most tokens that are told beside the one that was chosen.
const COMPLETION_LOGPROBS: usize = 5;
const CHAT_LOGPROBS: usize = 20;

/// What `logit_bias` is, in words.
const LOGIT_BIAS: &str = "an object of token ids and numbers, like {\"198\":-100}";

/// What changes no result, whatever it is.
const IGNORED: [&str; 8] = [
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// A request to continue one or more prompts.
#[derive(Debug)]
pub struct Asked {
    /// The name of the model; the one that was started if there is none.
    pub model: Option<String>,
    /// What is continued.
    pub source: Source,
    /// How many times each prompt is.
    pub n: usize,
    /// Whether the answer comes as it is made.
    pub stream: bool,
    /// Whether a stream tells at its end how many tokens there were.
    pub include_usage: bool,
    /// The tokens that were asked for.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub settings: SamplerSettings,
    /// Before which texts it ends.
    pub stop: Stop,
    /// How many tokens are told with their log-probability, beside the one chosen; none if nothing is told.
    pub logprobs: Option<usize>,
    /// Whether it goes on after a token that ends a text.
    pub ignore_eos: bool,
}

/// What is continued.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// Prompts, and whether they are told with what follows them.
    Prompts { prompts: Vec<Prompt>, special: bpe::Special, echo: bool },
    /// A conversation.
    Messages(Vec<bpe::Message>),
}

/// A prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

impl Source {
    /// The field that it came in.
    pub fn field(&self) -> &'static str {
        match self {
            Source::Prompts { .. } => "prompt",
            Source::Messages(_) => "messages",
        }
    }

    /// The tokens of a request that does not say how many.
    pub fn default_tokens(&self) -> usize {
        match self {
            Source::Prompts { .. } => COMPLETION_TOKENS,
            Source::Messages(_) => CHAT_TOKENS,
        }
    }

    fn count(&self) -> usize {
        match self {
            Source::Prompts { prompts, .. } => prompts.len(),
            Source::Messages(_) => 1,
        }
    }
}

impl Asked {
    /// Reads the body of `POST /v1/completions`.
    ///
    /// # Errors
    /// The first field that cannot be followed.
    pub fn completion(mut fields: Fields) -> Result<Asked, ApiError> {
        let echo = fields.switch("echo")?;
        let plain = fields.switch("plain_special")?;
        let special = if plain { bpe::Special::Plain } else { bpe::Special::Parse };
        let logprobs = fields.integer("logprobs", 0, COMPLETION_LOGPROBS)?;
        let source = Source::Prompts { prompts: prompts(&mut fields)?, special, echo };
        let n = choices(&mut fields)?;
        // All are told, so the best ones are.
        fields.only("best_of", &[json!(n)])?;
        fields.only("suffix", &[json!("")])?;
        let asked = Asked::read(fields, source, n, logprobs)?;
        match asked.max_tokens {
            Some(0) if !(echo && logprobs.is_some()) => {
                let message = "max_tokens is 0: give at least 1, or echo and logprobs with it, which scores the prompt";
                Err(ApiError::invalid("max_tokens", message))
            }
            _ => Ok(asked),
        }
    }

    /// Reads the body of `POST /v1/chat/completions`.
    ///
    /// # Errors
    /// The first field that cannot be followed.
    pub fn chat(mut fields: Fields) -> Result<Asked, ApiError> {
        let (told, top) = (fields.switch("logprobs")?, fields.integer("top_logprobs", 0, CHAT_LOGPROBS)?);
        let logprobs = match (told, top) {
            (true, top) => Some(top.unwrap_or(0)),
            (false, None | Some(0)) => None,
            (false, Some(_)) => {
                return Err(ApiError::invalid("top_logprobs", "top_logprobs goes with logprobs: true"));
            }
        };
        let source = Source::Messages(messages(&mut fields)?);
        for (name, values) in [
            ("tools", &[json!([])][..]),
            ("functions", &[json!([])]),
            ("tool_choice", &[json!("none"), json!("auto")]),
            ("function_call", &[json!("none"), json!("auto")]),
            ("response_format", &[json!({ "type": "text" })]),
            ("modalities", &[json!(["text"])]),
            ("verbosity", &[json!("medium")]),
        ] {
            fields.only(name, values)?;
        }
        let n = choices(&mut fields)?;
        let asked = Asked::read(fields, source, n, logprobs)?;
        match asked.max_tokens {
            Some(0) => Err(ApiError::invalid("max_tokens", "max_tokens is 0: give at least 1")),
            _ => Ok(asked),
        }
    }

    /// The fields that both have; no other may be left.
    fn read(mut fields: Fields, source: Source, n: usize, logprobs: Option<usize>) -> Result<Asked, ApiError> {
        fields.ignore(&IGNORED);
        let together = source.count() * n;
        if together > MAX_TOGETHER {
            let message =
                format_args!("{together} choices are too many for one request: ask for at most {MAX_TOGETHER}");
            return Err(ApiError::invalid(if n > 1 { "n" } else { source.field() }, message));
        }
        let asked = Asked {
            model: fields.take("model", "the name of a model")?,
            n,
            stream: fields.switch("stream")?,
            include_usage: include_usage(&mut fields)?,
            max_tokens: max_tokens(&mut fields)?,
            settings: settings(&mut fields)?,
            stop: stop(&mut fields)?,
            logprobs,
            ignore_eos: fields.switch("ignore_eos")?,
            source,
        };
        fields.end("")?;
        Ok(asked)
    }
}

/// How many choices there are for each prompt.
fn choices(fields: &mut Fields) -> Result<usize, ApiError> {
    Ok(fields.integer("n", 1, MAX_CHOICES)?.unwrap_or(1))
}

/// The two names of one limit.
fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let [one, other] = ["max_completion_tokens", "max_tokens"].map(|name| fields.integer(name, 0, usize::MAX));
    match (one?, other?) {
        (Some(one), Some(other)) if one != other => {
            let message = format_args!("max_completion_tokens is {one} and max_tokens is {other}: give one of the two");
            Err(ApiError::invalid("max_tokens", message))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn include_usage(fields: &mut Fields) -> Result<bool, ApiError> {
    let Some(options) = fields.take("stream_options", "an object, like {\"include_usage\":true}")? else {
        return Ok(false);
    };
    let mut options = Fields::new(options);
    // Padding against those who measure packets: it is no part of the result.
    options.ignore(&["include_obfuscation"]);
    let include = options.switch("include_usage")?;
    options.end("stream_options.")?;
    Ok(include)
}

fn stop(fields: &mut Fields) -> Result<Stop, ApiError> {
    let strings = match fields.value("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) => texts.into_iter().map(text).collect::<Option<_>>().ok_or_else(no_stop)?,
        Some(_) => return Err(no_stop()),
    };
    Stop::new(strings).map_err(|error| ApiError::invalid("stop", format_args!("stop: {error}")))
}

fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

fn no_stop() -> ApiError {
    ApiError::invalid("stop", "stop: give a text, or an array of texts")
}

/// How tokens are chosen, in the first stream of random numbers.
fn settings(fields: &mut Fields) -> Result<SamplerSettings, ApiError> {
    let default = SamplerSettings::default();
    let mut number = |name, default| fields.number(name).map(|value| value.unwrap_or(default));
    Ok(SamplerSettings {
        temperature: number("temperature", default.temperature)?,
        top_p: number("top_p", default.top_p)?,
        min_p: number("min_p", default.min_p)?,
        repetition_penalty: number("repetition_penalty", default.repetition_penalty)?,
        frequency_penalty: number("frequency_penalty", default.frequency_penalty)?,
        presence_penalty: number("presence_penalty", default.presence_penalty)?,
        top_k: fields.take("top_k", "an integer from 0 on")?.unwrap_or(default.top_k),
        seed: fields.take("seed", "an integer from 0 to 18446744073709551615")?.unwrap_or(default.seed),
        // Their values are the kernel's matter.
        logit_bias: fields.take("logit_bias", LOGIT_BIAS)?.map_or_else(Vec::new, |LogitBias(biases)| biases),
        stream: default.stream,
    })
}

#[cfg(test)]
mod tests;
