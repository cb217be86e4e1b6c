//! What a request to train asks for.

use kernel::model::{Config, LoraConfig, LoraError};
use kernel::train::{Optimizer, Range, Schedule, TrainOptions};
use loader::Object;
use serde::{Deserialize, Serialize};
use session::adapter::Shape;

/// The steps of a request that does not say how many, and the most that one may ask for.
const STEPS: u64 = 5;
const MAX_STEPS: u64 = 10_000;
/// From how many tokens on activations are computed again instead of kept, which bounds what a token needs.
const RECOMPUTE_FROM: usize = 256;

/// A request as it came; null is as good as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    text: String,
    steps: Option<u64>,
    learning_rate: Option<f64>,
    method: Option<Method>,
    optimizer: Option<OptimizerName>,
    rank: Option<usize>,
    alpha: Option<f64>,
    targets: Option<Vec<String>>,
}

/// What of the model is trained.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All weights.
    Full,
    /// A new low-rank adapter.
    Lora,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum OptimizerName {
    Sgd,
    AdamW,
}

/// What is trained, and how: a valid request.
pub struct Settings {
    pub text: String,
    pub steps: u64,
    pub learning_rate: f64,
    pub method: Method,
    optimizer: Optimizer,
    shape: Shape,
}

impl Settings {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The reason why it cannot be followed.
    pub fn parse(body: &[u8]) -> Result<Settings, String> {
        let Object(asked): Object<Asked> = serde_json::from_slice(body).map_err(|error| {
            format!("the body is not {{\"text\":\"...\",\"steps\":5,\"learningRate\":0.001}}: {error}")
        })?;
        let method = asked.method.unwrap_or(Method::Full);
        let shape = Shape { rank: asked.rank, alpha: asked.alpha, targets: asked.targets };
        if method == Method::Full && shape.is_told() {
            return Err("rank, alpha and targets describe an adapter: add \"method\":\"lora\"".to_string());
        }
        let (optimizer, learning_rate) = match (asked.optimizer.unwrap_or(OptimizerName::Sgd), method) {
            (OptimizerName::Sgd, Method::Full) => (Optimizer::Sgd { momentum: 0.0 }, 0.001),
            (OptimizerName::Sgd, Method::Lora) => (Optimizer::Sgd { momentum: 0.0 }, 0.05),
            (OptimizerName::AdamW, Method::Lora) => (Optimizer::adamw(0.0), 0.002),
            (OptimizerName::AdamW, Method::Full) => {
                return Err("optimizer \"adamw\" is for method \"lora\" here: for all weights it would need \
                            another gigabyte of memory"
                    .to_string());
            }
        };
        let (steps, learning_rate) = (asked.steps.unwrap_or(STEPS), asked.learning_rate.unwrap_or(learning_rate));
        if !(1..=MAX_STEPS).contains(&steps) {
            return Err(format!("steps={steps}: give an integer from 1 to {MAX_STEPS}"));
        }
        Range::Positive.check("learningRate", learning_rate).map_err(|error| error.to_string())?;
        Ok(Settings { text: asked.text, steps, learning_rate, method, optimizer, shape })
    }

    /// How a sequence of so many tokens is learnt.
    pub fn options(&self, tokens: usize) -> TrainOptions {
        let schedule = Schedule { learning_rate: self.learning_rate, warmup: 0, cosine_steps: None };
        TrainOptions { optimizer: self.optimizer, schedule, clip_norm: None, recompute: tokens >= RECOMPUTE_FROM }
    }

    /// The new adapter that is trained, if one is.
    ///
    /// # Errors
    /// If its shape does not fit the model.
    pub fn adapter(&self, config: &Config) -> Result<Option<LoraConfig>, LoraError> {
        match self.method {
            Method::Full => Ok(None),
            Method::Lora => self.shape.of(config).map(Some),
        }
    }
}
