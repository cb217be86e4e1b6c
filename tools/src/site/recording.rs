//! The native runs that fill the native column where no server answers.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::SiteError;
use crate::file::at;
use crate::process;
use crate::workspace::Workspace;

/// Tokens of a recorded run: what the page asks for at first.
const MAX_TOKENS: u32 = 25;

/// Runs `lockstep generate` for each example prompt of the page. The answer is a JSON list of what it printed, with the
/// `prompt`, the `max_tokens` and the `receipt` of each. The receipts are written into the folder `site` on the way, and removed.
pub(super) fn record(workspace: &Workspace, model: &Path, site: &Path) -> Result<String, SiteError> {
    let file = site.join("receipt.json");
    let examples = workspace.root.join("browser/page/examples.json");
    let prompts = prompts(&std::fs::read(&examples).map_err(at(&examples))?)
        .map_err(|reason| SiteError::Json { what: workspace.short(&examples).to_string(), reason })?;
    let runs = prompts.into_iter().map(|prompt| {
        let mut generate = Command::new(workspace.lockstep());
        generate.args(["generate", "--json", "--max-tokens", &MAX_TOKENS.to_string(), "--prompt", &prompt]);
        generate.arg("--model").arg(model).arg("--receipt").arg(&file);
        let printed = process::capture(&mut generate)?;
        let receipt = std::fs::read(&file).map_err(at(&file))?;
        recorded(&prompt, &printed, &receipt)
            .map_err(|reason| SiteError::Json { what: format!("what `{}` printed", process::line(&generate)), reason })
    });
    let runs: Vec<Value> = runs.collect::<Result<_, SiteError>>()?;
    std::fs::remove_file(&file).map_err(at(&file))?;
    Ok(format!("{:#}\n", Value::from(runs)))
}

/// The page's examples: a list of texts.
fn prompts(json: &[u8]) -> Result<Vec<String>, String> {
    let prompts: Vec<String> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if prompts.is_empty() { Err("it lists no prompt".into()) } else { Ok(prompts) }
}

/// The run with its request and its receipt, if it has all that the page shows.
fn recorded(prompt: &str, printed: &str, receipt: &[u8]) -> Result<Value, String> {
    let mut run: Value = serde_json::from_str(printed).map_err(|error| error.to_string())?;
    let length = |key: &str| run[key].as_array().map(Vec::len).ok_or(format!("it has no list {key:?}"));
    let (ids, digests) = (length("token_ids")?, length("logits_sha256")?);
    if ids == 0 || ids != digests {
        return Err(format!("it has {ids} token_ids and {digests} logits_sha256"));
    }
    run["prompt"] = json!(prompt);
    run["max_tokens"] = json!(MAX_TOKENS);
    run["receipt"] = serde_json::from_slice(receipt).map_err(|error| format!("its receipt: {error}"))?;
    if run["receipt"]["transcript_sha256"] != run["transcript_sha256"] {
        return Err("its receipt is of another transcript".into());
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_a_list_of_texts() {
        assert_eq!(prompts(br#"["a", "b"]"#).unwrap(), ["a", "b"]);
        for bad in [&b"[]"[..], b"{}", b"[1]", b"["] {
            assert!(prompts(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_run_keeps_what_was_printed_and_gets_its_request() {
        let printed = r#"{"token_ids":[5],"logits_sha256":["ab"],"text":"!","transcript_sha256":"cd"}"#;
        let run = recorded("Hi", printed, br#"{"transcript_sha256":"cd"}"#).unwrap();
        assert_eq!(run["receipt"].to_string(), r#"{"transcript_sha256":"cd"}"#);
        assert!(recorded("Hi", printed, br#"{"transcript_sha256":"ce"}"#).is_err());
        assert!(recorded("Hi", printed, b"").is_err());
        assert_eq!(run["prompt"], "Hi");
        assert_eq!(run["max_tokens"], 25);
        assert_eq!(run["text"], "!");
    }

    #[test]
    fn a_run_without_a_digest_for_each_token_is_refused() {
        for bad in [
            r#"{"token_ids":[5]}"#,
            r#"{"token_ids":[5,6],"logits_sha256":["ab"]}"#,
            r#"{"token_ids":[],"logits_sha256":[]}"#,
            "no JSON",
        ] {
            assert!(recorded("Hi", bad, b"{}").is_err(), "{bad}");
        }
    }
}
