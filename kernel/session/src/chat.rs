//! Conversations as prompts.

use std::{error, fmt};

use bpe::{ChatError, ChatTemplate, Message, Tokenizer};
use loader::Object;
use serde::Deserialize;

/// Who may speak.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// Why a conversation is no prompt.
#[derive(Debug)]
pub enum MessagesError {
    /// It is not the JSON of a conversation.
    Json(serde_json::Error),
    /// It has no messages.
    Empty,
    /// A message is of nobody who may speak.
    Role {
        /// The message, from 1.
        number: usize,
        /// Its role.
        role: String,
    },
    /// The model has no chat template, or it refuses the messages.
    Chat(ChatError),
}

impl fmt::Display for MessagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessagesError::Json(error) => write!(
                f,
                "the messages are not JSON like [{{\"role\":\"user\",\"content\":\"Hello\"}}] or {{\"messages\":[...]}}: {error}"
            ),
            MessagesError::Empty => f.write_str("there are no messages; give at least one"),
            MessagesError::Role { number, role } => {
                let role: String = role.chars().take(40).collect();
                write!(f, "message {number} has the role {role:?}; choose system, user or assistant")
            }
            MessagesError::Chat(ChatError::NoTemplate) => {
                write!(f, "{}; give a prompt as text instead of messages", ChatError::NoTemplate)
            }
            MessagesError::Chat(error) => error.fmt(f),
        }
    }
}

impl error::Error for MessagesError {}

/// Reads a conversation: a JSON array of objects with `role` and `content`, or an object with such an array as `messages`.
///
/// # Errors
/// If it is something else, or has members that would be ignored.
pub fn read_messages(json: &[u8]) -> Result<Vec<Message>, MessagesError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Turn {
        role: String,
        content: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Conversation {
        messages: Vec<Object<Turn>>,
    }
    let turns = if json.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(json)
    } else {
        serde_json::from_slice(json).map(|Conversation { messages }| messages)
    };
    let turns: Vec<Object<Turn>> = turns.map_err(MessagesError::Json)?;
    Ok(turns.into_iter().map(|Object(Turn { role, content })| Message { role, content }).collect())
}

/// The token ids of a conversation, with the head of the assistant's next message: what the assistant answers is what follows.
/// `tokenizer_config` are the bytes of `tokenizer_config.json`, where there is one: they have the chat template. The contents
/// of messages are plain text, whatever is in them.
///
/// # Errors
/// If there are no messages, one has another role than `system`, `user` or `assistant`, or there is no template or it refuses
/// them.
pub fn chat_prompt(
    tokenizer: &Tokenizer,
    tokenizer_config: Option<&[u8]>,
    messages: &[Message],
) -> Result<Vec<u32>, MessagesError> {
    if messages.is_empty() {
        return Err(MessagesError::Empty);
    }
    if let Some((message, number)) = messages.iter().zip(1..).find(|(message, _)| !ROLES.contains(&&message.role[..])) {
        return Err(MessagesError::Role { number, role: message.role.clone() });
    }
    let template = template(tokenizer_config).map_err(MessagesError::Chat)?;
    template.encode(tokenizer, messages, true).map_err(MessagesError::Chat)
}

/// The chat template in the bytes of `tokenizer_config.json`, where there is one.
pub(crate) fn template(tokenizer_config: Option<&[u8]>) -> Result<ChatTemplate, ChatError> {
    tokenizer_config.map_or(Err(ChatError::NoTemplate), ChatTemplate::from_config_json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.to_string(), content: content.to_string() }
    }

    fn prompt(messages: &[Message]) -> Result<Vec<u32>, MessagesError> {
        let added = |id, content| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        };
        let tokenizer = json!({
            "added_tokens": [added(0, "<user>"), added(1, "<assistant>")],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "merges": [],
                "vocab": { "<user>": 0, "<assistant>": 1, "a": 2, "<": 3, "u": 4, "s": 5, "e": 6, "r": 7, ">": 8 } },
        });
        let template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{% endif %}";
        let tokenizer = Tokenizer::from_json(tokenizer.to_string().as_bytes()).unwrap();
        chat_prompt(&tokenizer, Some(json!({ "chat_template": template }).to_string().as_bytes()), messages)
    }

    #[test]
    fn a_conversation_becomes_the_prompt_of_its_next_answer() {
        let messages = [message("user", "a"), message("assistant", "aa"), message("user", "<user>")];
        assert_eq!(prompt(&messages).unwrap(), [0, 2, 1, 2, 2, 0, 3, 4, 5, 6, 7, 8, 1]);
        assert!(matches!(prompt(&[]), Err(MessagesError::Empty)));
        let error = prompt(&[message("user", "a"), message("tool", "a")]).unwrap_err().to_string();
        assert_eq!(error, "message 2 has the role \"tool\"; choose system, user or assistant");
    }

    #[test]
    fn a_model_without_a_template_says_so() {
        let tokenizer = Tokenizer::from_json(
            json!({ "added_tokens": [], "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": true }, "decoder": { "type": "ByteLevel" },
                "model": { "type": "BPE", "vocab": { "a": 0 }, "merges": [] } })
            .to_string()
            .as_bytes(),
        );
        for config in [None, Some(&b"{}"[..])] {
            let error =
                chat_prompt(tokenizer.as_ref().unwrap(), config, &[message("user", "a")]).unwrap_err().to_string();
            assert!(error.contains("chat_template") && error.contains("prompt as text"), "{error}");
        }
    }

    #[test]
    fn a_conversation_is_an_array_or_an_object_and_nothing_in_it_is_ignored() {
        let expected = [message("user", "Hi"), message("assistant", "é")];
        let list = r#" [{"role":"user","content":"Hi"},{"content":"\u00e9","role":"assistant"}]"#;
        assert_eq!(read_messages(list.as_bytes()).unwrap(), expected);
        assert_eq!(read_messages(format!("\n{{\"messages\":{list}}}\n").as_bytes()).unwrap(), expected);
        for (wrong, word) in [
            ("", "EOF"),
            ("{}", "messages"),
            (r#"{"messages":[],"model":"x"}"#, "model"),
            (r#"[{"role":"user","content":"Hi","name":"x"}]"#, "name"),
            (r#"[{"role":"user"}]"#, "content"),
            (r#"[["user","Hi"]]"#, "a JSON object"),
            (r#"[{"role":"user","content":["Hi"]}]"#, "string"),
            ("[] []", "trailing"),
        ] {
            let error = read_messages(wrong.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}
