//! The field `prompt`: a text, ids, or several of either.

use serde_json::Value;

use super::fields::Fields;
use super::request::Prompt;
use crate::serve::api_error::{ApiError, shown};

/// Reads the field.
///
/// # Errors
/// If it is missing, or none of the four forms.
pub fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let Some(value) = fields.value("prompt") else {
        return Err(ApiError::missing("prompt", "prompt is missing: give a text, token ids, or an array of either"));
    };
    let one = matches!(&value, Value::String(_)) || matches!(&value, Value::Array(v) if v.iter().all(Value::is_number));
    match value {
        value if one => Ok(vec![prompt(value)?]),
        Value::Array(values) => values.into_iter().map(prompt).collect(),
        value => prompt(value).map(|prompt| vec![prompt]),
    }
}

/// One prompt.
fn prompt(value: Value) -> Result<Prompt, ApiError> {
    match value {
        Value::String(text) if text.is_empty() => Err(empty()),
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(ids) if ids.is_empty() => Err(empty()),
        Value::Array(ids) => ids.iter().map(id).collect::<Result<_, _>>().map(Prompt::Ids),
        value => Err(wrong(&value)),
    }
}

fn id(value: &Value) -> Result<u32, ApiError> {
    value.as_u64().and_then(|id| id.try_into().ok()).ok_or_else(|| wrong(value))
}

fn wrong(value: &Value) -> ApiError {
    let value = shown(&value.to_string());
    ApiError::invalid("prompt", format_args!("prompt: {value} is neither a text nor token ids"))
}

fn empty() -> ApiError {
    ApiError::invalid("prompt", "prompt has no tokens: give at least one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<Prompt>, ApiError> {
        prompts(&mut Fields::parse(format!("{{\"prompt\":{json}}}").as_bytes()).unwrap())
    }

    #[test]
    fn the_four_forms_and_their_mixture() {
        let text = |text: &str| Prompt::Text(text.to_string());
        for (json, expected) in [
            (r#""x""#, vec![text("x")]),
            (r#"["x"]"#, vec![text("x")]),
            (r#"["x","y"]"#, vec![text("x"), text("y")]),
            ("[1,2]", vec![Prompt::Ids(vec![1, 2])]),
            ("[[1,2],[3]]", vec![Prompt::Ids(vec![1, 2]), Prompt::Ids(vec![3])]),
            (r#"[[1],"x"]"#, vec![Prompt::Ids(vec![1]), text("x")]),
        ] {
            assert_eq!(read(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        for (json, words) in [
            ("null", "missing"),
            (r#""""#, "no tokens"),
            ("[]", "no tokens"),
            ("[[1],[]]", "no tokens"),
            (r#"["x",""]"#, "no tokens"),
            ("{}", "{} is neither"),
            ("7", "7 is neither"),
            (r#"[1,"x"]"#, "1 is neither"),
            ("[1,-2]", "-2 is neither"),
            ("[1.5]", "1.5 is neither"),
            ("[4294967296]", "4294967296 is neither"),
            ("[[1,[2]]]", "[2] is neither"),
            ("[true]", "true is neither"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
