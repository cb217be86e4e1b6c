//! The engine with a tiny model, on pools that watch and break.

use std::ops::Range;
use std::sync::Mutex;

use kernel::generate::{Request, Sampler, SamplerSettings};
use kernel::golden::Tiny;
use kernel::model::{Config, DType, RawTensor, Sequence, SharedBytes, parameters};
use kernel::pool::{Pool, SerialPool};
use kernel::simd::Backend;
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};
use kernel::transcript::transcript;
use loader::{Access, Checkpoint, TensorSource, write_safetensors};
use session::{Progress, Stop};

use super::*;
use crate::serve::weights::Trained;

pub(super) fn model() -> Model {
    model_of(512)
}

/// With so many positions.
pub(super) fn model_of(context: usize) -> Model {
    let config = Config {
        vocab: 8,
        dim: 4,
        hidden: 4,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 2,
        context,
        ..Tiny::One.config()
    };
    let shapes = parameters(&config);
    let source = |name: &str| {
        let shape = shapes.iter().find(|parameter| parameter.name == name)?.shape.clone();
        let values = (0..shape.iter().product()).map(|i: usize| (i % 7) as f32 - 3.0);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let length = bytes.len();
        Some(RawTensor { dtype: DType::F32, shape, bytes: SharedBytes::new(Arc::new(bytes), 0..length)? })
    };
    Model::load(config, &source).unwrap()
}

/// A token for each of the letters a to h.
pub(super) fn tokenizer() -> Tokenizer {
    let vocab: serde_json::Map<_, _> =
        "abcdefgh".chars().zip(0..).map(|(letter, id)| (letter.to_string(), id.into())).collect();
    let json = serde_json::json!({
        "added_tokens": [],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel" },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    });
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

pub(super) fn generation(model: &Model, prompt: usize, max_tokens: usize) -> Continuation {
    stopping(model, prompt, max_tokens, &[])
}

/// Twelve tokens after a prompt that begins with another token than those of other `first`.
pub(super) fn rising(model: &Model, first: usize, prompt: usize) -> Continuation {
    let prompt = (0..prompt).map(|i| ((first + i) % 8) as u32).collect();
    let request = Request { prompt, max_tokens: 12, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
    Continuation::new(model, request, Stop::default()).unwrap()
}

fn stopping(model: &Model, prompt: usize, max_tokens: usize, stop: &[&str]) -> Continuation {
    let request =
        Request { prompt: vec![1; prompt], max_tokens, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
    let stop = Stop::new(stop.iter().map(|text| text.to_string()).collect()).unwrap();
    Continuation::new(model, request, stop).unwrap()
}

/// A generation of a request, and what its client hears.
pub(super) fn job(text: Continuation, caller: Caller, request: u64) -> (Job, mpsc::UnboundedReceiver<Event>) {
    let (events, receiver) = mpsc::unbounded_channel();
    let watch = crate::serve::metrics::Watch::new(Arc::default());
    (Job { text, caller, request, weights: Weights::Base, end: None, events, watch }, receiver)
}

/// Hands a generation in, as anyone.
fn submit(engine: &Engine, text: Continuation) -> Result<mpsc::UnboundedReceiver<Event>, SubmitError> {
    engine.submit(text, Caller::ANYONE)
}

pub(super) fn identity() -> Option<Identity> {
    Some(Identity { weights: [1; 32], adapter: None, tokenizer: [2; 32] })
}

/// Works on everything that was handed in, then ends.
fn work(engine: Engine, queue: Queue, model: &Model, pool: &dyn Pool, identity: &dyn Fn() -> Option<Identity>) {
    work_keeping(1 << 20, engine, queue, model, pool, identity);
}

/// The same with so many bytes for past texts.
fn work_keeping(
    kept: usize,
    engine: Engine,
    queue: Queue,
    model: &Model,
    pool: &dyn Pool,
    identity: &dyn Fn() -> Option<Identity>,
) {
    drop(engine);
    queue.work(model, &tokenizer(), Exec { backend: Backend::SCALAR, pool }, identity, kept);
}

/// The names of the events, and the last one.
fn heard(mut events: mpsc::UnboundedReceiver<Event>) -> (usize, Event) {
    let mut tokens = 0;
    loop {
        match events.blocking_recv().unwrap() {
            Event::Begun(_) | Event::Prompt(_) => {}
            Event::Token(step, _, _) => tokens = step.step,
            last => return (tokens, last),
        }
    }
}

/// Counts the regions that it runs, and panics in those numbered `bad`.
struct Watch {
    regions: AtomicUsize,
    bad: Range<usize>,
}

impl Pool for Watch {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        assert!(!self.bad.contains(&self.regions.fetch_add(1, Ordering::Relaxed)), "a test's panic");
        SerialPool.run(parts, job);
    }
}

fn regions(model: &Model, hand_in: impl Fn(&Engine) -> Vec<mpsc::UnboundedReceiver<Event>>) -> usize {
    let pool = Watch { regions: AtomicUsize::new(0), bad: 0..0 };
    let (engine, queue) = engine(1);
    let events = hand_in(&engine);
    work(engine, queue, model, &pool, &identity);
    drop(events);
    pool.regions.into_inner()
}

#[test]
fn a_generation_is_told_to_its_end_with_its_proof() {
    let model = model();
    let (engine, queue) = engine(1);
    let events = submit(&engine, generation(&model, 3, 5)).unwrap();
    work(engine, queue, &model, &SerialPool, &identity);
    let (tokens, Event::Finished(end)) = heard(events) else { panic!("it failed") };
    let mut alone = generation(&model, 3, 5);
    while !matches!(alone.advance(&model, &tokenizer(), Exec::serial()).unwrap(), Progress::Finished(_)) {}
    assert_eq!((tokens, end.reason), (5, FinishReason::Length));
    assert_eq!(end.transcript, transcript(&identity().unwrap(), alone.generation()));
}

#[test]
fn a_stop_string_ends_a_generation_before_its_last_token() {
    let model = model();
    let (engine, queue) = engine(1);
    let (mut alone, mut three) = (generation(&model, 3, 3), String::new());
    // One unit of work reads the prompt and generates a letter.
    while let Progress::Token(_, letter) = alone.advance(&model, &tokenizer(), Exec::serial()).unwrap() {
        three.push_str(&letter);
    }
    let events = submit(&engine, stopping(&model, 3, 50, &["no", &three])).unwrap();
    work(engine, queue, &model, &SerialPool, &identity);
    let (3, Event::Finished(end)) = heard(events) else { panic!("it did not end after three letters") };
    assert_eq!(end.reason, FinishReason::Stop);
    let told = end.receipt.unwrap().generation.unwrap();
    assert_eq!((told.logits_sha256.len(), told.request.stop.unwrap().len()), (3, 2));
}

/// The first panics among the others and alone, before any of its prompt is read.
#[test]
fn a_panic_ends_one_generation_and_not_the_others() {
    let model = model();
    for kept in [1 << 20, 0] {
        let pool = Watch { regions: AtomicUsize::new(0), bad: 0..2 };
        let (engine, queue) = engine(1);
        let [first, second] = [1, 2].map(|prompt| submit(&engine, generation(&model, prompt, 3)).unwrap());
        work_keeping(kept, engine, queue, &model, &pool, &identity);
        let (0, Event::Failed(error)) = heard(first) else { panic!("the first did not fail") };
        assert!(error.contains("internal error"), "{error}");
        assert!(matches!(heard(second), (3, Event::Finished(_))));
    }
}

/// More than advance at a time, of all lengths, with prompts that begin alike or like nothing.
#[test]
fn n11_what_else_is_running_changes_no_bit() {
    let model = model();
    let asked = |n: usize| {
        let prompt = (0..1 + n * 37 % 200).map(|i| if i < 40 { 1 } else { ((i * i + n) % 8) as u32 }).collect();
        let settings = SamplerSettings { temperature: (n % 3) as f64, seed: n as u64, ..Default::default() };
        let sampler = Sampler::new(settings).unwrap();
        let request = Request { prompt, max_tokens: 1 + n * 7 % 30, ignore_eos: true, sampler, logprobs: None };
        Continuation::new(&model, request, Stop::default()).unwrap()
    };
    let (engine, queue) = engine(1);
    let events: Vec<_> = (0..WAITING).map(|n| submit(&engine, asked(n)).unwrap()).collect();
    work(engine, queue, &model, &SerialPool, &identity);
    for (n, events) in events.into_iter().enumerate() {
        let mut alone = asked(n);
        while !matches!(alone.advance(&model, &tokenizer(), Exec::serial()).unwrap(), Progress::Finished(_)) {}
        let (tokens, Event::Finished(end)) = heard(events) else { panic!("{n} failed") };
        assert_eq!(tokens, alone.generation().steps().len());
        assert_eq!(end.transcript, transcript(&identity().unwrap(), alone.generation()), "{n}");
    }
}

/// Each is as long as the context.
#[test]
fn a_text_waits_until_there_is_room() {
    let model = model();
    let (engine, queue) = engine(1);
    let events: Vec<_> = (0..TEXTS + 2).map(|_| submit(&engine, generation(&model, 500, 12)).unwrap()).collect();
    let (active, places, seen) = (engine.active.clone(), engine.places.clone(), Mutex::new(Vec::new()));
    let identity = || {
        seen.lock().unwrap().push((active.load(Ordering::Relaxed), places.taken()));
        identity()
    };
    work(engine, queue, &model, &SerialPool, &identity);
    // The first one reads the prompt, with which the next three begin; so it is with the last two.
    assert_eq!(seen.into_inner().unwrap(), [(TEXTS, 2), (TEXTS, 1), (TEXTS, 1), (TEXTS, 1), (2, 0), (1, 0)]);
    assert!(events.into_iter().all(|events| matches!(heard(events), (12, Event::Finished(_)))));
}

/// The last text waits for room until the others have ended, and its prompt, that of the last one, is known then.
#[test]
fn what_is_known_of_a_prompt_is_not_computed_again() {
    let model = model();
    let regions = |kept: usize| {
        let pool = Watch { regions: AtomicUsize::new(0), bad: 0..0 };
        let (engine, queue) = engine(1);
        let texts = (0..=TEXTS).map(|n| rising(&model, n.min(TEXTS - 1), 500));
        let events: Vec<_> = texts.map(|text| submit(&engine, text).unwrap()).collect();
        drop(engine);
        queue.work(&model, &tokenizer(), Exec { backend: Backend::SCALAR, pool: &pool }, &identity, kept);
        assert!(events.into_iter().all(|events| matches!(heard(events), (12, Event::Finished(_)))));
        pool.regions.into_inner()
    };
    // Of what is too long the beginning is kept: here the first half, 8 kB being those of 512 positions.
    let [whole, half, none] = [1 << 20, 4 << 10, 0].map(regions);
    assert!(whole < half && half < none, "{whole}, {half} and {none} regions");
}

/// The last text is that of the first caller; it waits for room until that one has ended, or is read beside it. How soon it is
/// answered must not tell another caller what the first one asked.
#[test]
fn what_is_known_of_a_prompt_is_of_use_to_its_caller_only() {
    let model = model();
    let regions = |others: usize, last: Caller| {
        let pool = Watch { regions: AtomicUsize::new(0), bad: 0..0 };
        let (engine, queue) = engine(1);
        let others = vec![(Caller(2), 0); others];
        let texts = [&others, &[(Caller(1), 1), (last, 1)][..]].concat();
        let submit = |(caller, first)| engine.submit(rising(&model, first, 500), caller).unwrap();
        let events: Vec<_> = texts.into_iter().map(submit).collect();
        work(engine, queue, &model, &pool, &identity);
        assert!(events.into_iter().all(|events| matches!(heard(events), (12, Event::Finished(_)))));
        pool.regions.into_inner()
    };
    for others in [0, TEXTS - 1] {
        let [same, other] = [Caller(1), Caller(2)].map(|last| regions(others, last));
        assert!(same < other, "beside {others}: {same} and {other} regions");
    }
}

#[test]
fn a_generation_that_takes_too_long_is_ended_and_the_others_are_not() {
    let model = model();
    let (mut engine, queue) = engine(1);
    let free = submit(&engine, generation(&model, 1, 3)).unwrap();
    engine.time = Some(Duration::ZERO);
    let late = submit(&engine, generation(&model, 1, 3)).unwrap();
    // More than a clock can tell is no limit.
    engine.time = Some(Duration::from_secs(u64::MAX));
    let long = submit(&engine, generation(&model, 1, 3)).unwrap();
    work(engine, queue, &model, &SerialPool, &identity);
    assert!(matches!(heard(long), (3, Event::Finished(_))));
    let (0, Event::Failed(error)) = heard(late) else { panic!("it was not ended") };
    assert!(error.contains("--request-timeout"), "{error}");
    assert!(matches!(heard(free), (3, Event::Finished(_))));
}

/// Cuts a file off at its first region.
struct Cut(std::fs::File);

impl Pool for Cut {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        self.0.set_len(8).unwrap();
        SerialPool.run(parts, job);
    }
}

#[test]
fn weights_that_are_cut_off_meanwhile_are_not_touched_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let weights = TensorSource { name: "w", dtype: loader::DType::F32, shape: &[1], bytes: &[0; 4] };
    write_safetensors(&path, &[weights], &[].into()).unwrap();
    let checkpoint = Checkpoint::open(folder.path(), Access::Read).unwrap();
    let open = |access| OpenedFiles::open(folder.path(), &checkpoint, access).unwrap();
    let (model, (engine, queue)) = (model(), engine(1));
    engine.files.get_or_init(|| open(Access::Map));
    let read = open(Access::Read);
    let generating = submit(&engine, generation(&model, 1, 100)).unwrap();
    let learning = engine.train(training(3)).unwrap();
    let (again, slot) = (engine.files.clone(), engine.training.clone());
    let cut = Cut(std::fs::File::options().write(true).open(&path).unwrap());
    work(engine, queue, &model, &cut, &identity);
    let (tokens, Event::Failed(error)) = heard(generating) else { panic!("it went on") };
    assert!(tokens <= 1 && error.contains("has 8 now"), "{tokens}: {error}");
    let (steps, TrainEvent::Failed(error)) = trained(learning) else { panic!("it went on") };
    assert!(steps <= 1 && error.contains("has 8 now") && !slot.is_taken(), "{steps}: {error}");
    // Nothing more is taken, and what was read into memory is as it was.
    let (later, _queue) = super::engine(1);
    let later = Engine { files: again, ..later };
    assert!(matches!(submit(&later, generation(&model, 1, 1)), Err(SubmitError::Changed(_))));
    assert_eq!(read.check(), Ok(()));
}

/// Those with another prompt have to read it.
#[test]
fn what_several_begin_with_is_read_once() {
    let model = model();
    let transcripts = |firsts: [usize; 4]| {
        let pool = Watch { regions: AtomicUsize::new(0), bad: 0..0 };
        let (engine, queue) = engine(1);
        let texts = firsts.map(|first| rising(&model, first, 400)).into();
        let events = engine.submit_all(texts, &Weights::Base, Caller::ANYONE).unwrap();
        work(engine, queue, &model, &pool, &identity);
        let ends = events.into_iter().map(|events| match heard(events) {
            (12, Event::Finished(end)) => end.transcript,
            _ => panic!("it failed"),
        });
        (ends.collect::<Vec<_>>(), pool.regions.into_inner())
    };
    let (different, apart) = transcripts([0, 1, 2, 3]);
    let (same, together) = transcripts([0; 4]);
    assert_eq!(same, vec![different[0]; 4]);
    // Four prompts are read in four times as many rounds as one.
    assert!(together < apart, "{together} and {apart} regions");
}

#[test]
fn weights_that_were_reset_while_a_request_waited_are_told() {
    let model = model();
    let (engine, queue) = engine(1);
    let asked = |weights: Weights| {
        engine.submit_all(vec![generation(&model, 1, 2)], &weights, Caller::ANYONE).unwrap().remove(0)
    };
    let [reset, loaded] = [
        Weights::Trained([9; 32]),
        Weights::Loaded(Arc::new(Trained { model: model.clone(), sha256: [8; 32], stays: true })),
    ]
    .map(asked);
    work(engine, queue, &model, &SerialPool, &identity);
    assert!(matches!(heard(reset), (0, Event::Replaced(_))));
    let (2, Event::Finished(end)) = heard(loaded) else { panic!("it failed") };
    assert_eq!(end.identity.weights, [8; 32]);
}

/// Not even a long prompt is read to its end for a client that has gone.
#[test]
fn nothing_is_computed_for_a_client_that_has_gone() {
    let model = model();
    let stay = |engine: &Engine| vec![submit(engine, generation(&model, 2, 3)).unwrap()];
    let expected = regions(&model, stay);
    let got = regions(&model, |engine| {
        drop(submit(engine, generation(&model, 400, 100)).unwrap());
        stay(engine)
    });
    assert!(expected > 0);
    assert_eq!(got, expected);
}

#[test]
fn weights_that_could_not_be_hashed_prove_nothing() {
    let model = model();
    let (engine, queue) = engine(1);
    let events = submit(&engine, generation(&model, 1, 2)).unwrap();
    work(engine, queue, &model, &SerialPool, &|| None);
    let (2, Event::Failed(error)) = heard(events) else { panic!("it did not fail") };
    assert!(error.contains("hashed"), "{error}");
}

#[test]
fn the_queue_is_bounded_and_an_ended_engine_takes_nothing() {
    let model = model();
    let (engine, queue) = engine(1);
    let events: Vec<_> = (0..WAITING).map(|_| submit(&engine, generation(&model, 1, 1)).unwrap()).collect();
    assert_eq!(engine.waiting(), events.len());
    assert_eq!(submit(&engine, generation(&model, 1, 1)).err(), Some(SubmitError::Full));
    drop(queue);
    assert_eq!(submit(&engine, generation(&model, 1, 1)).err(), Some(SubmitError::Ended));
}

fn training(steps: u64) -> TrainRequest {
    let schedule = Schedule { learning_rate: 0.01, warmup: 0, cosine_steps: None };
    let optimizer = Optimizer::Sgd { momentum: 0.0 };
    let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
    TrainRequest { sequence: Sequence::new(vec![1, 2, 3]), steps, options, adapter: None }
}

/// The number of steps, and the last event.
fn trained(mut events: mpsc::UnboundedReceiver<TrainEvent>) -> (u64, TrainEvent) {
    let mut steps = 0;
    loop {
        match events.blocking_recv().unwrap() {
            TrainEvent::Step(report) => steps = report.step,
            last => return (steps, last),
        }
    }
}

#[test]
fn a_training_is_told_to_its_end_and_served() {
    let model = model();
    let (engine, queue) = engine(1);
    let events = engine.train(training(3)).unwrap();
    assert_eq!(engine.train(training(3)).err(), Some(SubmitError::Training));
    let (served, slot) = (engine.served.clone(), engine.training.clone());
    work(engine, queue, &model, &SerialPool, &identity);
    let (3, TrainEvent::Finished(end)) = trained(events) else { panic!("it failed") };
    let mut alone = Trainer::new(&model, training(3).options);
    let reports = [(); 3].map(|()| alone.step(Exec::serial(), &[training(3).sequence]).unwrap());
    assert_eq!((end.steps, end.transcript.steps), (3, reports[2].digest));
    assert_eq!((end.transcript.base, end.transcript.trained), (identity().unwrap(), served.now().unwrap().sha256));
    assert!(!slot.is_taken());
}

/// At its first region resets the weights served and hands a training in.
struct ResetAndTrain {
    engine: Mutex<Option<Engine>>,
    training: Mutex<Option<mpsc::UnboundedReceiver<TrainEvent>>>,
}

impl Pool for ResetAndTrain {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        if let Some(engine) = self.engine.lock().unwrap().take() {
            engine.served.publish(None);
            *self.training.lock().unwrap() = Some(engine.train(training(1)).unwrap());
        }
        SerialPool.run(parts, job);
    }
}

/// What was begun with weights that are served no longer is finished with them, and a training waits for that.
#[test]
fn a_generation_keeps_its_weights_and_no_training_begins_before_it_has_ended() {
    let model = model();
    let (engine, queue) = engine(1);
    let old = Arc::new(Trained {
        model: Trainer::new(&model, training(1).options).into_model().unwrap(),
        sha256: [9; 32],
        stays: false,
    });
    engine.served.publish(Some(old));
    let generating = submit(&engine, generation(&model, 1, 100)).unwrap();
    let pool = ResetAndTrain { engine: Mutex::new(Some(engine)), training: Mutex::new(None) };
    let asked = AtomicUsize::new(0);
    // Asked for at the end of the generation, then at the end of the training.
    let identity = || {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut events = pool.training.lock().unwrap();
            let early = events.as_mut().map(mpsc::UnboundedReceiver::try_recv);
            assert!(matches!(early, Some(Err(mpsc::error::TryRecvError::Empty))), "the training has begun");
        }
        identity()
    };
    queue.work(&model, &tokenizer(), Exec { backend: Backend::SCALAR, pool: &pool }, &identity, 0);
    let (100, Event::Finished(end)) = heard(generating) else { panic!("it failed") };
    assert_eq!(end.identity.weights, [9; 32]);
    let events = pool.training.lock().unwrap().take().unwrap();
    assert!(matches!(trained(events), (1, TrainEvent::Finished(_))));
}

/// Hands a generation in once a training has done a step.
struct Late {
    learning: Mutex<mpsc::UnboundedReceiver<TrainEvent>>,
    asked: Mutex<Option<(Engine, Continuation)>>,
    events: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
}

impl Pool for Late {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        if self.learning.lock().unwrap().try_recv().is_ok()
            && let Some((engine, text)) = self.asked.lock().unwrap().take()
        {
            *self.events.lock().unwrap() = Some(submit(&engine, text).unwrap());
        }
        SerialPool.run(parts, job);
    }
}

/// The generations' turn is as long as the step was, which takes longer than all of the first one. Nobody waits for its end.
#[test]
fn a_generation_begins_in_the_midst_of_a_turn_beside_a_training() {
    let model = model();
    let (engine, queue) = engine(1);
    let long = Sequence::new((0..500).map(|i| i % 8).collect());
    let learning = Mutex::new(engine.train(TrainRequest { sequence: long, ..training(2) }).unwrap());
    let first = submit(&engine, generation(&model, 1, 100)).unwrap();
    let asked = Mutex::new(Some((engine, generation(&model, 1, 2))));
    let pool = Late { learning, asked, events: Mutex::default() };
    let begun = Mutex::new(Vec::new());
    // Asked for at each end: whether the late one has begun.
    let identity = || {
        let heard = pool.events.lock().unwrap().as_mut().is_some_and(|events| events.try_recv().is_ok());
        begun.lock().unwrap().push(heard);
        identity()
    };
    queue.work(&model, &tokenizer(), Exec { backend: Backend::SCALAR, pool: &pool }, &identity, 0);
    assert!(begun.into_inner().unwrap()[0], "it waited for the end of the turn");
    let late = pool.events.into_inner().unwrap().unwrap();
    assert!(matches!((heard(first), heard(late)), ((100, Event::Finished(_)), (2, Event::Finished(_)))));
}

#[test]
fn a_panic_ends_a_training_and_serves_nothing() {
    let model = model();
    let pool = Watch { regions: AtomicUsize::new(0), bad: 0..1 };
    let (engine, queue) = engine(1);
    let events = engine.train(training(3)).unwrap();
    let (served, slot) = (engine.served.clone(), engine.training.clone());
    work(engine, queue, &model, &pool, &identity);
    let (0, TrainEvent::Failed(error)) = trained(events) else { panic!("it did not fail") };
    assert!(error.contains("internal error"), "{error}");
    assert!(served.now().is_none() && !slot.is_taken());
}

#[test]
fn a_training_that_is_stopped_before_its_first_step_serves_nothing() {
    let model = model();
    let (engine, queue) = engine(1);
    let events = engine.train(training(3)).unwrap();
    assert!(engine.training.stop());
    let served = engine.served.clone();
    work(engine, queue, &model, &SerialPool, &identity);
    assert!(matches!(trained(events), (0, TrainEvent::Stopped)));
    assert!(served.now().is_none());
}

#[test]
fn nothing_is_trained_for_a_client_that_has_gone() {
    let model = model();
    let pool = Watch { regions: AtomicUsize::new(0), bad: 0..0 };
    let (engine, queue) = engine(1);
    drop(engine.train(training(3)).unwrap());
    let slot = engine.training.clone();
    work(engine, queue, &model, &pool, &identity);
    assert_eq!((pool.regions.into_inner(), slot.is_taken()), (0, false));
}
