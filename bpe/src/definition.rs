//! Reads tokenizer.json and checks all of it, once: nothing that a tokenizer does later can fail.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

use crate::added::AddedToken;
use crate::alphabet;
use crate::error::TokenizerError;
use crate::merge::Merge;
use crate::pieces::Split;

/// What a tokenizer.json says.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The text of every token, by id: the vocabulary, then the added tokens that are not in it.
    pub(crate) tokens: Vec<String>,
    /// The token of each byte; `None` is a byte that the reference drops.
    pub(crate) byte_tokens: [Option<u32>; 256],
    /// By rank.
    pub(crate) merges: Vec<Merge>,
    pub(crate) added: Vec<AddedToken>,
    pub(crate) split: Split,
}

impl Definition {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Definition, TokenizerError> {
        let json: Value =
            serde_json::from_slice(bytes).map_err(|error| TokenizerError::Json { message: error.to_string() })?;
        let root = Field { path: String::new(), value: Some(&json) };
        for name in ["truncation", "padding", "normalizer"] {
            root.field(name).must("null", Value::is_null)?;
        }
        root.field("post_processor").must("null or ByteLevel", |v| v.is_null() || has_type(v, "ByteLevel"))?;
        root.field("decoder").must("ByteLevel", |v| has_type(v, "ByteLevel"))?;
        let model = root.field("model");
        model.field("type").must("\"BPE\"", |v| v.is_null() || v == "BPE")?;
        model.field("dropout").must("null or 0", |v| v.is_null() || v.as_f64() == Some(0.0))?;
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            model.field(name).must("null or empty", |v| v.is_null() || v == "")?;
        }
        for name in ["fuse_unk", "byte_fallback", "ignore_merges"] {
            model.field(name).must("false", |v| v.is_null() || v == false)?;
        }
        let split = split(&root.field("pre_tokenizer"))?;

        let mut tokens = vocab(&model.field("vocab"))?;
        let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let unk_token = model.field("unk_token");
        let unknown = match unk_token.value() {
            Value::Null => None,
            token => {
                let id = token.as_str().and_then(|token| ids.get(token).copied());
                Some(id.ok_or_else(|| unk_token.error("null or a token of the vocabulary"))?)
            }
        };
        let mut byte_tokens = [None; 256];
        for (byte, token) in (0..=255).zip(&mut byte_tokens) {
            let text = alphabet::char_of(byte).to_string();
            *token = ids.get(&text).copied().or(unknown);
        }
        let merges = merges(&model.field("merges"), &ids)?;
        let added = added_tokens(&root.field("added_tokens"), &ids, &mut tokens)?;
        Ok(Definition { tokens, byte_tokens, merges, added, split })
    }
}

fn split(pre_tokenizer: &Field<'_>) -> Result<Split, TokenizerError> {
    const SHAPES: &str = "ByteLevel, or a Sequence of Digits and ByteLevel";
    let (split, byte_level) = if has_type(pre_tokenizer.value(), "Sequence") {
        let items = pre_tokenizer.field("pretokenizers");
        let digits = items.item(0);
        match items.get(SHAPES, Value::as_array)?.len() {
            1 => (Split::Pattern, digits),
            2 => {
                digits.must("Digits (before ByteLevel)", |v| has_type(v, "Digits"))?;
                digits.field("individual_digits").must("true", |v| v == true)?;
                (Split::DigitsThenPattern, items.item(1))
            }
            _ => return Err(items.error(SHAPES)),
        }
    } else {
        (Split::Pattern, Field { path: pre_tokenizer.path.clone(), value: pre_tokenizer.value })
    };
    byte_level.must(SHAPES, |v| has_type(v, "ByteLevel"))?;
    byte_level.field("add_prefix_space").must("false", |v| v == false)?;
    byte_level.field("use_regex").must("true", |v| v.is_null() || v == true)?;
    Ok(split)
}

/// The tokens by id.
fn vocab(field: &Field<'_>) -> Result<Vec<String>, TokenizerError> {
    let vocab: &Map<String, Value> = field.get("an object of tokens and ids", Value::as_object)?;
    let size = vocab.len();
    let mut tokens: Vec<Option<&String>> = alloc::vec![None; size];
    for (token, id) in vocab {
        let Some(id) = id.as_u64() else {
            return Err(field.field(token).error("an id: an integer, 0 or above"));
        };
        let slot = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
        let slot = slot.ok_or_else(|| TokenizerError::VocabId { token: token.clone(), id, size })?;
        if let Some(first) = slot.replace(token) {
            return Err(TokenizerError::VocabIdTwice { id: id as u32, tokens: [first.clone(), token.clone()] });
        }
    }
    // As many slots as tokens, and no slot twice: every slot is filled.
    Ok(tokens.into_iter().flatten().cloned().collect())
}

/// Both spellings: `"a b"` and `["a", "b"]`.
fn merges(field: &Field<'_>, ids: &HashMap<String, u32>) -> Result<Vec<Merge>, TokenizerError> {
    let list = field.get("a list of merges", Value::as_array)?;
    let mut merges = Vec::with_capacity(list.len());
    let mut seen = HashSet::with_capacity(list.len());
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
        let merge = Merge { pair: (id(left)?, id(right)?), merged: id(&format!("{left}{right}"))? };
        if !seen.insert(merge.pair) {
            return Err(TokenizerError::MergeTwice { index, pair: [left.to_owned(), right.to_owned()] });
        }
        merges.push(merge);
    }
    Ok(merges)
}

fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => left.as_str().zip(right.as_str()),
            _ => None,
        },
        _ => None,
    }
}

/// The added tokens; those that are not in the vocabulary are appended to `tokens`.
fn added_tokens(
    field: &Field<'_>,
    ids: &HashMap<String, u32>,
    tokens: &mut Vec<String>,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let list = field.get("a list of tokens or null", |v| {
        if v.is_null() { Some(&[][..]) } else { v.as_array().map(Vec::as_slice) }
    })?;
    let mut seen = HashSet::new();
    let mut added = Vec::with_capacity(list.len());
    for index in 0..list.len() {
        let item = field.item(index);
        for name in ["single_word", "lstrip", "rstrip"] {
            item.field(name).must("false", |v| v == false)?;
        }
        let content = item.field("content").get("a text", Value::as_str)?.to_owned();
        if content.is_empty() || !seen.insert(content.clone()) {
            return Err(TokenizerError::AddedToken { index, content });
        }
        let id = item.field("id").get("an id: an integer, 0 or above", Value::as_u64)?;
        let expected = ids.get(&content).copied().unwrap_or(tokens.len() as u32);
        if id != u64::from(expected) {
            return Err(TokenizerError::AddedTokenId { content, id, expected });
        }
        if expected as usize == tokens.len() {
            tokens.push(content.clone());
        }
        let special = item.field("special").get("true or false", Value::as_bool)?;
        let normalized = item.field("normalized").get("true or false", Value::as_bool)?;
        added.push(AddedToken { id: expected, content, special, normalized });
    }
    Ok(added)
}

fn has_type(value: &Value, name: &str) -> bool {
    value.get("type").is_some_and(|t| t == name)
}

/// A JSON value and the way to it, for messages. A missing field counts as null.
struct Field<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    fn field(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { path, value: self.value.and_then(|value| value.get(name)) }
    }

    fn item(&self, index: usize) -> Field<'a> {
        Field { path: format!("{}[{index}]", self.path), value: self.value.and_then(|value| value.get(index)) }
    }

    fn value(&self) -> &'a Value {
        self.value.unwrap_or(&Value::Null)
    }

    fn get<T>(&self, expected: &'static str, get: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, TokenizerError> {
        get(self.value()).ok_or_else(|| self.error(expected))
    }

    fn must(&self, expected: &'static str, holds: impl FnOnce(&'a Value) -> bool) -> Result<(), TokenizerError> {
        self.get(expected, |value| holds(value).then_some(()))
    }

    fn error(&self, expected: &'static str) -> TokenizerError {
        const LONGEST: usize = 100;
        let mut found = self.value.map_or("missing".to_owned(), Value::to_string);
        if let Some((end, _)) = found.char_indices().nth(LONGEST) {
            found.truncate(end);
            found.push('…');
        }
        TokenizerError::Field { field: self.path.clone(), expected, found }
    }
}
