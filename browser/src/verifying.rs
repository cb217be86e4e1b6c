//! Receipts of others, computed again with the loaded model.

use std::rc::Rc;

use kernel::model::Model;
use kernel::transcript::Identity;
use session::data::Reader;
use session::receipt::{Given, ModelDigests, Progress, Receipt, SignatureState, Verdict, Verification};

use crate::engine::{Engine, EngineError};
use crate::training::reserve;

/// A receipt that is being verified. Dropping it stops that.
pub struct Verifying {
    state: State,
    /// What the receipt is about, where it is one.
    pub about: Option<About>,
    /// The engine's weights stay as they are while this is held.
    _under_way: Rc<()>,
}

enum State {
    /// Being computed, with the base model if so.
    Computing {
        verification: Box<Verification>,
        base: bool,
    },
    Known(Verdict),
}

/// What can be read in a receipt without computing anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// `generation`, `training`, `scoring` or `aggregation`.
    pub kind: &'static str,
    /// The steps that it tells of.
    pub steps: usize,
    /// Whether it leaves token ids out.
    pub private: bool,
    /// Whether it is signed, and by whom.
    pub signature: SignatureState,
    /// The tokens of prompt and output of a generation, where it has them.
    pub ids: Option<(Vec<u32>, Vec<u32>)>,
}

impl From<&Receipt> for About {
    fn from(receipt: &Receipt) -> About {
        let generation = receipt.generation.as_ref();
        let ids = generation.and_then(|told| Some((told.request.prompt_ids.clone()?, told.token_ids.clone()?)));
        About {
            kind: receipt.kind(),
            steps: receipt.steps(),
            private: receipt.is_private(),
            signature: receipt.signature_state(),
            ids,
        }
    }
}

/// What a receipt leaves out.
#[derive(Clone, Default, Debug)]
pub struct LeftOut {
    /// The prompt of a generation.
    pub prompt: Option<Vec<u32>>,
    /// The text of a training or a scoring.
    pub text: Option<String>,
    /// The JSON lines of a training or a scoring.
    pub lines: Option<Vec<u8>>,
    /// The base model with the adapters of an aggregation's clients ([`Engine::adapted`]).
    pub adapters: Vec<Model>,
}

impl LeftOut {
    fn given(self, engine: &Engine) -> Result<Given, EngineError> {
        // What was not cut when it was learnt fits, and is not cut here.
        let reader = Reader { truncate: true, ..engine.reader() };
        let text = self.text.map(|text| Ok(vec![reader.text(&text)?]));
        let data = text.or_else(|| self.lines.map(|lines| reader.lines(&lines)));
        let data = data.transpose().map_err(EngineError::Data)?;
        Ok(Given { prompt: self.prompt, data, adapters: self.adapters, ..Given::default() })
    }
}

impl Verifying {
    /// Prepares to compute what a receipt tells, with the weights in use if it is of them, otherwise with the base weights.
    /// `left_out` is what the receipt leaves out. Whatever the bytes are, there will be a verdict.
    ///
    /// # Errors
    /// While the model is being trained, or if nothing can be learnt from what was left out.
    pub fn begin(engine: &Engine, receipt: &[u8], left_out: LeftOut) -> Result<Verifying, EngineError> {
        engine.model()?;
        let read = Receipt::from_json(receipt).map_err(Verdict::from);
        let about = read.as_ref().ok().map(About::from);
        let given = left_out.given(engine)?;
        let reserve = |bytes| reserve(bytes).map_err(|error| error.to_string());
        let begun = read.and_then(|receipt| {
            let base = receipt.model != ModelDigests::from(engine.identity());
            let (model, identity) =
                subject(engine, base).map_err(|error| Verdict::CannotVerify { why: error.to_string() })?;
            let verification = Verification::begin(&receipt, model, &identity, given, &reserve)?;
            Ok(State::Computing { verification: Box::new(verification), base })
        });
        let state = begun.unwrap_or_else(State::Known);
        Ok(Verifying { state, about, _under_way: engine.generations.clone() })
    }

    /// Does one unit of work.
    ///
    /// # Errors
    /// While the model is being trained, which cannot be while this is held.
    pub fn advance(&mut self, engine: &Engine) -> Result<Progress, EngineError> {
        let progress = match &mut self.state {
            State::Known(verdict) => return Ok(Progress::Done(verdict.clone())),
            State::Computing { verification, base } => {
                let (model, _) = subject(engine, *base)?;
                verification.advance(model, &engine.tokenizer, engine.exec)
            }
        };
        if let Progress::Done(verdict) = &progress {
            self.state = State::Known(verdict.clone());
        }
        Ok(progress)
    }
}

/// What is computed with: the base model, or what the engine uses now.
fn subject(engine: &Engine, base: bool) -> Result<(&Model, Identity), EngineError> {
    Ok(if base { (&engine.base, engine.base_identity()) } else { (engine.model()?, engine.identity().clone()) })
}
