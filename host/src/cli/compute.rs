//! Which model computes, and on what.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use kernel::Exec;
use kernel::pool::{MAX_THREADS, PoolError, ThreadPool};
use kernel::simd::Backend;
use loader::Access;

use crate::open::{self, OpenError, Opened};

/// Which model computes, on how many threads, and how long a sequence may be.
#[derive(Args, Clone, Debug)]
pub struct Compute {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub threads: Threads,
    #[command(flatten)]
    pub context: Context,
}

impl Compute {
    /// Opens the model, with its adapter where there is one.
    ///
    /// # Errors
    /// See [`open::open`].
    pub fn open(&self) -> Result<Opened, OpenError> {
        self.model.open(self.context)
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// See [`ThreadPool::new`].
    pub fn pool(&self) -> Result<ThreadPool, PoolError> {
        self.threads.pool()
    }

    /// The backend that was asked for, on these threads.
    pub fn exec<'a>(&self, pool: &'a ThreadPool) -> Exec<'a> {
        self.model.base.exec(pool)
    }
}

/// Which model, with or without an adapter, and what it runs on.
#[derive(Args, Clone, Debug)]
pub struct ModelArguments {
    #[command(flatten)]
    pub base: BaseModel,
    /// Folder of a low-rank adapter as PEFT lays it out, to use with the model
    #[arg(long, env = "LOCKSTEP_ADAPTER", value_name = "DIR")]
    pub adapter: Option<PathBuf>,
}

impl ModelArguments {
    /// Opens the model, with its adapter where there is one.
    ///
    /// # Errors
    /// See [`open::open`].
    pub fn open(&self, context: Context) -> Result<Opened, OpenError> {
        let opened = self.base.open(context)?;
        match &self.adapter {
            Some(dir) => opened.with_adapter(dir),
            None => Ok(opened),
        }
    }
}

/// Which model, and what it runs on.
#[derive(Args, Clone, Debug)]
pub struct BaseModel {
    #[command(flatten)]
    pub folder: Folder,
    /// Instruction set: auto (the fastest of this machine), scalar, x86-avx2, ...; the results are the same bits
    #[arg(long, env = "LOCKSTEP_BACKEND", default_value = "auto", value_parser = Backend::from_name)]
    pub backend: Backend,
    /// Read the weights into memory instead of mapping the file
    #[arg(long, env = "LOCKSTEP_NO_MMAP", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub no_mmap: bool,
}

impl BaseModel {
    /// Opens the model, without an adapter.
    ///
    /// # Errors
    /// See [`open::open`].
    pub fn open(&self, context: Context) -> Result<Opened, OpenError> {
        open::open(&self.folder.model, self.access(), context.ctx_size.map(NonZeroUsize::get))
    }

    /// The backend that was asked for, on these threads.
    pub fn exec<'a>(&self, pool: &'a ThreadPool) -> Exec<'a> {
        Exec { backend: self.backend, pool }
    }

    /// How the weights are read.
    pub fn access(&self) -> Access {
        if self.no_mmap { Access::Read } else { Access::Map }
    }
}

/// The model folder.
#[derive(Args, Clone, Debug)]
pub struct Folder {
    /// Model folder as Hugging Face lays it out
    #[arg(long, env = "LOCKSTEP_MODEL", value_name = "DIR", default_value = "models/SmolLM2-135M-Instruct")]
    pub model: PathBuf,
}

/// How many threads compute.
#[derive(Args, Clone, Copy, Debug)]
pub struct Threads {
    /// Threads that compute [default: one per processor core]; the results are the same bits
    #[arg(long, env = "LOCKSTEP_THREADS", value_parser = threads)]
    pub threads: Option<usize>,
}

impl Threads {
    /// The number asked for, or one per core.
    pub fn count(self) -> usize {
        self.threads.unwrap_or_else(ThreadPool::cores)
    }

    /// Starts them.
    ///
    /// # Errors
    /// See [`ThreadPool::new`].
    pub fn pool(self) -> Result<ThreadPool, PoolError> {
        ThreadPool::new(self.count())
    }
}

/// How long a sequence may be.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Context {
    /// Limit prompt and output together to N tokens [default: the model's own limit]
    #[arg(long, env = "LOCKSTEP_CTX_SIZE", value_name = "N")]
    pub ctx_size: Option<NonZeroUsize>,
}

/// A number of threads as it is written.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_THREADS).contains(&count) => Ok(count),
        _ => Err(format!("give a number from 1 to {MAX_THREADS}")),
    }
}
