//! Keys and values of past texts, for prompts that begin like them.
//!
//! A prompt that begins like a known text is answered sooner, which tells that the text is known. So each caller's texts are of
//! use to that caller only.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use kernel::model::KvCache;
use kernel::simd::LANES;
use session::Continuation;

use crate::serve::keys::Caller;
use crate::serve::weights::Trained;

/// What is known of the last texts, the one that was of use last at the end.
pub struct Prefixes {
    texts: VecDeque<Text>,
    /// The most bytes that all of them may occupy.
    most: usize,
}

struct Text {
    /// Whose it was.
    caller: Caller,
    /// With which weights it was computed; they are not held.
    trained: Option<Weak<Trained>>,
    /// The tokens at the positions of the cache.
    ids: Vec<u32>,
    cache: KvCache,
}

impl Prefixes {
    /// Nothing yet, and never more than `most` bytes.
    pub fn new(most: usize) -> Prefixes {
        Prefixes { texts: VecDeque::new(), most }
    }

    /// How much of the beginning of `ids` is known of this caller's texts with these weights.
    pub fn known(&self, caller: Caller, trained: Option<&Arc<Trained>>, ids: &[u32]) -> usize {
        let same = self.texts.iter().filter(|text| text.is_of(caller, trained));
        same.map(|text| common(&text.ids, ids)).max().unwrap_or(0)
    }

    /// The longest beginning of `prompt` that is known of this caller's texts with these weights. Its last token never is: it has
    /// to be read.
    pub fn find(&mut self, caller: Caller, trained: Option<&Arc<Trained>>, prompt: &[u32]) -> Option<KvCache> {
        let asked = &prompt[..prompt.len() - 1];
        let same = |text: &Text| text.is_of(caller, trained);
        let lengths = self.texts.iter().map(|text| if same(text) { common(&text.ids, asked) } else { 0 });
        let (length, index) = lengths.zip(0..).max().filter(|(length, _)| *length > 0)?;
        let text = self.texts.remove(index)?;
        let cache = text.cache.prefix(length);
        self.texts.push_back(text);
        Some(cache)
    }

    /// Keeps what was read of a text, or its beginning if it is too long, and forgets what was of no use for longest where there
    /// is no room.
    pub fn keep(&mut self, caller: Caller, trained: Option<Arc<Trained>>, text: Continuation) {
        let generation = text.into_generation();
        let generated = generation.steps().iter().map(|step| step.token_id);
        let mut ids: Vec<u32> = generation.prompt().iter().copied().chain(generated).collect();
        let mut cache = generation.into_cache();
        // There may be room and nothing in it: what was read when the computation panicked.
        if cache.is_empty() {
            return;
        }
        // There was room for a text that might have become longer.
        cache.shrink_to_fit();
        if cache.bytes() > self.most {
            // Keys lie in blocks of as many positions.
            let fit = self.most / cache.bytes().div_ceil(cache.len()) / LANES * LANES;
            cache = cache.prefix(fit);
        }
        ids.truncate(cache.len());
        let of_these = |text: &Text| text.is_of(caller, trained.as_ref());
        // What another text begins with, too, is known from that one.
        if ids.is_empty() || self.texts.iter().any(|text| of_these(text) && text.ids.starts_with(&ids)) {
            return;
        }
        self.texts.retain(|text| text.is_served() && !(of_these(text) && ids.starts_with(&text.ids)));
        self.texts.push_back(Text { caller, trained: trained.as_ref().map(Arc::downgrade), ids, cache });
        let bytes = |texts: &VecDeque<Text>| texts.iter().map(|text| text.cache.bytes()).sum::<usize>();
        while bytes(&self.texts) > self.most {
            self.texts.pop_front();
        }
    }
}

impl Text {
    fn is_of(&self, caller: Caller, trained: Option<&Arc<Trained>>) -> bool {
        self.caller == caller && self.trained.as_ref().map(Weak::as_ptr) == trained.map(Arc::as_ptr)
    }

    /// Whether its weights can still be asked for.
    fn is_served(&self) -> bool {
        self.trained.as_ref().is_none_or(|trained| trained.strong_count() > 0)
    }
}

/// How many ids are the same at the beginning.
pub fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
