//! Reads tokenizer.json and checks all of it, once: nothing that a tokenizer does later can fail.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

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
}

impl Definition {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Definition, TokenizerError> {
        let json: Json<'_> =
            serde_json::from_slice(bytes).map_err(|error| TokenizerError::Json { message: error.to_string() })?;
        let root = Field { path: String::new(), value: Some(&json) };
        for name in ["truncation", "padding", "normalizer"] {
            root.field(name).must("null", Json::is_null)?;
        }
        root.field("post_processor").must("null or ByteLevel", |v| v.is_null() || v.has_type("ByteLevel"))?;
        root.field("decoder").must("ByteLevel", |v| v.has_type("ByteLevel"))?;
        let model = root.field("model");
        model.field("type").must("\"BPE\"", |v| v.is_null() || v.as_str() == Some("BPE"))?;
        model.field("dropout").must("null or 0", |v| v.is_null() || v.as_f64() == Some(0.0))?;
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            model.field(name).must("null or empty", |v| v.is_null() || v.as_str() == Some(""))?;
        }
        for name in ["fuse_unk", "byte_fallback", "ignore_merges"] {
            model.field(name).must("false", |v| v.is_null() || v.as_bool() == Some(false))?;
        }
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
        let mut tokens = TokenBytes::new(&tokens);
        let added = added_tokens(&root.field("added_tokens"), &ids, &mut tokens)?;
        Ok(Definition { tokens, merges, added, split })
    }
}

fn split(pre_tokenizer: &Field<'_>) -> Result<Split, TokenizerError> {
    const SHAPES: &str = "ByteLevel, or a Sequence of Digits and ByteLevel";
    let (split, byte_level) = if pre_tokenizer.value().has_type("Sequence") {
        let items = pre_tokenizer.field("pretokenizers");
        let digits = items.item(0);
        match items.get(SHAPES, Json::as_list)?.len() {
            1 => (Split::Pattern, digits),
            2 => {
                digits.must("Digits (before ByteLevel)", |v| v.has_type("Digits"))?;
                digits.field("individual_digits").must("true", |v| v.as_bool() == Some(true))?;
                (Split::DigitsThenPattern, items.item(1))
            }
            _ => return Err(items.error(SHAPES)),
        }
    } else {
        (Split::Pattern, Field { path: pre_tokenizer.path.clone(), value: pre_tokenizer.value })
    };
    byte_level.must(SHAPES, |v| v.has_type("ByteLevel"))?;
    byte_level.field("add_prefix_space").must("false", |v| v.as_bool() == Some(false))?;
    byte_level.field("use_regex").must("true", |v| v.is_null() || v.as_bool() == Some(true))?;
    Ok(split)
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
fn added_tokens(field: &Field<'_>, ids: &Ids<'_>, tokens: &mut TokenBytes) -> Result<Vec<AddedToken>, TokenizerError> {
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
        added.push(AddedToken { id: expected, content, special, normalized });
    }
    Ok(added)
}

/// The bytes of all tokens, one after the other.
pub(crate) struct TokenBytes {
    bytes: Vec<u8>,
    /// `ends[id]` is where token `id` ends and the next one starts.
    ends: Vec<usize>,
}

impl TokenBytes {
    fn new(tokens: &[&str]) -> Self {
        let mut all = TokenBytes { bytes: Vec::new(), ends: Vec::with_capacity(tokens.len()) };
        tokens.iter().for_each(|token| all.push(token));
        all
    }

    fn push(&mut self, token: &str) {
        alphabet::extend_with_bytes_of(&mut self.bytes, token);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
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
