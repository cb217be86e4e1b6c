//! What the engine counts, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use crate::serve::requests::{self, Done};

/// Counts of all generations, for `/metrics`. The thread that computes adds to them, without waiting for anyone.
pub struct Generations {
    /// Requests that the full queue did not take.
    pub refused: Counter,
    prompt_tokens: Counter,
    tokens: Counter,
    prefix_hits: Counter,
    prefix_tokens: Counter,
    first_token: Histogram,
    between_tokens: Histogram,
}

impl Default for Generations {
    fn default() -> Generations {
        Generations {
            refused: Counter::default(),
            prompt_tokens: Counter::default(),
            tokens: Counter::default(),
            prefix_hits: Counter::default(),
            prefix_tokens: Counter::default(),
            first_token: Histogram::of_requests(),
            between_tokens: Histogram::of_tokens(),
        }
    }
}

impl Generations {
    /// Makes them part of `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("queue_refusals", "Requests with generations that the full queue did not take", &self.refused),
            ("prompt_tokens", "Tokens of prompts", &self.prompt_tokens),
            ("generated_tokens", "Tokens generated", &self.tokens),
            ("prefix_cache_hits", "Prompts whose beginning was known", &self.prefix_hits),
            ("prefix_cache_tokens", "Tokens of prompts that were known and not computed again", &self.prefix_tokens),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, histogram) in [
            ("time_to_first_token", "Time from a generation's request to its first token", &self.first_token),
            ("time_between_tokens", "Time between two tokens of a generation", &self.between_tokens),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }
}

/// One generation, watched from its request to its last token.
pub struct Watch {
    all: Arc<Generations>,
    request: Arc<Done>,
    asked: Instant,
    token: Option<Instant>,
}

impl Watch {
    /// A generation that the request which is being answered has asked for now.
    pub fn new(all: Arc<Generations>) -> Watch {
        Watch { all, request: requests::current(), asked: Instant::now(), token: None }
    }

    /// It advances from now on: `known` of the tokens of its prompt are not computed again.
    pub fn begins(&self, prompt: usize, known: usize) {
        self.all.prompt_tokens.inc_by(prompt as u64);
        self.request.prompt_tokens.fetch_add(prompt as u64, Ordering::Relaxed);
        if known > 0 {
            self.all.prefix_hits.inc();
            self.all.prefix_tokens.inc_by(known as u64);
        }
    }

    /// It has its next token.
    pub fn token(&mut self) {
        let now = Instant::now();
        match self.token.replace(now) {
            None => self.all.first_token.observe(now - self.asked),
            Some(last) => self.all.between_tokens.observe(now - last),
        }
        self.all.tokens.inc();
        self.request.tokens.fetch_add(1, Ordering::Relaxed);
    }
}
