//! A loaded model and its generations, without JavaScript.

use std::rc::Rc;
use std::{error, fmt};

use bpe::{Message, Special, Tokenizer, TokenizerError, UnknownToken};
use kernel::Exec;
use kernel::environment::{self, EnvironmentError};
use kernel::generate::{FinishReason, GenerateError, Request, Sampler};
use kernel::golden::{self, GoldenError};
use kernel::model::{LoraError, Model};
use kernel::train::{OutOfRange, TrainError};
use kernel::transcript::{Identity, Sha256Digest, transcript};
use session::adapter::AdapterError;
use session::aggregate::AggregateError;
use session::data::DataError;
use session::receipt::{Receipt, ReceiptError};
use session::{Continuation, ContinueError, MessagesError, ModelError, Progress, Stop, StopError, chat_prompt};

use crate::assembly::Assembled;
use crate::training::Changed;

/// A model that is ready to generate and to be trained.
pub struct Engine {
    pub(crate) exec: Exec<'static>,
    name: String,
    source: String,
    pub(crate) base: Model,
    /// The weights digest of the base model.
    pub(crate) base_weights: Sha256Digest,
    /// The model in or after training, or with an adapter; none while the base weights are in use.
    pub(crate) changed: Option<Changed>,
    /// Shared with every generation under way, which so can be counted.
    pub(crate) generations: Rc<()>,
    pub(crate) tokenizer: Tokenizer,
    /// The bytes of tokenizer_config.json, where the model has it: the template of conversations.
    pub(crate) tokenizer_config: Option<Vec<u8>>,
    pub(crate) identity: Identity,
    self_test: Result<(), GoldenError>,
}

impl Engine {
    /// Builds the model over the checkpoint's bytes, without copying them, and runs the self-test; `exec` computes all.
    ///
    /// # Errors
    /// If config.json, tokenizer.json or the weights are no model that we can run, or the floating-point environment is
    /// not that of the contract.
    pub fn new(assembled: Assembled, exec: Exec<'static>) -> Result<Engine, EngineError> {
        environment::check().map_err(EngineError::Environment)?;
        let config = session::config(&assembled.config).map_err(EngineError::Model)?;
        let tokenizer = Tokenizer::from_json(&assembled.tokenizer).map_err(EngineError::Tokenizer)?;
        let model = session::model(config, &assembled.checkpoint).map_err(EngineError::Model)?;
        Ok(Engine {
            exec,
            name: assembled.name,
            source: assembled.source,
            base: model,
            base_weights: assembled.weights_sha256,
            changed: None,
            generations: Rc::new(()),
            tokenizer,
            tokenizer_config: assembled.tokenizer_config,
            identity: Identity {
                weights: assembled.weights_sha256,
                adapter: None,
                tokenizer: assembled.tokenizer_sha256,
            },
            self_test: golden::check(exec),
        })
    }

    /// Name of the model folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the weights came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the results are computed with; after a training its weights or its adapter.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Longest prompt and output together, in tokens.
    pub fn context(&self) -> usize {
        self.base.config().context
    }

    /// The model that texts are generated with.
    ///
    /// # Errors
    /// While it is being trained.
    pub(crate) fn model(&self) -> Result<&Model, EngineError> {
        match &self.changed {
            None => Ok(&self.base),
            Some(Changed::Training(_)) => Err(EngineError::Training),
            Some(Changed::Model(model)) => Ok(model),
        }
    }

    /// Whether this build computes the golden bits.
    pub fn self_test(&self) -> &Result<(), GoldenError> {
        &self.self_test
    }

    /// The instruction set, by its name.
    pub fn backend(&self) -> &'static str {
        self.exec.backend.name()
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.exec.pool.threads()
    }

    /// The token ids of a text.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        self.tokenizer.encode(text, special)
    }

    /// The token ids of a conversation, with the head of the answer to it.
    ///
    /// # Errors
    /// If there are no messages, one has another role than `system`, `user` or `assistant`, or the model has no template for
    /// them or refuses them.
    pub fn encode_messages(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        chat_prompt(&self.tokenizer, self.tokenizer_config.as_deref(), messages).map_err(EngineError::Messages)
    }

    /// The text of token ids, special tokens included.
    ///
    /// # Errors
    /// If the vocabulary does not have one of them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, UnknownToken> {
        self.tokenizer.decode(ids)
    }
}

/// One generation under way. Dropping it stops it.
pub struct Run {
    text: Continuation,
    /// Whether the receipt leaves token ids out.
    pub private: bool,
    /// The engine's weights stay as they are while this is held.
    _under_way: Rc<()>,
}

/// What one unit of work gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// A part of the prompt was read.
    Prefill {
        /// Tokens read so far.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated.
    Token {
        /// Its number, from 1.
        step: usize,
        /// Its id.
        token_id: u32,
        /// The text that it completes. The token that ends the text has none of its own.
        text: String,
        /// The digest of the logits that it was chosen from.
        logits_sha256: Sha256Digest,
        /// On the last token.
        end: Option<End>,
    },
    /// There is nothing left to do.
    Finished,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: FinishReason,
    /// The transcript of the whole generation.
    pub transcript: Sha256Digest,
    /// The receipt, as canonical JSON, where one can hold it all.
    pub receipt: Option<String>,
}

impl Run {
    /// Prepares a generation whose text ends before the first of the stop strings; nothing is computed yet.
    ///
    /// # Errors
    /// If the prompt is empty or too long, a token id is not in the vocabulary, a stop string is empty or too long, or the
    /// model is being trained.
    pub fn new(
        engine: &Engine,
        prompt: Vec<u32>,
        max_tokens: usize,
        sampler: Sampler,
        stop: Vec<String>,
    ) -> Result<Run, EngineError> {
        let request = Request { prompt, max_tokens, ignore_eos: false, sampler, logprobs: None };
        let stop = Stop::new(stop).map_err(EngineError::Stop)?;
        let text = Continuation::new(engine.model()?, request, stop).map_err(EngineError::Generate)?;
        Ok(Run { text, private: false, _under_way: engine.generations.clone() })
    }

    /// Reads one part of the prompt, or generates one token.
    ///
    /// # Errors
    /// If the weights give a logit that is no finite number, or a token that the tokenizer does not have.
    pub fn advance(&mut self, engine: &Engine) -> Result<Advance, EngineError> {
        let advanced = self.text.advance(engine.model()?, &engine.tokenizer, engine.exec);
        let (step, text) = match advanced.map_err(EngineError::Continue)? {
            Progress::Prefill { done, total } => return Ok(Advance::Prefill { done, total }),
            Progress::Token(step, text) => (step, text),
            Progress::Finished(_) => return Ok(Advance::Finished),
        };
        let end = step.finish_reason.map(|reason| self.end(engine, reason));
        Ok(Advance::Token { step: step.step, token_id: step.token_id, text, logits_sha256: step.logits_sha256, end })
    }

    fn end(&self, engine: &Engine, reason: FinishReason) -> End {
        let identity = &engine.identity;
        let receipt = self.text.receipt(&engine.base, identity, self.private).ok().map(|receipt| text_of(&receipt));
        End { reason, transcript: transcript(identity, self.text.generation()), receipt }
    }
}

/// A receipt as JavaScript takes it.
pub(crate) fn text_of(receipt: &Receipt) -> String {
    String::from_utf8_lossy(&receipt.to_json()).into_owned()
}

/// Why a model cannot be run or trained, or a text not be generated.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineError {
    /// The floating-point environment is not that of the contract.
    Environment(EnvironmentError),
    /// The files hold no model that we can run.
    Model(ModelError),
    /// tokenizer.json describes no tokenizer that we can run.
    Tokenizer(TokenizerError),
    /// The kernel refuses the request.
    Generate(GenerateError),
    /// A stop string is none.
    Stop(StopError),
    /// The messages are no prompt.
    Messages(MessagesError),
    /// The text cannot go on.
    Continue(ContinueError),
    /// The model is being trained.
    Training,
    /// A text is being generated.
    Generating,
    /// No training is under way.
    NotTraining,
    /// A setting of the training is out of its range.
    Setting(OutOfRange),
    /// A training needs more memory than there is.
    NoMemory {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes of them that could be had.
        found: u64,
    },
    /// There is nothing to learn from.
    Data(DataError),
    /// The adapter to train cannot be made.
    Lora(LoraError),
    /// The kernel cannot go on.
    Train(TrainError),
    /// The files are no adapter of this model.
    Adapter(AdapterError),
    /// No adapter is in use.
    NoAdapter,
    /// Adapters cannot be put together.
    Aggregate(AggregateError),
    /// No receipt can hold the result.
    Receipt(ReceiptError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Environment(error) => write!(f, "this browser cannot give the bits of the contract: {error}"),
            EngineError::Model(error) => error.fmt(f),
            EngineError::Tokenizer(error) => write!(f, "tokenizer.json: {error}"),
            EngineError::Generate(error) => error.fmt(f),
            EngineError::Stop(error) => error.fmt(f),
            EngineError::Messages(error) => error.fmt(f),
            EngineError::Continue(error) => error.fmt(f),
            EngineError::Training => {
                f.write_str("the model is being trained; wait for the training or stop it, or load a second engine")
            }
            EngineError::Generating => {
                f.write_str("a text is being generated; wait for it or stop it before the weights change")
            }
            EngineError::NotTraining => f.write_str("no training is under way; begin one first"),
            EngineError::Setting(error) => error.fmt(f),
            EngineError::NoMemory { needed, found } => write!(
                f,
                "this needs about {} MB more memory and the browser has only {} MB; take a shorter text, train with \
                 method \"lora\" or optimizer \"sgd\", or close other tabs",
                needed / 1_000_000,
                found / 1_000_000
            ),
            EngineError::Data(error) => error.fmt(f),
            EngineError::Lora(error) => error.fmt(f),
            EngineError::Train(error) => error.fmt(f),
            EngineError::Adapter(error) => error.fmt(f),
            EngineError::Aggregate(error) => error.fmt(f),
            EngineError::Receipt(error) => write!(f, "no receipt can hold this: {error}"),
            EngineError::NoAdapter => f.write_str("no adapter is in use; train one with method \"lora\", or load one"),
        }
    }
}

impl error::Error for EngineError {}
