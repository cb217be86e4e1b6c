//! Reads tokenizer.json and checks all of it, once: nothing that a tokenizer does later can fail.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use core::ops::Range;

use hashbrown::{HashMap, HashSet};

use crate::added::AddedToken;
use crate::alphabet;
use crate::error::TokenizerError;
use crate::json::Json;
use crate::merge::Merges;
use crate::pieces::Split;

/// The id of each text of the vocabulary.
type Ids<'a> = HashMap<&'a str, u32>;

/// What a tokenizer.json says.
pub(crate) struct Definition {
    /// The bytes of every token, by id: of the vocabulary, then of the added tokens that are not in it.
    pub(crate) tokens: TokenBytes,
    pub(crate) merges: Merges,
    pub(crate) added: Vec<AddedToken>,
    pub(crate) split: Split,
    /// Whether text is normalised (NFC) between added tokens.
    pub(crate) nfc: bool,
    /// Ids that come before the text.
    pub(crate) prefix: Vec<u32>,
    /// The ids that a piece with the bytes of their token has without merging.
    pub(crate) unmerged: Range<u32>,
}

impl Definition {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Definition, TokenizerError> {
        let json: Json<'_> =
            serde_json::from_slice(bytes).map_err(|error| TokenizerError::Json { message: error.to_string() })?;
        let root = Field { path: String::new(), value: Some(&json) };
        for name in ["truncation", "padding"] {
            root.field(name).must("null", Json::is_null)?;
        }
        let normalizer = root.field("normalizer");
        normalizer.must("null or NFC", |v| v.is_null() || v.has_type("NFC"))?;
        let nfc = !normalizer.value().is_null();
        root.field("decoder").must("ByteLevel", |v| v.has_type("ByteLevel"))?;
        let model = root.field("model");
        model.field("type").must("\"BPE\"", |v| v.is_null() || v.as_str() == Some("BPE"))?;
        model.field("dropout").must("null or 0", |v| v.is_null() || v.as_f64() == Some(0.0))?;
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            model.field(name).must("null or empty", |v| v.is_null() || v.as_str() == Some(""))?;
        }
        for name in ["fuse_unk", "byte_fallback"] {
            model.field(name).must("false", |v| v.is_null() || v.as_bool() == Some(false))?;
        }
        let ignore_merges = model.field("ignore_merges");
        let ignore_merges =
            ignore_merges.get("true or false", |v| if v.is_null() { Some(false) } else { v.as_bool() })?;
        let split = split(&root.field("pre_tokenizer"))?;

        let (tokens, ids) = vocab(&model.field("vocab"))?;
        let unk_token = model.field("unk_token");
        let unknown = match unk_token.value() {
            Json::Null => None,
            token => {
                let id = token.as_str().and_then(|token| ids.get(token).copied());
                Some(id.ok_or_else(|| unk_token.error("null or a token of the vocabulary"))?)
            }
        };
        let mut byte_tokens = [None; 256];
        for (byte, token) in (0..=255).zip(&mut byte_tokens) {
            let text = alphabet::char_of(byte).to_string();
            *token = ids.get(text.as_str()).copied().or(unknown);
        }
        let merges = merges(&model.field("merges"), &ids, byte_tokens)?;
        let unmerged = if ignore_merges { 0..tokens.len() as u32 } else { 0..0 };
        let mut tokens = TokenBytes::new(&tokens);
        let added = added_tokens(&root.field("added_tokens"), &ids, nfc, &mut tokens)?;
        let prefix = prefix(&root.field("post_processor"), tokens.len())?;
        Ok(Definition { tokens, merges, added, split, nfc, prefix, unmerged })
    }
}

fn split(pre_tokenizer: &Field<'_>) -> Result<Split, TokenizerError> {
    const SHAPES: &str = "ByteLevel, or a Sequence of Digits or Split and ByteLevel";
    let (split, byte_level) = if pre_tokenizer.value().has_type("Sequence") {
        let items = pre_tokenizer.field("pretokenizers");
        let first = items.item(0);
        match items.get(SHAPES, Json::as_list)?.len() {
            1 => (Split::Gpt2, first),
            2 if first.value().has_type("Split") => (pattern(&first)?, items.item(1)),
            2 => {
                first.must("Digits or Split (before ByteLevel)", |v| v.has_type("Digits"))?;
                first.field("individual_digits").must("true", |v| v.as_bool() == Some(true))?;
                (Split::DigitsThenGpt2, items.item(1))
            }
            _ => return Err(items.error(SHAPES)),
        }
    } else {
        (Split::Gpt2, Field { path: pre_tokenizer.path.clone(), value: pre_tokenizer.value })
    };
    byte_level.must(SHAPES, |v| v.has_type("ByteLevel"))?;
    byte_level.field("add_prefix_space").must("false", |v| v.as_bool() == Some(false))?;
    let use_regex = byte_level.field("use_regex");
    match split {
        Split::Llama3 { .. } => use_regex.must("false (after Split)", |v| v.as_bool() == Some(false))?,
        _ => use_regex.must("true", |v| v.is_null() || v.as_bool() == Some(true))?,
    }
    Ok(split)
}

/// A `Split` with one of the patterns that are known by their text.
fn pattern(split: &Field<'_>) -> Result<Split, TokenizerError> {
    const LLAMA3: &str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    const QWEN2: &str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    split.field("behavior").must("\"Isolated\"", |v| v.as_str() == Some("Isolated"))?;
    split.field("invert").must("false", |v| v.is_null() || v.as_bool() == Some(false))?;
    let regex = split.field("pattern").field("Regex");
    let numbers = regex.get("the pattern of Llama 3 or of Qwen2", |v| match v.as_str()? {
        LLAMA3 => Some(3),
        QWEN2 => Some(1),
        _ => None,
    })?;
    Ok(Split::Llama3 { numbers })
}

/// The ids that the post-processor puts before a text; it must not put any after it. `ByteLevel` puts none.
fn prefix(post_processor: &Field<'_>, tokens: usize) -> Result<Vec<u32>, TokenizerError> {
    const SHAPES: &str = "null, ByteLevel, TemplateProcessing, or a Sequence of these";
    let list = post_processor.field("processors");
    let processors: Vec<Field<'_>> = match post_processor.value() {
        Json::Null => Vec::new(),
        sequence if sequence.has_type("Sequence") => {
            (0..list.get("a list of processors", Json::as_list)?.len()).map(|index| list.item(index)).collect()
        }
        value => alloc::vec![Field { path: post_processor.path.clone(), value: Some(value) }],
    };
    let mut prefix = None;
    for processor in processors {
        if processor.value().has_type("ByteLevel") {
            continue;
        }
        let is_template = |v: &Json<'_>| v.has_type("TemplateProcessing") && prefix.is_none();
        processor.must(SHAPES, is_template)?;
        prefix = Some(template(&processor, tokens)?);
    }
    Ok(prefix.unwrap_or_default())
}

/// The ids before `A` in the template of a single text.
fn template(processor: &Field<'_>, tokens: usize) -> Result<Vec<u32>, TokenizerError> {
    const SHAPE: &str = "a list of special tokens and, last, the Sequence A";
    let single = processor.field("single");
    let parts = single.get(SHAPE, Json::as_list)?;
    let special = processor.field("special_tokens");
    let mut prefix = Vec::new();
    for index in 0..parts.len() {
        let part = single.item(index);
        if index + 1 == parts.len() {
            part.field("Sequence")
                .field("id")
                .must("\"A\" (nothing comes after the text)", |v| v.as_str() == Some("A"))?;
            return Ok(prefix);
        }
        let name = part
            .field("SpecialToken")
            .field("id")
            .get("the name of a special token (before the text)", Json::as_str)?;
        let ids = special.field(name).field("ids");
        let list = ids.get("a list of ids of the vocabulary", |v| {
            let id = |id: &Json<'_>| id.as_u64().filter(|id| *id < tokens as u64).map(|id| id as u32);
            v.as_list()?.iter().map(id).collect::<Option<Vec<u32>>>()
        })?;
        prefix.extend(list);
    }
    Err(single.error(SHAPE))
}

/// The tokens by id, and the ids of all texts.
fn vocab<'a>(field: &Field<'a>) -> Result<(Vec<&'a str>, Ids<'a>), TokenizerError> {
    let vocab = field.get("an object of tokens and ids", Json::as_object)?;
    let mut ids = HashMap::with_capacity(vocab.len());
    for (token, id) in vocab {
        let id = id.as_u64().ok_or_else(|| field.field(token).error("an id: an integer, 0 or above"))?;
        // An id above 32 bits is refused below, like every id that is not below the size.
        ids.insert(&**token, u32::try_from(id).unwrap_or(u32::MAX));
    }
    let size = ids.len();
    let mut tokens: Vec<Option<&str>> = alloc::vec![None; size];
    for (token, id) in vocab.iter().filter_map(|(token, id)| Some((token, id.as_u64()?))) {
        let slot = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
        let slot = slot.ok_or_else(|| TokenizerError::VocabId { token: token.clone().into_owned(), id, size })?;
        if let Some(first) = slot.replace(token) {
            let tokens = [first.to_owned(), token.clone().into_owned()];
            return Err(TokenizerError::VocabIdTwice { id: id as u32, tokens });
        }
    }
    // As many slots as texts, and no slot twice: every slot is filled.
    Ok((tokens.into_iter().flatten().collect(), ids))
}

/// Both spellings: `"a b"` and `["a", "b"]`.
fn merges(field: &Field<'_>, ids: &Ids<'_>, byte_tokens: [Option<u32>; 256]) -> Result<Merges, TokenizerError> {
    let list = field.get("a list of merges", Json::as_list)?;
    let mut merges = Merges::new(byte_tokens, list.len());
    let mut joined = String::new();
    for (index, value) in list.iter().enumerate() {
        // A comment of the older spelling.
        if value.as_str().is_some_and(|text| text.starts_with("#version")) {
            continue;
        }
        let (left, right) =
            pair(value).ok_or_else(|| field.item(index).error("two tokens: \"a b\" or [\"a\", \"b\"]"))?;
        let id = |token: &str| {
            ids.get(token).copied().ok_or_else(|| TokenizerError::MergeToken { index, token: token.to_owned() })
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if !merges.add((id(left)?, id(right)?), id(&joined)?) {
            return Err(TokenizerError::MergeTwice { index, pair: [left.to_owned(), right.to_owned()] });
        }
    }
    Ok(merges)
}

fn pair<'j>(merge: &'j Json<'_>) -> Option<(&'j str, &'j str)> {
    match merge {
        Json::Text(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        Json::List(pair) => match pair.as_slice() {
            [left, right] => left.as_str().zip(right.as_str()),
            _ => None,
        },
        _ => None,
    }
}

/// The added tokens; those that are not in the vocabulary are appended to `tokens`.
fn added_tokens(
    field: &Field<'_>,
    ids: &Ids<'_>,
    nfc: bool,
    tokens: &mut TokenBytes,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let list = field.get("a list of tokens or null", |v| if v.is_null() { Some(&[][..]) } else { v.as_list() })?;
    let mut seen = HashSet::new();
    let mut added = Vec::with_capacity(list.len());
    for index in 0..list.len() {
        let item = field.item(index);
        for name in ["single_word", "lstrip", "rstrip"] {
            item.field(name).must("false", |v| v.as_bool() == Some(false))?;
        }
        let content = item.field("content").get("a text", Json::as_str)?.to_owned();
        if content.is_empty() || !seen.insert(content.clone()) {
            return Err(TokenizerError::AddedToken { index, content });
        }
        let id = item.field("id").get("an id: an integer, 0 or above", Json::as_u64)?;
        let expected = ids.get(content.as_str()).copied().unwrap_or(tokens.len() as u32);
        if id != u64::from(expected) {
            return Err(TokenizerError::AddedTokenId { content, id, expected });
        }
        if expected as usize == tokens.len() {
            tokens.push(&content);
        }
        let special = item.field("special").get("true or false", Json::as_bool)?;
        let normalized = item.field("normalized").get("true or false", Json::as_bool)?;
        if nfc {
            item.field("normalized").must("false (beside a normalizer)", |v| v.as_bool() == Some(false))?;
        }
        added.push(AddedToken { id: expected, content, special, normalized });
    }
    Ok(added)
}

/// The bytes of all tokens, one after the other.
pub(crate) struct TokenBytes {
    bytes: Vec<u8>,
    /// `ends[id]` is where token `id` ends and the next one starts.
    ends: Vec<usize>,
    /// The tokens whose bytes are not what their text stands for in the byte-level alphabet: texts have characters outside of it.
    outside: HashSet<u32>,
}

impl TokenBytes {
    fn new(tokens: &[&str]) -> Self {
        let (ends, outside) = (Vec::with_capacity(tokens.len()), HashSet::new());
        let mut all = TokenBytes { bytes: Vec::new(), ends, outside };
        tokens.iter().for_each(|token| all.push(token));
        all
    }

    fn push(&mut self, token: &str) {
        if !alphabet::extend_with_bytes_of(&mut self.bytes, token) {
            self.outside.insert(self.ends.len() as u32);
        }
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the text of a token is all of the byte-level alphabet.
    pub(crate) fn is_spelt(&self, id: u32) -> bool {
        !self.outside.contains(&id)
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }
}

/// A JSON value and the way to it, for messages. A missing field counts as null.
struct Field<'a> {
    path: String,
    value: Option<&'a Json<'a>>,
}

impl<'a> Field<'a> {
    fn field(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { path, value: self.value.and_then(|value| value.get(name)) }
    }

    fn item(&self, index: usize) -> Field<'a> {
        Field {
            path: format!("{}[{index}]", self.path),
            value: self.value.and_then(|value| value.as_list()?.get(index)),
        }
    }

    fn value(&self) -> &'a Json<'a> {
        self.value.unwrap_or(&Json::Null)
    }

    fn get<T>(&self, expected: &'static str, get: impl FnOnce(&'a Json<'a>) -> Option<T>) -> Result<T, TokenizerError> {
        get(self.value()).ok_or_else(|| self.error(expected))
    }

    fn must(&self, expected: &'static str, holds: impl FnOnce(&'a Json<'a>) -> bool) -> Result<(), TokenizerError> {
        self.get(expected, |value| holds(value).then_some(()))
    }

    fn error(&self, expected: &'static str) -> TokenizerError {
        const LONGEST: usize = 100;
        let mut found = self.value.map_or("missing".to_owned(), Json::to_string);
        if let Some((end, _)) = found.char_indices().nth(LONGEST) {
            found.truncate(end);
            found.push('…');
        }
        TokenizerError::Field { field: self.path.clone(), expected, found }
    }
}
