use alloc::{borrow::Cow, string::String, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::{fmt, hash::BuildHasher, ops::Range};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::added::{AddedTokens, Segment};
use crate::definition::{Definition, TokenBytes};
use crate::error::{TokenizerError, UnknownToken};
use crate::merge::{Merges, Scratch};
use crate::normal::nfc;
use crate::pieces::{Pieces, Split};

/// What `encode` makes of the text of a special token, such as `<|im_end|>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Special {
    /// The special token.
    Parse,
    /// Text like any other. (Added tokens that are not special are found all the same.)
    Plain,
}

/// A byte-level BPE tokenizer. It does not change after it was read, so threads may share it.
///
/// ```no_run
/// let tokenizer = bpe::Tokenizer::from_json(&std::fs::read("tokenizer.json")?)?;
/// let ids = tokenizer.encode("Once upon a time", bpe::Special::Parse);
/// assert_eq!(tokenizer.decode(&ids)?, "Once upon a time");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tokenizer {
    split: Split,
    nfc: bool,
    prefix: Vec<u32>,
    added: AddedTokens,
    merges: Merges,
    tokens: TokenBytes,
    whole: WholeTokens,
}

impl Tokenizer {
    /// Reads a tokenizer.json.
    ///
    /// # Errors
    /// If the file is damaged, or sets anything that is not supported and would change ids.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
        let Definition { tokens, merges, added, split, nfc, prefix, unmerged } = Definition::from_json(bytes)?;
        let whole = WholeTokens::new(&tokens, unmerged);
        Ok(Tokenizer { split, nfc, prefix, added: AddedTokens::new(added), merges, tokens, whole })
    }

    /// The ids of `text`, as a text begins: after those that the tokenizer puts before every text ([`prefix`](Self::prefix)).
    ///
    /// Every text has ids; bytes that the vocabulary has no token for are left out, as in the reference. The time is
    /// proportional to the length of the text, for a piece of `n` bytes to `n log m` at most with `m` different merges.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = self.prefix.clone();
        ids.extend(self.encode_bare(text, special));
        ids
    }

    /// The ids of `text` alone, without those that the tokenizer puts before a text.
    pub fn encode_bare(&self, text: &str, special: Special) -> Vec<u32> {
        self.encode_segments(text, special, Cow::Borrowed)
    }

    /// What the tokenizer puts before every text that is no conversation (a template has it in its own text), such as
    /// `<|begin_of_text|>` of Llama 3; often nothing.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Like `encode_bare`, but text between added tokens goes through `edit` first.
    pub(crate) fn encode_segments<'t>(
        &self,
        text: &'t str,
        special: Special,
        edit: impl Fn(&'t str) -> Cow<'t, str>,
    ) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        let mut scratch = Scratch::default();
        self.added.split(text, special, |segment| match segment {
            Segment::Token(id) => ids.push(id),
            Segment::Text(text) => {
                let text = edit(text);
                for piece in Pieces::new(&self.normalised(&text), self.split) {
                    self.encode_piece(piece.as_bytes(), &mut scratch, &mut ids);
                }
            }
        });
        ids
    }

    /// What the normalizer makes of a text.
    fn normalised<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.nfc { nfc(text) } else { Cow::Borrowed(text) }
    }

    #[inline]
    fn encode_piece(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let token = self.whole.find(piece, &self.tokens);
        if let Some(id) = token
            && self.whole.is_known(id)
        {
            return ids.push(id);
        }
        let start = ids.len();
        self.merges.encode(piece, scratch, ids);
        if let Some(id) = token
            && ids[start..] == [id]
        {
            self.whole.remember(id);
        }
    }

    /// The text of `ids`, special tokens included. Bytes that are not UTF-8 become U+FFFD, one for each maximal part of
    /// a character (as in the Unicode standard, section 3.9).
    ///
    /// # Errors
    /// At the first id that is not below [`vocab_size`](Self::vocab_size). (The reference leaves such ids out.)
    pub fn decode(&self, ids: &[u32]) -> Result<String, UnknownToken> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            bytes.extend_from_slice(self.token_bytes(id)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The bytes of one token; 313 tokens of SmolLM2 are not UTF-8 by themselves.
    ///
    /// # Errors
    /// If `id` is not below [`vocab_size`](Self::vocab_size).
    pub fn token_bytes(&self, id: u32) -> Result<&[u8], UnknownToken> {
        self.tokens.get(id).ok_or(UnknownToken { id, vocab_size: self.vocab_size() })
    }

    /// The number of tokens, added ones included; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The id of the special token with this text.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.added.iter().find(|token| token.special && token.content == text).map(|token| token.id)
    }

    /// Whether this is the id of a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.added.iter().any(|token| token.special && token.id == id)
    }

    /// The texts of all special tokens.
    #[cfg(feature = "chat")]
    pub(crate) fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.added.iter().filter(|token| token.special).map(|token| token.content.as_str())
    }

    /// The texts of all added tokens that are not special.
    #[cfg(feature = "chat")]
    pub(crate) fn other_added_texts(&self) -> impl Iterator<Item = &str> {
        self.added.iter().filter(|token| !token.special).map(|token| token.content.as_str())
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

/// Tokens by their bytes. Most pieces of ordinary text are a token, and their bytes merge to that very token: once
/// merging a piece has shown it, one look-up replaces the merging. Where merges are ignored for whole tokens, those of the
/// vocabulary are known from the start, and no others are here.
struct WholeTokens {
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    longest: usize,
    /// Of each token, whether its bytes are known to merge to it. Threads may find out together; they find the same.
    known: Vec<AtomicBool>,
}

impl WholeTokens {
    fn new(tokens: &TokenBytes, unmerged: Range<u32>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let (mut ids, mut longest) = (HashTable::with_capacity(tokens.len()), 0);
        let is_here = |id| unmerged.is_empty() || (unmerged.contains(&id) && tokens.is_spelt(id));
        for (id, bytes) in (0..).map_while(|id| Some((id, tokens.get(id)?))).filter(|(id, _)| is_here(*id)) {
            ids.insert_unique(hasher.hash_one(Some(bytes)), id, |&id| hasher.hash_one(tokens.get(id)));
            longest = longest.max(bytes.len());
        }
        let known = (0..tokens.len() as u32).map(|id| AtomicBool::new(unmerged.contains(&id))).collect();
        WholeTokens { ids, hasher, longest, known }
    }

    /// A token with the bytes of `piece`.
    #[inline]
    fn find(&self, piece: &[u8], tokens: &TokenBytes) -> Option<u32> {
        if piece.len() > self.longest {
            return None;
        }
        self.ids.find(self.hasher.hash_one(Some(piece)), |&id| tokens.get(id) == Some(piece)).copied()
    }

    #[inline]
    fn is_known(&self, id: u32) -> bool {
        self.known[id as usize].load(Relaxed)
    }

    fn remember(&self, id: u32) {
        self.known[id as usize].store(true, Relaxed);
    }
}
