//! Chat templates: a conversation as the text and the ids that the model was trained on.

mod bounds;

use alloc::{
    borrow::{Cow, ToOwned},
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use minijinja::{Environment, ErrorKind, Template, syntax::SyntaxConfig, value::Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::{Special, Tokenizer};

/// Instructions that a template may run; SmolLM2's needs about 35 a message. A template that loops for ever ends here.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// The Jinja template of a tokenizer_config.json.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token`, `eos_token`, `unk_token`, `pad_token`, which templates may use.
    tokens: BTreeMap<&'static str, Value>,
}

impl ChatTemplate {
    /// Reads the field `chat_template` of a tokenizer_config.json: a template, or a list of named ones with a `default`.
    ///
    /// # Errors
    /// If the file is not JSON, has no template, or the template is not Jinja or nested too deep.
    pub fn from_config_json(bytes: &[u8]) -> Result<ChatTemplate, ChatError> {
        let config: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| ChatError::Json { message: error.to_string() })?;
        let template = match &config["chat_template"] {
            serde_json::Value::Array(named) => {
                named.iter().find(|entry| entry["name"] == "default").and_then(|entry| entry["template"].as_str())
            }
            template => template.as_str(),
        };
        let template = template.ok_or(ChatError::NoTemplate)?;
        let tokens = ["bos_token", "eos_token", "unk_token", "pad_token"].into_iter().filter_map(|name| {
            let token = &config[name];
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            Some((name, Value::from(text)))
        });
        let mut environment = Environment::new();
        // As transformers sets them.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(ChatError::template)?);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.set_unknown_method_callback(unknown_method_callback);
        bounds::prepare(&mut environment);
        bounds::check_source(&environment, template).map_err(ChatError::template)?;
        environment.add_template_owned(NAME, template.to_owned()).map_err(ChatError::template)?;
        Ok(ChatTemplate { environment, tokens: tokens.collect() })
    }

    /// The conversation as text, with the head of the assistant's next message if `add_generation_prompt`.
    ///
    /// # Errors
    /// If the template refuses the messages, does not end, or makes a value that is too deep or too large.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        let messages = messages.iter().map(|message| {
            let fields = [("role", &message.role), ("content", &message.content)];
            Value::from(BTreeMap::from(fields.map(|(name, text)| (name, Value::from(text.as_str())))))
        });
        let mut values = self.tokens.clone();
        values.insert("messages", Value::from_iter(messages));
        values.insert("add_generation_prompt", Value::from(add_generation_prompt));
        bounds::render(&self.environment, &self.template()?, values.into()).map_err(ChatError::template)
    }

    fn template(&self) -> Result<Template<'_, '_>, ChatError> {
        self.environment.get_template(NAME).map_err(ChatError::template)
    }

    /// The ids of the conversation. A special token counts only if it starts in the template's own text: one that
    /// is written in a message is plain text, so that nobody can end their message and speak as someone else.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatError> {
        let parts = [(messages.len(), add_generation_prompt)];
        let pieces = self.each_marked(tokenizer, messages, &parts, |text, _, _| Ok(text))?;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// The ids of the conversation up to the end of its last answer, in pieces: what is asked (`false`) and what the
    /// assistant answers (`true`), by turns. Each piece is encoded alone, as it is when the answer is generated.
    ///
    /// An answer is what message `i` adds to the conversation before it with the head of the assistant's message.
    ///
    /// # Errors
    /// As [`render`](Self::render), if nothing is an answer, or if an answer does not follow that head.
    pub fn encode_answers(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<Vec<(Vec<u32>, bool)>, ChatError> {
        let answers = messages.iter().enumerate().filter(|(_, message)| message.role == "assistant");
        let parts: Vec<(usize, bool)> = answers.flat_map(|(index, _)| [(index, true), (index + 1, false)]).collect();
        if parts.is_empty() {
            return Err(ChatError::NoAnswer);
        }
        let pieces = self.each_marked(tokenizer, messages, &parts, |text, before, (index, prompt)| {
            let message = if prompt { index } else { index - 1 };
            text.strip_prefix(before).ok_or(ChatError::NotAContinuation { message })
        })?;
        Ok(pieces.into_iter().zip(parts).map(|(ids, (_, prompt))| (ids, !prompt)).collect())
    }

    /// For each of `parts` the ids of the text of so many messages, with the head of the assistant's next one or without: of the piece
    /// that `cut` takes of it, which gets the text of the part before it, too. In the texts markers stand for the first characters of
    /// special tokens in messages: then these match no longer. They are in none of the messages, and each stands for one character, so
    /// that a template which counts characters counts the same.
    ///
    /// All such characters are marked but those of other added tokens, since a template can cut off what keeps them from being a
    /// special token. But one that asks what a message says may make something else of it then: in that case only those are
    /// marked that begin one.
    fn each_marked(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        parts: &[(usize, bool)],
        cut: impl for<'t> Fn(&'t str, &str, (usize, bool)) -> Result<&'t str, ChatError>,
    ) -> Result<Vec<Vec<u32>>, ChatError> {
        let firsts: BTreeSet<char> = tokenizer.special_texts().filter_map(|token| token.chars().next()).collect();
        let mut unused = unused_characters(messages, self.template()?.source());
        let markers: Option<Markers> = firsts.into_iter().map(|first| Some((first, unused.next()?))).collect();
        let markers = markers.ok_or(ChatError::NoMarker)?;
        let begins =
            |rest: &str| tokenizer.special_texts().any(|token| rest.starts_with(token) || token.starts_with(rest));
        let is_other = |rest: &str| tokenizer.other_added_texts().any(|token| rest.starts_with(token));
        let all = marked(messages, &markers, |rest| begins(rest) || !is_other(rest));

        // A text at a time: together they grow with the square of the messages.
        let (mut ids, mut before) = (Vec::with_capacity(parts.len()), String::new());
        for &(count, prompt) in parts {
            let plain = self.render(&messages[..count], prompt)?;
            let text = match self.render(&all[..count], prompt) {
                Ok(text) if unmarked(&text, &markers) == plain => text,
                _ => break,
            };
            ids.push(encode_marked(tokenizer, cut(&text, &before, (count, prompt))?, &markers));
            before = text;
        }
        if ids.len() == parts.len() {
            return Ok(ids);
        }
        let some = marked(messages, &markers, begins);
        ids.clear();
        before.clear();
        for &(count, prompt) in parts {
            let text = self.render(&some[..count], prompt)?;
            ids.push(encode_marked(tokenizer, cut(&text, &before, (count, prompt))?, &markers));
            before = text;
        }
        Ok(ids)
    }
}

/// The first characters of special tokens, each with its marker.
type Markers = BTreeMap<char, char>;

/// The messages with their markers, at all places from which on `begins` holds for the text.
fn marked(messages: &[Message], markers: &Markers, begins: impl Fn(&str) -> bool) -> Vec<Message> {
    let mark = |text: &str| {
        let marked = text.char_indices().map(|(at, c)| match markers.get(&c) {
            Some(marker) if begins(&text[at..]) => *marker,
            _ => c,
        });
        marked.collect()
    };
    messages.iter().map(|message| Message { role: mark(&message.role), content: mark(&message.content) }).collect()
}

/// A text with what its markers stand for.
fn unmarked(text: &str, markers: &Markers) -> String {
    let first = |c| markers.iter().find(|(_, marker)| **marker == c).map_or(c, |(first, _)| *first);
    text.chars().map(first).collect()
}

/// The ids of a rendered text. The characters that markers stand for come back before it is cut into pieces.
fn encode_marked(tokenizer: &Tokenizer, text: &str, markers: &Markers) -> Vec<u32> {
    tokenizer.encode_segments(text, Special::Parse, |text| Cow::Owned(unmarked(text, markers)))
}

/// The private-use characters that are in none of the messages, nor in the template.
fn unused_characters(messages: &[Message], template: &str) -> impl Iterator<Item = char> + use<> {
    let texts = messages.iter().flat_map(|message| [message.role.as_str(), message.content.as_str()]).chain([template]);
    let private = '\u{f0000}'..='\u{10fffd}';
    let used: BTreeSet<char> = texts.flat_map(str::chars).filter(|c| private.contains(c)).collect();
    private.filter(move |c| !used.contains(c))
}

/// Why a conversation has no text.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChatError {
    /// tokenizer_config.json is not JSON in UTF-8.
    Json {
        /// What the JSON reader says, with line and column.
        message: String,
    },
    /// tokenizer_config.json has no `chat_template`.
    NoTemplate,
    /// The template is not valid, refuses the messages, does not end, or makes a value that is too deep or too large.
    Template {
        /// What the template engine says.
        message: String,
    },
    /// The messages contain every character of planes 15 and 16; one that they do not contain is needed.
    NoMarker,
    /// A conversation to learn from has no message of the role `assistant`.
    NoAnswer,
    /// The template writes a message in another way than it announces it.
    NotAContinuation {
        /// The message, from 0.
        message: usize,
    },
}

impl ChatError {
    fn template(error: minijinja::Error) -> Self {
        let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
        ChatError::Template { message: format!("{error}{line}") }
    }
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { message } => {
                write!(f, "tokenizer_config.json: not valid JSON: {message}; download the file again")
            }
            Self::NoTemplate => {
                write!(f, "tokenizer_config.json: no `chat_template`; this model is not made for conversations")
            }
            Self::Template { message } => write!(f, "the model's chat template: {message}"),
            Self::NoMarker => write!(f, "the messages contain every character from U+F0000 to U+10FFFD; leave one out"),
            Self::NoAnswer => write!(f, "no message is the assistant's, so there is no answer to learn"),
            Self::NotAContinuation { message } => write!(
                f,
                "the model's chat template does not begin message {} with its generation prompt, so it is unknown which \
                 part is the answer",
                message + 1
            ),
        }
    }
}

impl core::error::Error for ChatError {}
