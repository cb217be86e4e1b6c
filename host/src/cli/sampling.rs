//! The arguments that choose tokens.

use clap::Args;
use kernel::generate::{Sampler, SamplerError, SamplerSettings};

use crate::logit_bias::{WANTED, pair};

/// How tokens are chosen; the most likely one unless told.
#[derive(Args, Clone, Debug)]
pub struct Sampling {
    /// Divide the logits by T and draw the tokens; 0 takes the most likely one [default: 0]
    #[arg(long, env = "LOCKSTEP_TEMPERATURE", value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,
    /// Draw from the N most likely tokens; 0 for all [default: 0]
    #[arg(long, env = "LOCKSTEP_TOP_K", value_name = "N")]
    top_k: Option<u32>,
    /// Draw from the most likely tokens that have the probability P together [default: 1]
    #[arg(long, env = "LOCKSTEP_TOP_P", value_name = "P", value_parser = top_p)]
    top_p: Option<f64>,
    /// Draw from tokens that are at least P times as likely as the most likely one [default: 0]
    #[arg(long, env = "LOCKSTEP_MIN_P", value_name = "P", value_parser = min_p)]
    min_p: Option<f64>,
    /// Make tokens that occur already less likely: divide their logits by R, multiply negative ones [default: 1]
    #[arg(long, env = "LOCKSTEP_REPETITION_PENALTY", value_name = "R", value_parser = repetition_penalty)]
    repetition_penalty: Option<f64>,
    /// Make generated tokens less likely each time: take F from their logits for each time that they are in the output [default: 0]
    #[arg(long, env = "LOCKSTEP_FREQUENCY_PENALTY", value_name = "F", value_parser = frequency_penalty)]
    #[arg(allow_hyphen_values = true)]
    frequency_penalty: Option<f64>,
    /// Make generated tokens less likely: take P from their logits once [default: 0]
    #[arg(long, env = "LOCKSTEP_PRESENCE_PENALTY", value_name = "P", value_parser = presence_penalty)]
    #[arg(allow_hyphen_values = true)]
    presence_penalty: Option<f64>,
    /// Add BIAS, from -100 to 100, to the logit of token ID; may be given several times
    #[arg(long, env = "LOCKSTEP_LOGIT_BIAS", value_name = "ID:BIAS", value_delimiter = ',', value_parser = logit_bias)]
    logit_bias: Vec<(u32, f64)>,
    /// Seed of the draws: the same seed gives the same tokens on every machine [default: 0]
    #[arg(long, env = "LOCKSTEP_SEED", value_name = "S")]
    seed: Option<u64>,
}

impl Sampling {
    /// The kernel's word for it.
    ///
    /// # Errors
    /// If a token has two biases, or too many have one; otherwise none that the flags let through.
    pub fn sampler(&self) -> Result<Sampler, SamplerError> {
        Sampler::new(self.settings())
    }

    /// The numbers, the defaults where none is given.
    pub fn settings(&self) -> SamplerSettings {
        let default = SamplerSettings::default();
        SamplerSettings {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or(default.seed),
            stream: default.stream,
        }
    }
}

/// A number that makes valid settings.
fn valid(text: &str, settings: impl Fn(f64) -> SamplerSettings) -> Result<f64, String> {
    let value = text.parse().map_err(|_| "give a number".to_string())?;
    Sampler::new(settings(value)).map(|_| value).map_err(|error| format!("choose {}", error.wanted))
}

fn temperature(text: &str) -> Result<f64, String> {
    valid(text, |temperature| SamplerSettings { temperature, ..Default::default() })
}

fn top_p(text: &str) -> Result<f64, String> {
    valid(text, |top_p| SamplerSettings { top_p, ..Default::default() })
}

fn min_p(text: &str) -> Result<f64, String> {
    valid(text, |min_p| SamplerSettings { min_p, ..Default::default() })
}

fn repetition_penalty(text: &str) -> Result<f64, String> {
    valid(text, |repetition_penalty| SamplerSettings { repetition_penalty, ..Default::default() })
}

fn frequency_penalty(text: &str) -> Result<f64, String> {
    valid(text, |frequency_penalty| SamplerSettings { frequency_penalty, ..Default::default() })
}

fn presence_penalty(text: &str) -> Result<f64, String> {
    valid(text, |presence_penalty| SamplerSettings { presence_penalty, ..Default::default() })
}

fn logit_bias(text: &str) -> Result<(u32, f64), String> {
    let bias = pair(text).ok_or_else(|| format!("give {WANTED}"))?;
    let settings = SamplerSettings { logit_bias: vec![bias], ..Default::default() };
    Sampler::new(settings).map(|_| bias).map_err(|error| format!("choose {}", error.wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<Sampler, clap::Error> {
        let cli = Cli::try_parse_from([&["lockstep", "generate", "--prompt", "x"], words].concat())?;
        let Command::Generate(generate) = cli.command else { unreachable!("the command is generate") };
        Ok(generate.sampling.sampler().unwrap())
    }

    #[test]
    fn tokens_are_chosen_greedily_unless_told() {
        assert_eq!(parse(&[]).unwrap(), Sampler::GREEDY);
        let words = "--temperature=0.8 --top-k=40 --top-p=.9 --min-p=0.1 --repetition-penalty=1.1 --frequency-penalty -.5 \
             --presence-penalty -1 --logit-bias 7:-100 --logit-bias 5:2.5,6:1 --seed=7";
        let words: Vec<&str> = words.split_whitespace().collect();
        let settings = SamplerSettings {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.1,
            repetition_penalty: 1.1,
            frequency_penalty: -0.5,
            presence_penalty: -1.0,
            logit_bias: vec![(7, -100.0), (5, 2.5), (6, 1.0)],
            seed: 7,
            stream: 0,
        };
        assert_eq!(parse(&words).unwrap(), Sampler::new(settings).unwrap());
    }

    #[test]
    fn what_is_out_of_range_is_a_usage_error() {
        let wrong =
            ["temperature=-1", "temperature=x", "top-k=-1", "top-p=0", "top-p=NaN", "min-p=2", "repetition-penalty=0"];
        let others =
            ["frequency-penalty=3", "presence-penalty=-2.5", "logit-bias=5", "logit-bias=5:101", "logit-bias=5:NaN"];
        for word in wrong.into_iter().chain(others) {
            assert_eq!(parse(&[&format!("--{word}")]).unwrap_err().exit_code(), 2, "{word}");
        }
    }
}
