//! Byte-level BPE tokenizer, equal to Hugging Face tokenizers on every text.
//!
//! The reference is tokenizers 0.23.3; "equal" means the same ids for every text, and the same text for every list
//! of ids.
//! Without `std`, without `unsafe`, without a regex engine; one tokenizer serves any number of threads.
//!
//! # How a text becomes ids
//!
//! 1. **Added tokens** such as `<|im_end|>` are found, leftmost and longest first ([`Special`] says whether special ones
//!    count). What is between them goes on, in Unicode's form NFC (of 9.0, as in the reference) where tokenizer.json says so.
//! 2. **Pieces.** A pattern cuts text into words, numbers, punctuation and spaces: GPT-2's, before which number characters may be
//!    cut out one by one, or that of Llama 3 or of Qwen2.
//! 3. **Merges.** A piece starts as one token for each byte (bytes without a token are dropped); while neighbours have a
//!    merge, the merge of lowest rank is done, the leftmost first. With `ignore_merges` a piece that is a token is that token.
//! 4. **A prefix** such as `<|begin_of_text|>` comes before a text where the post-processor says so.
//!
//! # Why it is equal
//!
//! * *Pieces.* Every alternative of a pattern is decided by the class of a few characters, and all but two are
//!   greedy runs that cannot backtrack to a shorter match: `\s+(?!\S)` gives back exactly one character, and `\s*[\r\n]+` what
//!   comes after the last line end. So one look ahead replaces the regex engine. The classes of all code points are asked of the reference, not of a Unicode
//!   release (`tables/README.md`).
//! * *Merges.* The reference keeps a heap of (rank, place), and skips an entry if the pair at its place now makes another
//!   token than when it was queued. A pair makes the token of its bytes, and two symbols over the same bytes never change
//!   without merging, so the entries that it skips are those whose pair is gone: it, too, does the merge of lowest rank,
//!   leftmost first. Both of our ways to find that merge are that rule.
//! * *Whole tokens.* A piece that is a token, and was found to merge to that token when it was met before, skips the merging:
//!   its result is known.
//! * *Decoding* joins the bytes of the tokens and replaces what is not UTF-8, as the reference does, by the same function
//!   of Rust's library. [`StreamDecoder`] cuts only between characters, where that function starts anew.
//!
//! The tests compare every code point beside every kind of neighbour, recorded texts, ids and small vocabularies with the
//! reference, and random texts, merges and ids with a naive oracle.
//!
//! A tokenizer.json with settings that this crate does not have (another normalizer, another pattern, dropout, ...) is refused
//! with an error that names the field: see [`TokenizerError`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod added;
mod alphabet;
#[cfg(feature = "chat")]
mod chat;
mod classes;
mod definition;
mod error;
mod json;
mod merge;
mod normal;
mod pieces;
mod stream;
mod tokenizer;

#[cfg(feature = "chat")]
pub use chat::{ChatError, ChatTemplate, Message};
pub use error::{TokenizerError, UnknownToken};
pub use stream::StreamDecoder;
pub use tokenizer::{Special, Tokenizer};
