//! Loads the model and starts computing, beside the server that answers already.

use std::cell::LazyCell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use kernel::pool::Pool;
use kernel::transcript::{Identity, Sha256Digest};
use loader::Checkpoint;
use session::adapter::adapter_digest;
use tokio::sync::oneshot;

use super::engine::Queue;
use super::opened_files::OpenedFiles;
use super::state::State;
use super::weights::Trained;
use crate::open::Opened;
use crate::{Failure, Outcome};

/// Starts the engine's thread, which loads the model first. The future is ready if the thread ends, with the reason why: it
/// works as long as the server does.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(state: Arc<State>, queue: Queue) -> Result<impl Future<Output = Failure>, Failure> {
    let (report, end) = oneshot::channel();
    std::thread::Builder::new().name("engine".to_string()).spawn(move || {
        let worked = catch_unwind(AssertUnwindSafe(|| work(&state, queue)));
        let reason = match worked {
            Ok(Ok(())) => "the engine has ended".into(),
            Ok(Err(error)) => error,
            Err(_) => "the engine panicked, see above".into(),
        };
        // Nobody listens if the server has ended before.
        let _ = report.send(reason);
    })?;
    Ok(async { end.await.unwrap_or_else(|_| "the engine has ended".into()) })
}

fn work(state: &Arc<State>, queue: Queue) -> Outcome {
    let arguments = &state.arguments;
    let names = arguments.model.names(&state.model_name)?;
    let opened = arguments.model.base.open(arguments.context)?;
    let files = OpenedFiles::open(&opened.dir, &opened.checkpoint, arguments.model.base.access())?;
    state.engine.files.get_or_init(|| files);
    let adapters = adapters(&opened, names)?;
    state.engine.served.start_with(adapters.first().map(|(_, first)| first.clone()));
    state.models.load(adapters);
    let pool = arguments.threads.pool()?;
    let (model, tokenizer) = (opened.model.clone(), opened.tokenizer.clone());
    let exec = arguments.model.base.exec(&pool);
    let tokenizer_sha256 = opened.tokenizer_sha256;
    let weights = hash(state.clone(), opened.checkpoint.clone())?;
    let identity =
        LazyCell::new(|| Some(Identity { weights: weights.join().ok()?, adapter: None, tokenizer: tokenizer_sha256 }));
    state.model.get_or_init(|| opened);
    tracing::info!(model = state.model_name, backend = exec.backend.name(), threads = pool.threads(), "ready");
    let kept = (arguments.prefix_cache as usize) << 20;
    queue.work(&model, &tokenizer, exec, &|| (*identity).clone(), kept);
    Ok(())
}

/// The adapters in these folders, under their names; they share the weights.
fn adapters(opened: &Opened, names: Vec<(String, PathBuf)>) -> Result<Vec<(String, Arc<Trained>)>, Failure> {
    let load = |(name, dir): (String, PathBuf)| {
        let model = opened.adapted(&dir)?;
        let sha256 = adapter_digest(&model).ok_or_else(|| format!("{} has no adapter", dir.display()))?;
        Ok((name, Arc::new(Trained { model, sha256, stays: true })))
    };
    names.into_iter().map(load).collect()
}

/// Hashes the weights beside everything else.
fn hash(state: Arc<State>, checkpoint: Arc<Checkpoint>) -> io::Result<JoinHandle<Sha256Digest>> {
    let hash = move || *state.weights.get_or_init(|| checkpoint.digest());
    std::thread::Builder::new().name("weights-digest".to_string()).spawn(hash)
}
