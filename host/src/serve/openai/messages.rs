//! The field `messages`: a conversation.

use bpe::Message;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::serve::api_error::{ApiError, shown};

/// Reads the field.
///
/// # Errors
/// If it is missing, or a message has something that would be left out.
pub fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let wanted = "an array of messages, like [{\"role\":\"user\",\"content\":\"Hello\"}]";
    let messages: Option<Vec<Map<String, Value>>> = fields.take("messages", wanted)?;
    let missing = || ApiError::missing("messages", format_args!("messages is missing: give {wanted}"));
    messages.ok_or_else(missing)?.into_iter().enumerate().map(message).collect()
}

/// One message. Whether its role may speak is the chat template's matter.
fn message((index, object): (usize, Map<String, Value>)) -> Result<Message, ApiError> {
    let place = format!("messages[{index}]");
    let mut fields = Fields::new(object);
    let role: Option<String> = fields.take("role", "system, user or assistant")?;
    let role = role.ok_or_else(|| ApiError::missing(&place, format_args!("{place} has no role")))?;
    let content = match fields.value("content") {
        Some(content) => text(&format!("{place}.content"), content)?,
        None => return Err(ApiError::missing(&place, format_args!("{place} has no content"))),
    };
    // What an answer of this server, sent back, may have.
    for name in ["tool_calls", "annotations"] {
        fields.only(name, &[json!([])])?;
    }
    fields.end(&format!("{place}."))?;
    let role = if role == "developer" { "system".to_string() } else { role };
    Ok(Message { role, content })
}

/// A content: a text, or parts that are texts.
fn text(place: &str, content: Value) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => parts.into_iter().map(|value| part(place, value)).collect(),
        other => {
            let other = shown(&other.to_string());
            Err(ApiError::invalid(place, format_args!("{place} is {other}: give a text, or an array of text parts")))
        }
    }
}

fn part(place: &str, value: Value) -> Result<String, ApiError> {
    let wrong = || {
        let value = shown(&value.to_string());
        ApiError::invalid(
            place,
            format_args!("{place}: {value} is no part like {{\"type\":\"text\",\"text\":\"Hello\"}}"),
        )
    };
    let Value::Object(object) = &value else { return Err(wrong()) };
    let mut fields = Fields::new(object.clone());
    match (fields.value("type"), fields.value("text")) {
        (Some(kind), Some(Value::String(text))) if kind == "text" => {
            fields.end(&format!("{place}."))?;
            Ok(text)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<(String, String)>, ApiError> {
        let read = messages(&mut Fields::parse(format!("{{\"messages\":{json}}}").as_bytes()).unwrap());
        read.map(|messages| messages.into_iter().map(|message| (message.role, message.content)).collect())
    }

    #[test]
    fn parts_are_joined_developers_are_the_system_and_nulls_are_absent() {
        let json = r#"[{"role":"developer","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c\n"}],"name":null},
            {"role":"assistant","content":"d","refusal":null,"tool_calls":[],"annotations":[]},
            {"role":"user","content":[]}]"#;
        let expected = [("system", "a"), ("user", "bc\n"), ("assistant", "d"), ("user", "")];
        assert_eq!(read(json), Ok(expected.map(|(role, content)| (role.to_string(), content.to_string())).to_vec()));
    }

    #[test]
    fn what_would_be_left_out_is_refused_by_name() {
        for (json, words) in [
            ("null", "messages is missing"),
            ("\"x\"", "messages is \"x\": give an array"),
            ("[1]", "messages is [1]: give an array"),
            (r#"[{"content":"x"}]"#, "messages[0] has no role"),
            (r#"[{"role":"user","content":"x"},{"role":"user"}]"#, "messages[1] has no content"),
            (r#"[{"role":"user","content":null}]"#, "messages[0] has no content"),
            (r#"[{"role":"user","content":1}]"#, "messages[0].content is 1"),
            (r#"[{"role":7,"content":"x"}]"#, "role is 7"),
            (r#"[{"role":"user","content":"x","name":"Ann"}]"#, "messages[0].name is not supported"),
            (r#"[{"role":"assistant","content":"x","tool_calls":[{}]}]"#, "tool_calls"),
            (r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#, "image_url"),
            (r#"[{"role":"user","content":["x"]}]"#, "no part"),
            (r#"[{"role":"user","content":[{"type":"text","text":"x","a":1}]}]"#, "messages[0].content.a"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
