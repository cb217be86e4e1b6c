//! What of a model is trained.

use std::sync::Arc;

use kernel::model::{LoraError, Model};
use session::adapter::Shape;
use session::receipt::NewAdapter;

use crate::cli::{self, MethodName, SavedType};
use crate::open::Opened;

/// What is trained.
#[derive(Clone, PartialEq, Debug)]
pub enum Method {
    /// All weights.
    Full,
    /// The adapter that the model has.
    Adapter,
    /// A new adapter.
    NewAdapter(Shape),
}

impl Method {
    /// What the flags say, where they fit together.
    pub fn new(arguments: &cli::Train) -> Result<Method, &'static str> {
        let cli::Method { method, lora_rank: rank, lora_alpha: alpha, lora_targets: targets } =
            arguments.method.clone();
        let shape = Shape { rank, alpha, targets };
        let adapter = arguments.compute.model.adapter.is_some();
        match method.unwrap_or(if adapter { MethodName::Lora } else { MethodName::Full }) {
            MethodName::Full if adapter => Err("--method full trains all weights, which an adapter is beside: leave \
                                                --adapter out, or put the adapter into the weights first (lockstep merge)"),
            MethodName::Full if shape.is_told() => {
                Err("--lora-rank, --lora-alpha and --lora-targets describe a new adapter: add --method lora")
            }
            MethodName::Full => Ok(Method::Full),
            MethodName::Lora if arguments.dtype == SavedType::Bf16 => {
                Err("--dtype bf16 is for --method full: an adapter is saved as F32")
            }
            MethodName::Lora if adapter && shape.is_told() => {
                Err("--lora-rank, --lora-alpha and --lora-targets describe a new \
                                                          adapter; that of --adapter has its own")
            }
            MethodName::Lora if adapter => Ok(Method::Adapter),
            MethodName::Lora => Ok(Method::NewAdapter(shape)),
        }
    }

    /// How the new adapter that `begun` has began, if one is trained.
    pub fn new_adapter(&self, begun: &Model, seed: u64) -> Option<NewAdapter> {
        match self {
            Method::NewAdapter(_) => begun.adapter().map(|lora| NewAdapter::new(lora, seed)),
            Method::Full | Method::Adapter => None,
        }
    }

    /// The model that the training begins with. `seed` gives a new adapter its first values.
    ///
    /// # Errors
    /// If the new adapter's shape does not fit the model.
    pub fn begin(&self, opened: &Opened, seed: u64) -> Result<Arc<Model>, LoraError> {
        let Method::NewAdapter(shape) = self else { return Ok(opened.model.clone()) };
        let lora = shape.of(opened.model.config())?;
        Ok(Arc::new(opened.model.with_new_adapter(&lora, seed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn method(words: &[&str]) -> Result<Method, &'static str> {
        let start = ["lockstep", "train", "--text", "x", "--steps", "5", "--learning-rate", "1e-3"];
        let Command::Train(train) = Cli::parse_from(start.iter().chain(words)).command else {
            unreachable!("the command is train")
        };
        Method::new(&train)
    }

    #[test]
    fn an_adapter_is_trained_where_there_is_one_or_one_is_asked_for() {
        assert_eq!(method(&[]), Ok(Method::Full));
        assert_eq!(method(&["--method", "full"]), Ok(Method::Full));
        assert_eq!(method(&["--adapter", "a"]), Ok(Method::Adapter));
        assert_eq!(method(&["--method", "lora"]), Ok(Method::NewAdapter(Shape::default())));
        let words = ["--method", "lora", "--lora-rank", "2", "--lora-alpha", "0.5", "--lora-targets", "o_proj,up_proj"];
        let targets = Some(["o_proj", "up_proj"].map(String::from).to_vec());
        assert_eq!(method(&words), Ok(Method::NewAdapter(Shape { rank: Some(2), alpha: Some(0.5), targets })));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (words, flag) in [
            (&["--method", "full", "--adapter", "a"][..], "--adapter"),
            (&["--lora-rank", "2"], "--lora-rank"),
            (&["--method", "full", "--lora-targets", "q_proj"], "--lora-targets"),
            (&["--adapter", "a", "--lora-alpha", "2"], "--lora-alpha"),
            (&["--method", "lora", "--dtype", "bf16"], "--dtype"),
        ] {
            let error = method(words).unwrap_err();
            assert!(error.contains(flag), "{words:?}: {error}");
        }
    }
}
