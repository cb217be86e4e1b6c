//! What JavaScript sees: classes and functions, which throw `Error`s. The engine's worker is the only caller, but for
//! [`enlist`], [`work`] and [`lose`], which are for the workers that compute with it.

use bpe::{Message, Special};
use js_sys::{Array, Error, Object, Reflect, Uint8Array, Uint32Array};
use kernel::generate::{Sampler, SamplerSettings};
use kernel::pool::Crew;
use kernel::simd::Backend;
use kernel::train::Optimizer;
use kernel::{Exec, environment};
use loader::digest::{Sha256Digest, hex};
use session::adapter::Shape;
use session::receipt::Progress;
use wasm_bindgen::prelude::*;

mod adapters;

pub use adapters::Adapters;

use crate::assembly;
use crate::engine::{self, Advance};
use crate::training::{Lesson, Method, Settings};
use crate::verifying::{LeftOut, Verifying};

/// Runs once, before anything else: a panic throws a `PanicError` through the WebAssembly frames, which ends the engine.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let error = Error::new(&panic.to_string());
        error.set_name("PanicError");
        wasm_bindgen::throw_val(error.into());
    }));
}

/// The threads that compute: one crew for all workers, since they share this memory. Without shared memory it has no members.
static CREW: Crew = Crew::new();

/// The compiled module, for the workers that compute with this one.
#[wasm_bindgen]
pub fn module() -> JsValue {
    wasm_bindgen::module()
}

/// Makes the calling worker a compute thread, from its call of [`work`] on.
#[wasm_bindgen]
pub fn enlist() -> Result<(), JsError> {
    environment::check()?;
    CREW.enlist();
    Ok(())
}

/// Computes for as long as the worker lives.
#[wasm_bindgen]
pub fn work() {
    CREW.work();
}

/// Tells the engine that [`work`] has ended with an error, which is its end too.
#[wasm_bindgen]
pub fn lose(why: String) {
    CREW.lose(why);
}

/// The files of a model on their way in.
#[wasm_bindgen]
pub struct Assembly(assembly::Assembly);

#[wasm_bindgen]
impl Assembly {
    /// Reads the bytes of `manifest.json`.
    #[wasm_bindgen(constructor)]
    pub fn new(manifest: &[u8]) -> Result<Assembly, JsError> {
        Ok(Assembly(assembly::Assembly::new(manifest)?))
    }

    /// The files to bring, as `{name, size, sha256}`, in the order in which the other methods count them from 0.
    pub fn files(&self) -> Array {
        let entry = |file: &loader::manifest::ManifestFile| {
            let entries = [
                ("name", JsValue::from(file.name.as_str())),
                ("size", JsValue::from(file.size as f64)),
                ("sha256", JsValue::from(hex(&file.sha256))),
            ];
            object(entries)
        };
        self.0.files().map(entry).collect()
    }

    /// Makes room for all files.
    pub fn allocate(&mut self) -> Result<(), JsError> {
        Ok(self.0.allocate()?)
    }

    /// Writes the next bytes of a file straight to their place in WebAssembly memory, and checks what they complete.
    pub fn write(&mut self, file: usize, chunk: &Uint8Array) -> Result<(), JsError> {
        Ok(self.0.write(file, chunk.length() as usize, |room| chunk.copy_to(room))?)
    }

    /// A copy of bytes of a file that have arrived.
    pub fn read(&self, file: usize, start: usize, end: usize) -> Result<Uint8Array, JsError> {
        let bytes = self.0.arrived(file)?.get(start..end);
        bytes.map(Uint8Array::from).ok_or_else(|| JsError::new("these bytes have not arrived"))
    }

    /// Number of bytes of a file that have arrived.
    pub fn filled(&self, file: usize) -> usize {
        self.0.filled(file)
    }

    /// Forgets what has arrived of a file.
    pub fn restart(&mut self, file: usize) {
        self.0.restart(file);
    }

    /// The engine, when all files are there. The assembly cannot be used any more.
    pub fn finish(self) -> Result<Engine, JsError> {
        let exec = Exec { backend: Backend::detect(), pool: &CREW };
        Ok(Engine(engine::Engine::new(self.0.finish()?, exec)?))
    }
}

/// A loaded model.
#[wasm_bindgen]
pub struct Engine(engine::Engine);

#[wasm_bindgen]
impl Engine {
    /// `{name, source, weightsSha256, backend, threads, selfTest, context}`, see `EngineInfo` in page/engine.d.ts.
    pub fn info(&self) -> JsValue {
        let self_test = self.0.self_test().as_ref().err().map(ToString::to_string);
        object([
            ("name", JsValue::from(self.0.name())),
            ("source", JsValue::from(self.0.source())),
            ("weightsSha256", JsValue::from(hex(&self.0.identity().weights))),
            ("backend", JsValue::from(self.0.backend())),
            ("threads", JsValue::from(self.0.threads() as f64)),
            ("selfTest", self_test.map_or(JsValue::NULL, JsValue::from)),
            ("context", JsValue::from(self.0.context() as f64)),
        ])
    }

    /// `{weightsSha256, adapterSha256}` of what texts are generated with; the second is null where there is no adapter.
    pub fn identity(&self) -> JsValue {
        let identity = self.0.identity();
        object([
            ("weightsSha256", JsValue::from(hex(&identity.weights))),
            ("adapterSha256", optional(identity.adapter.as_ref())),
        ])
    }

    /// The token ids of a text.
    pub fn encode(&self, text: &str, plain_special: bool) -> Vec<u32> {
        self.0.encode(text, if plain_special { Special::Plain } else { Special::Parse })
    }

    /// The token ids of messages (role and content by turns) and of the head of the answer to them.
    pub fn encode_messages(&self, messages: Vec<String>) -> Result<Vec<u32>, JsError> {
        Ok(self.0.encode_messages(&turns(messages))?)
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, JsError> {
        Ok(self.0.decode(ids)?)
    }

    /// Prepares a generation whose text ends before the first of the `stop` strings; `biases` are those of the tokens `biased`, the
    /// receipt leaves token ids out if `private`, and the other names are those of the contract's sampling rules.
    #[allow(clippy::too_many_arguments, reason = "JavaScript's numbers come one by one")]
    pub fn start(
        &self,
        prompt: Vec<u32>,
        max_tokens: usize,
        temperature: f64,
        top_k: u32,
        top_p: f64,
        min_p: f64,
        repetition_penalty: f64,
        frequency_penalty: f64,
        presence_penalty: f64,
        biased: Vec<u32>,
        biases: Vec<f64>,
        seed: u64,
        stop: Vec<String>,
        private: bool,
    ) -> Result<Run, JsError> {
        let settings = SamplerSettings {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            logit_bias: biased.into_iter().zip(biases).collect(),
            seed,
            stream: 0,
        };
        let mut run = engine::Run::new(&self.0, prompt, max_tokens, Sampler::new(settings)?, stop)?;
        run.private = private;
        Ok(Run(run))
    }

    /// Begins to train on a text, or on messages (role and content by turns), by `"sgd"` or `"adamw"`: the adapter, or
    /// without one all weights. The receipt leaves what is learnt out if `private`.
    pub fn begin_training(
        &mut self,
        text: Option<String>,
        messages: Vec<String>,
        learning_rate: f64,
        optimizer: &str,
        adapter: Option<NewAdapter>,
        private: bool,
    ) -> Result<(), JsError> {
        let optimizer = match optimizer {
            "sgd" => Optimizer::Sgd { momentum: 0.0 },
            "adamw" => Optimizer::adamw(0.0),
            other => return Err(JsError::new(&format!("the optimizer is \"sgd\" or \"adamw\", not {other:?}"))),
        };
        let lesson = text.map(Lesson::Text).unwrap_or_else(|| Lesson::Messages(turns(messages)));
        let method = adapter.map_or(Method::Full, |adapter| adapter.0);
        self.0.begin_training(&lesson, &Settings { learning_rate, optimizer, method, private })?;
        Ok(())
    }

    /// Makes one step: `TrainStep` in page/engine.d.ts.
    pub fn train_step(&mut self) -> Result<JsValue, JsError> {
        let report = self.0.train_step()?;
        Ok(object([
            ("step", JsValue::from(report.step as f64)),
            ("loss", JsValue::from(report.loss)),
            ("lossBits", JsValue::from(bits(report.loss))),
            ("gradNorm", JsValue::from(report.grad_norm)),
            ("tokens", JsValue::from(report.tokens as f64)),
            ("learningRate", JsValue::from(report.learning_rate)),
        ]))
    }

    /// Ends the training: `{transcriptSha256, receipt}`.
    pub fn finish_training(&mut self) -> Result<JsValue, JsError> {
        let end = self.0.finish_training()?;
        Ok(object([
            ("transcriptSha256", JsValue::from(hex(&end.transcript))),
            ("receipt", end.receipt.map_or(JsValue::NULL, JsValue::from)),
        ]))
    }

    /// Goes back to the base weights.
    pub fn reset(&mut self) -> Result<(), JsError> {
        Ok(self.0.reset()?)
    }

    /// `{config, weights, adapterSha256}`: the two files of the adapter in use, and its digest.
    pub fn export_adapter(&self) -> Result<JsValue, JsError> {
        let files = self.0.export_adapter()?;
        Ok(object([
            ("config", Uint8Array::from(files.adapter_config.as_slice()).into()),
            ("weights", Uint8Array::from(files.adapter_model.as_slice()).into()),
            ("adapterSha256", optional(self.0.identity().adapter.as_ref())),
        ]))
    }

    /// Puts an adapter beside the base weights: the bytes of its two files.
    pub fn load_adapter(&mut self, config: &[u8], weights: &Uint8Array) -> Result<(), JsError> {
        Ok(self.0.load_adapter(config, weights.length() as usize, |room| weights.copy_to(room))?)
    }

    /// `{loss, lossBits, gradientsSha256}` of a text.
    pub fn gradients(&self, text: &str) -> Result<JsValue, JsError> {
        let (loss, digest) = self.0.gradients(text)?;
        Ok(object([
            ("loss", JsValue::from(loss)),
            ("lossBits", JsValue::from(bits(loss))),
            ("gradientsSha256", JsValue::from(hex(&digest))),
        ]))
    }
}

/// An adapter to train.
#[wasm_bindgen]
pub struct NewAdapter(Method);

#[wasm_bindgen]
impl NewAdapter {
    /// What is not told, or of `targets` if it is empty, has the default; the seed is an integer.
    #[wasm_bindgen(constructor)]
    pub fn new(rank: Option<usize>, alpha: Option<f64>, targets: Vec<String>, seed: f64) -> NewAdapter {
        let targets = (!targets.is_empty()).then_some(targets);
        NewAdapter(Method::Lora { shape: Shape { rank, alpha, targets }, seed: seed as u64 })
    }
}

/// Messages whose roles and contents come by turns.
fn turns(messages: Vec<String>) -> Vec<Message> {
    messages.as_chunks().0.iter().cloned().map(|[role, content]| Message { role, content }).collect()
}

/// The bits of a binary32 value, in hexadecimal.
fn bits(value: f32) -> String {
    format!("{:08x}", value.to_bits())
}

/// A generation under way.
#[wasm_bindgen]
pub struct Run(engine::Run);

#[wasm_bindgen]
impl Run {
    /// One unit of work: `{prefill: {done, total}}`, `{step: Token}` (page/engine.d.ts), or `{}` after the last token.
    pub fn advance(&mut self, engine: &Engine) -> Result<JsValue, JsError> {
        Ok(match self.0.advance(&engine.0)? {
            Advance::Prefill { done, total } => {
                let progress = object([("done", JsValue::from(done as f64)), ("total", JsValue::from(total as f64))]);
                object([("prefill", progress)])
            }
            Advance::Token { step, token_id, text, logits_sha256, end } => {
                let reason = end.as_ref().map(|end| JsValue::from(end.reason.as_str()));
                let transcript = end.as_ref().map(|end| JsValue::from(hex(&end.transcript)));
                let receipt = end.and_then(|end| end.receipt).map(JsValue::from);
                let step = object([
                    ("step", JsValue::from(step as f64)),
                    ("tokenId", JsValue::from(token_id)),
                    ("tokenText", JsValue::from(text)),
                    ("logitsSha256", JsValue::from(hex(&logits_sha256))),
                    ("finishReason", reason.unwrap_or(JsValue::NULL)),
                    ("transcriptSha256", transcript.unwrap_or(JsValue::NULL)),
                    ("receipt", receipt.unwrap_or(JsValue::NULL)),
                ]);
                object([("step", step)])
            }
            Advance::Finished => object([]),
        })
    }
}

/// A receipt that is being verified.
#[wasm_bindgen]
pub struct Verification(Verifying);

#[wasm_bindgen]
impl Verification {
    /// Reads the bytes of a receipt; a private one leaves out the prompt, or the text or the JSON lines that were learnt, that of an
    /// aggregation the adapters.
    #[wasm_bindgen(constructor)]
    pub fn new(
        engine: &Engine,
        receipt: &[u8],
        prompt: Option<Vec<u32>>,
        text: Option<String>,
        lines: Option<Vec<u8>>,
        adapters: Option<Adapters>,
    ) -> Result<Verification, JsError> {
        let adapters = adapters.unwrap_or_default().0;
        Ok(Verification(Verifying::begin(&engine.0, receipt, LeftOut { prompt, text, lines, adapters })?))
    }

    /// `{kind, steps, isPrivate, signature, publicKey, promptIds, tokenIds}`; `{}` if it is no receipt.
    pub fn about(&self) -> JsValue {
        let Some(about) = &self.0.about else { return object([]) };
        let ids = |ids: Option<&Vec<u32>>| ids.map_or(JsValue::NULL, |ids| Uint32Array::from(ids.as_slice()).into());
        object([
            ("kind", JsValue::from(about.kind)),
            ("steps", JsValue::from(about.steps as f64)),
            ("isPrivate", JsValue::from(about.private)),
            ("signature", JsValue::from(about.signature.word())),
            ("publicKey", about.signature.public_key().map_or(JsValue::NULL, |key| JsValue::from(key.digits()))),
            ("promptIds", ids(about.ids.as_ref().map(|(prompt, _)| prompt))),
            ("tokenIds", ids(about.ids.as_ref().map(|(_, tokens)| tokens))),
        ])
    }

    /// One unit of work: `{progress: {done, total}}`, or at the end `{verdict: {verdict, step, why}}`.
    pub fn advance(&mut self, engine: &Engine) -> Result<JsValue, JsError> {
        Ok(match self.0.advance(&engine.0)? {
            Progress::Going { done, total } => {
                let progress = object([("done", JsValue::from(done as f64)), ("total", JsValue::from(total as f64))]);
                object([("progress", progress)])
            }
            Progress::Done(verdict) => {
                let verdict = object([
                    ("verdict", JsValue::from(verdict.word())),
                    ("step", verdict.step().map_or(JsValue::NULL, |step| JsValue::from(step as f64))),
                    ("why", verdict.why().map_or(JsValue::NULL, JsValue::from)),
                ]);
                object([("verdict", verdict)])
            }
        })
    }
}

/// A digest in hexadecimal, or null.
fn optional(digest: Option<&Sha256Digest>) -> JsValue {
    digest.map_or(JsValue::NULL, |digest| JsValue::from(hex(digest)))
}

fn object<const N: usize>(entries: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (key, value) in entries {
        // Fails only for objects that refuse properties; this one is new.
        let _ = Reflect::set(&object, &key.into(), &value);
    }
    object.into()
}
