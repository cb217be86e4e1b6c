//! Tokens with their log-probabilities, as the two routes tell them.

use std::fmt::Write;

use bpe::{StreamDecoder, Tokenizer};
use kernel::generate::TokenLogprob;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::serve::api_error::ApiError;

/// What a choice tells of its tokens.
#[derive(serde::Serialize)]
#[serde(untagged)]
pub enum Logprobs {
    Completion(CompletionLogprobs),
    Chat(ChatLogprobs),
}

/// As `/v1/completions` tells them: an array for each property.
#[derive(serde::Serialize, Default)]
pub struct CompletionLogprobs {
    tokens: Vec<String>,
    /// Null for the first token of a prompt, which follows nothing.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Best>>,
    /// How many characters of the text are complete before the token.
    text_offset: Vec<usize>,
    bytes: Vec<Vec<u8>>,
}

/// Tokens and their log-probabilities, the most likely one first, as an object.
struct Best(Vec<(String, f32)>);

impl Serialize for Best {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(token, logprob)| map.serialize_entry(token, logprob))?;
        map.end()
    }
}

/// As `/v1/chat/completions` tells them: an object for each token.
#[derive(serde::Serialize, Default)]
pub struct ChatLogprobs {
    content: Vec<ChatLogprob>,
    refusal: Option<()>,
}

#[derive(serde::Serialize)]
struct ChatLogprob {
    #[serde(flatten)]
    token: Weighed,
    top_logprobs: Vec<Weighed>,
}

#[derive(serde::Serialize)]
struct Weighed {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprobs {
    /// The same with what follows. Both are of one route.
    pub fn join(&mut self, more: Logprobs) {
        match (self, more) {
            (Logprobs::Completion(all), Logprobs::Completion(mut more)) => {
                all.tokens.append(&mut more.tokens);
                all.token_logprobs.append(&mut more.token_logprobs);
                all.top_logprobs.append(&mut more.top_logprobs);
                all.text_offset.append(&mut more.text_offset);
                all.bytes.append(&mut more.bytes);
            }
            (Logprobs::Chat(all), Logprobs::Chat(mut more)) => all.content.append(&mut more.content),
            (_, _) => {}
        }
    }
}

/// Reads the tokens of one text in their order.
pub struct Reader {
    decoder: StreamDecoder,
    /// Characters that are complete.
    characters: usize,
    chat: bool,
}

impl Reader {
    /// At the start of a text, of a chat or not.
    pub fn new(chat: bool) -> Reader {
        Reader { decoder: StreamDecoder::new(), characters: 0, chat }
    }

    /// What is told of a prompt: of its first token nothing but itself, of the others their log-probabilities.
    ///
    /// # Errors
    /// If the tokenizer does not have a token.
    pub fn prompt(&mut self, tokenizer: &Tokenizer, ids: &[u32], told: &[TokenLogprob]) -> Result<Logprobs, ApiError> {
        let mut all = Logprobs::Completion(CompletionLogprobs::default());
        if let Some(&first) = ids.first() {
            let (token, bytes) = text(tokenizer, first)?;
            all.join(Logprobs::Completion(CompletionLogprobs {
                tokens: vec![token],
                token_logprobs: vec![None],
                top_logprobs: vec![None],
                text_offset: vec![self.offset(tokenizer, first)?],
                bytes: vec![bytes],
            }));
        }
        for token in told {
            all.join(self.token(tokenizer, token)?);
        }
        // What is generated is a text of its own: its first token completes no character of the prompt.
        let rest = std::mem::take(&mut self.decoder).finish();
        self.characters += rest.chars().count();
        Ok(all)
    }

    /// What is told of the next token.
    ///
    /// # Errors
    /// If the tokenizer does not have it.
    pub fn token(&mut self, tokenizer: &Tokenizer, told: &TokenLogprob) -> Result<Logprobs, ApiError> {
        let TokenLogprob { token_id, logprob, top } = told;
        let weighed = |&(id, logprob): &(u32, f32)| -> Result<Weighed, ApiError> {
            let (token, bytes) = text(tokenizer, id)?;
            Ok(Weighed { token, logprob, bytes })
        };
        let token = weighed(&(*token_id, *logprob))?;
        let top: Vec<Weighed> = top.iter().map(weighed).collect::<Result<_, _>>()?;
        let offset = self.offset(tokenizer, *token_id)?;
        if self.chat {
            let content = vec![ChatLogprob { token, top_logprobs: top }];
            return Ok(Logprobs::Chat(ChatLogprobs { content, refusal: None }));
        }
        let mut best: Vec<(String, f32)> = top.into_iter().map(|one| (one.token, one.logprob)).collect();
        if best.iter().all(|(text, _)| *text != token.token) {
            best.push((token.token.clone(), token.logprob));
        }
        Ok(Logprobs::Completion(CompletionLogprobs {
            tokens: vec![token.token],
            token_logprobs: vec![Some(token.logprob)],
            top_logprobs: vec![Some(Best(best))],
            text_offset: vec![offset],
            bytes: vec![token.bytes],
        }))
    }

    /// Where a token begins; the next one is behind it.
    fn offset(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<usize, ApiError> {
        let offset = self.characters;
        let complete = self.decoder.push(tokenizer, id).map_err(ApiError::internal)?;
        self.characters += complete.chars().count();
        Ok(offset)
    }
}

/// A token as text, and its bytes; one that is no UTF-8 by itself is `bytes:\xf0\x9f`.
fn text(tokenizer: &Tokenizer, id: u32) -> Result<(String, Vec<u8>), ApiError> {
    let bytes = tokenizer.token_bytes(id).map_err(ApiError::internal)?.to_vec();
    let text = match String::from_utf8(bytes.clone()) {
        Ok(text) => text,
        Err(_) => bytes.iter().fold("bytes:".to_string(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
            text
        }),
    };
    Ok((text, bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `é` is two tokens here, 1 and 2.
    fn tokenizer() -> Tokenizer {
        let json = json!({
            "added_tokens": [],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "vocab": { "a": 0, "Ã": 1, "©": 2, "b": 3 }, "merges": [] },
        });
        Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
    }

    fn told(token_id: u32, logprob: f32, top: &[(u32, f32)]) -> TokenLogprob {
        TokenLogprob { token_id, logprob, top: top.to_vec() }
    }

    #[test]
    fn completions_have_arrays_and_the_chosen_token_is_among_the_best() {
        let (tokenizer, mut reader) = (tokenizer(), Reader::new(false));
        let mut all = reader.prompt(&tokenizer, &[1, 2], &[told(2, -0.1, &[(0, -0.05)])]).unwrap();
        all.join(reader.token(&tokenizer, &told(0, -0.25, &[(0, -0.25), (3, -2.0)])).unwrap());
        all.join(reader.token(&tokenizer, &told(3, -1.5, &[])).unwrap());
        assert_eq!(
            serde_json::to_string(&all).unwrap(),
            r#"{"tokens":["bytes:\\xc3","bytes:\\xa9","a","b"],"token_logprobs":[null,-0.1,-0.25,-1.5],"#.to_string()
                + r#""top_logprobs":[null,{"a":-0.05,"bytes:\\xa9":-0.1},{"a":-0.25,"b":-2.0},{"b":-1.5}],"#
                + r#""text_offset":[0,0,1,2],"bytes":[[195],[169],[97],[98]]}"#
        );
    }

    #[test]
    fn a_prompt_that_ends_within_a_character_ends_there() {
        let (tokenizer, mut reader) = (tokenizer(), Reader::new(false));
        let mut all = reader.prompt(&tokenizer, &[0, 1], &[told(1, -0.5, &[])]).unwrap();
        all.join(reader.token(&tokenizer, &told(2, -0.5, &[])).unwrap());
        all.join(reader.token(&tokenizer, &told(0, -0.5, &[])).unwrap());
        let Logprobs::Completion(all) = all else { panic!("it is no chat") };
        // a, U+FFFD, then U+FFFD and a.
        assert_eq!(all.text_offset, [0, 1, 2, 3]);
    }

    #[test]
    fn a_chat_has_an_object_for_each_token() {
        let (tokenizer, mut reader) = (tokenizer(), Reader::new(true));
        let one = reader.token(&tokenizer, &told(1, -0.5, &[(0, -0.25), (1, -0.5)])).unwrap();
        assert_eq!(
            serde_json::to_string(&one).unwrap(),
            r#"{"content":[{"token":"bytes:\\xc3","logprob":-0.5,"bytes":[195],"top_logprobs":["#.to_string()
                + r#"{"token":"a","logprob":-0.25,"bytes":[97]},{"token":"bytes:\\xc3","logprob":-0.5,"bytes":[195]}]}],"#
                + r#""refusal":null}"#
        );
    }
}
