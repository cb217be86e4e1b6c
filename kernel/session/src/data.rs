//! What a training learns from: one text, or lines of texts and conversations.

use std::fmt;

use bpe::{ChatError, ChatTemplate, Message, Tokenizer};
use kernel::model::Sequence;
use serde::Deserialize;

/// A line of a data file: exactly one of the two keys; others are ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    messages: Option<Vec<LineMessage>>,
}

#[derive(Deserialize)]
struct LineMessage {
    role: String,
    content: String,
}

/// Why there is nothing to learn from.
#[derive(Debug)]
pub enum DataError {
    /// There are no lines.
    Empty,
    /// There are more lines than can be shuffled.
    Lines(usize),
    /// A text has fewer than 2 tokens: no token has one before it.
    Short {
        /// Where it stands.
        place: Place,
        /// Its tokens.
        tokens: usize,
    },
    /// A text has more tokens than the model has positions.
    Long {
        /// Where it stands.
        place: Place,
        /// Its tokens.
        tokens: usize,
        /// The model's positions.
        context: usize,
    },
    /// No token of the answers is within the context.
    Cut {
        /// Where it stands.
        place: Place,
        /// The model's positions.
        context: usize,
    },
    /// A line is not a JSON object with `text` or `messages`.
    Json {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A line has both `text` and `messages`, or neither.
    Keys {
        /// The line, from 1.
        line: usize,
    },
    /// A conversation has no ids.
    Chat {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        error: ChatError,
    },
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A text on the command line, or in a request.
    Text,
    /// The messages of a request.
    Messages,
    /// In a data file; lines count from 1.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text => f.write_str("the text"),
            Place::Messages => f.write_str("the conversation"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::Empty => f.write_str("there are no lines; write one text or conversation a line"),
            DataError::Lines(lines) => write!(f, "{lines} lines are more than can be shuffled ({})", u32::MAX),
            DataError::Short { place, tokens } => {
                write!(f, "{place} has {tokens} tokens; at least 2 are needed to learn the second from the first")
            }
            DataError::Long { place, tokens, context } => {
                write!(f, "{place} has {tokens} tokens, more than the context of {context}; shorten it")?;
                match place {
                    Place::Line(_) => f.write_str(", or cut it with --truncate"),
                    Place::Text | Place::Messages => Ok(()),
                }
            }
            DataError::Cut { place, context } => {
                write!(f, "{place} has no answer within the context of {context} tokens; shorten what is before it")
            }
            DataError::Json { line, error } => {
                write!(f, "line {line} is not {{\"text\":\"...\"}} or {{\"messages\":[...]}}: {error}")
            }
            DataError::Keys { line } => write!(f, "line {line} needs either \"text\" or \"messages\""),
            DataError::Chat { place, error } => write!(f, "{place}: {error}"),
        }
    }
}

impl std::error::Error for DataError {}

/// One text of which every token but the first counts.
///
/// # Errors
/// If it has fewer than 2 tokens, or more than `context`.
pub fn text(tokens: Vec<u32>, context: usize) -> Result<Sequence, DataError> {
    fit(Sequence::new(tokens), Place::Text, context, false)
}

/// Reads texts and conversations.
pub struct Reader<'a> {
    /// Turns texts into ids.
    pub tokenizer: &'a Tokenizer,
    /// How the special tokens in a `text` are taken; message contents are always plain text.
    pub special: bpe::Special,
    /// The bytes of `tokenizer_config.json`, where there is one: its chat template turns conversations into texts.
    pub tokenizer_config: Option<&'a [u8]>,
    /// The most tokens that a sequence may have.
    pub context: usize,
    /// Whether longer ones are cut instead of refused.
    pub truncate: bool,
}

impl Reader<'_> {
    /// One text of which every token but the first counts.
    ///
    /// # Errors
    /// As [`text`].
    pub fn text(&self, text: &str) -> Result<Sequence, DataError> {
        self.fit(self.whole(text), Place::Text)
    }

    /// One conversation of which the assistant's answers count.
    ///
    /// # Errors
    /// If there is no answer, the model has no chat template or it refuses the messages, or they are too long.
    pub fn messages(&self, messages: &[Message]) -> Result<Sequence, DataError> {
        let place = Place::Messages;
        self.fit(self.conversation(&self.template(place)?, messages, place)?, place)
    }

    /// Reads JSON lines, one sequence a line.
    ///
    /// # Errors
    /// If there are no lines; at the first line from which nothing can be learnt.
    pub fn lines(&self, bytes: &[u8]) -> Result<Vec<Sequence>, DataError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(DataError::Empty);
        }
        let mut template = None;
        let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
        let sequences: Vec<Sequence> =
            lines.map(|(text, line)| self.line(text, line, &mut template)).collect::<Result<_, _>>()?;
        if sequences.len() > u32::MAX as usize {
            return Err(DataError::Lines(sequences.len()));
        }
        Ok(sequences)
    }

    fn line(&self, text: &[u8], line: usize, template: &mut Option<ChatTemplate>) -> Result<Sequence, DataError> {
        let keys: Line = serde_json::from_slice(text).map_err(|error| DataError::Json { line, error })?;
        let place = Place::Line(line);
        let sequence = match (keys.text, keys.messages) {
            (Some(text), None) => self.whole(&text),
            (None, Some(messages)) => {
                // The template is read only where it is needed: not every model has one.
                let template = match template {
                    Some(template) => template,
                    None => template.insert(self.template(place)?),
                };
                let messages = messages.into_iter().map(|LineMessage { role, content }| Message { role, content });
                self.conversation(template, &messages.collect::<Vec<_>>(), place)?
            }
            _ => return Err(DataError::Keys { line }),
        };
        self.fit(sequence, place)
    }

    fn whole(&self, text: &str) -> Sequence {
        Sequence::new(self.tokenizer.encode(text, self.special))
    }

    fn template(&self, place: Place) -> Result<ChatTemplate, DataError> {
        let template = match self.tokenizer_config {
            Some(bytes) => ChatTemplate::from_config_json(bytes),
            None => Err(ChatError::NoTemplate),
        };
        template.map_err(|error| DataError::Chat { place, error })
    }

    fn conversation(&self, template: &ChatTemplate, messages: &[Message], place: Place) -> Result<Sequence, DataError> {
        let pieces = template.encode_answers(self.tokenizer, messages);
        let (mut tokens, mut counted) = (Vec::new(), Vec::new());
        for (ids, counts) in pieces.map_err(|error| DataError::Chat { place, error })? {
            counted.extend(ids.iter().map(|_| counts));
            tokens.extend(ids);
        }
        Ok(Sequence { tokens, counted })
    }

    fn fit(&self, sequence: Sequence, place: Place) -> Result<Sequence, DataError> {
        fit(sequence, place, self.context, self.truncate)
    }
}

/// Cuts or refuses what is too long, and refuses what has nothing to learn.
fn fit(mut sequence: Sequence, place: Place, context: usize, truncate: bool) -> Result<Sequence, DataError> {
    let tokens = sequence.tokens.len();
    if tokens > context && !truncate {
        return Err(DataError::Long { place, tokens, context });
    }
    sequence.tokens.truncate(context);
    sequence.counted.truncate(context);
    match sequence.tokens.len() {
        0..2 => Err(DataError::Short { place, tokens: tokens.min(context) }),
        _ if sequence.count() == 0 => Err(DataError::Cut { place, context }),
        _ => Ok(sequence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A token for each of these characters; 0 to 2 are special.
    fn tokenizer() -> Tokenizer {
        let special = ["<|user|>", "<|assistant|>", "<|end|>"];
        let added = special.iter().enumerate().map(|(id, content)| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        });
        let mut vocab: serde_json::Map<_, _> =
            special.iter().zip(0..).map(|(t, id)| (t.to_string(), json!(id))).collect();
        vocab.extend("abcdefgh".chars().zip(3..).map(|(c, id)| (c.to_string(), json!(id))));
        let json = json!({
            "added_tokens": added.collect::<Vec<_>>(),
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "vocab": vocab, "merges": [] },
        });
        Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
    }

    const TEMPLATE: &str = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}\
                            {% if add_generation_prompt %}<|assistant|>{% endif %}";

    fn parse(lines: &str, context: usize, truncate: bool) -> Result<Vec<Sequence>, DataError> {
        let config = json!({ "chat_template": TEMPLATE }).to_string();
        let (tokenizer, special, tokenizer_config) = (tokenizer(), bpe::Special::Parse, Some(config.as_bytes()));
        Reader { tokenizer: &tokenizer, special, tokenizer_config, context, truncate }.lines(lines.as_bytes())
    }

    fn conversation(messages: &[(&str, &str)]) -> String {
        let messages: Vec<_> = messages.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        json!({ "messages": messages }).to_string()
    }

    #[test]
    fn every_token_of_a_text_counts_and_of_a_conversation_the_answers() {
        let chat =
            conversation(&[("user", "ab"), ("assistant", "c"), ("user", "d"), ("assistant", "e"), ("user", "f")]);
        let sequences = parse(&format!("{{\"text\":\"a<|end|>b\",\"id\":1}}\n{chat}\n"), 100, false).unwrap();
        assert_eq!(sequences[0], Sequence::new(vec![3, 2, 4]));
        assert_eq!(sequences[1].tokens, [0, 3, 4, 2, 1, 5, 2, 0, 6, 2, 1, 7, 2]);
        let marks: String = sequences[1].counted.iter().map(|counts| if *counts { 'x' } else { '-' }).collect();
        assert_eq!(marks, "-----xx----xx");
    }

    #[test]
    fn a_text_or_a_conversation_alone_is_read_as_a_line_is() {
        let (tokenizer, config) = (tokenizer(), json!({ "chat_template": TEMPLATE }).to_string());
        let reader = |tokenizer_config| Reader {
            tokenizer: &tokenizer,
            special: bpe::Special::Parse,
            tokenizer_config,
            context: 9,
            truncate: false,
        };
        let told = |messages: &[(&str, &str)]| -> Vec<Message> {
            messages.iter().map(|(role, text)| Message { role: role.to_string(), content: text.to_string() }).collect()
        };
        let reads = reader(Some(config.as_bytes()));
        let chat = [("user", "ab"), ("assistant", "c")];
        let lines = format!("{{\"text\":\"abc\"}}\n{}", conversation(&chat));
        assert_eq!(
            [reads.text("abc").unwrap(), reads.messages(&told(&chat)).unwrap()],
            *parse(&lines, 9, false).unwrap()
        );
        for (messages, words) in [
            (told(&[("user", "ab")]), "the conversation: no message"),
            (told(&[("user", "abcdef"), ("assistant", "c")]), "the conversation has 11 tokens"),
        ] {
            let error = reads.messages(&messages).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("--truncate"), "{error}");
        }
        let error = reader(None).messages(&told(&chat)).unwrap_err();
        assert!(matches!(error, DataError::Chat { place: Place::Messages, error: ChatError::NoTemplate }), "{error}");
        assert!(reads.text("a").unwrap_err().to_string().starts_with("the text has 1 tokens"));
    }

    #[test]
    fn long_lines_are_refused_or_cut() {
        let line = r#"{"text":"abcdef"}"#;
        assert!(matches!(parse(line, 5, false), Err(DataError::Long { place: Place::Line(1), tokens: 6, context: 5 })));
        assert_eq!(parse(line, 5, true).unwrap()[0].tokens, [3, 4, 5, 6, 7]);
        let chat = conversation(&[("user", "ab"), ("assistant", "c")]);
        assert_eq!(parse(&chat, 6, true).unwrap()[0].count(), 1);
        assert!(matches!(parse(&chat, 5, true), Err(DataError::Cut { place: Place::Line(1), context: 5 })));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_with_its_number() {
        let good = r#"{"text":"ab"}"#;
        for (bad, word) in [
            ("", "line 2 is not"),
            ("[1]", "line 2 is not"),
            ("{}", "either"),
            (r#"{"text":"ab","messages":[]}"#, "either"),
            (r#"{"text":"a"}"#, "line 2 has 1 tokens"),
            (r#"{"messages":[]}"#, "line 2: no message"),
        ] {
            let error = parse(&format!("{good}\n{bad}\n{good}"), 9, false).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("line 2"), "{bad}: {error}");
        }
        assert!(matches!(parse("", 9, false), Err(DataError::Empty)));
        assert!(matches!(parse("\n", 9, false), Err(DataError::Empty)));
    }
}
