//! The text of a generation, token by token.

use bpe::{StreamDecoder, Tokenizer, UnknownToken};
use kernel::generate::{FinishReason, Step};

/// Turns the steps of one generation into pieces of text that, joined, are the whole text.
///
/// A character that needs more tokens is held back until they are there; the last step brings what is left. A token that
/// ends the generation (end of text) has no text of its own.
#[derive(Default)]
pub struct TextStream {
    decoder: StreamDecoder,
}

impl TextStream {
    /// The text that `step` completes.
    ///
    /// # Errors
    /// If the tokenizer has no such token: the vocabulary of the model is larger than the tokenizer's.
    pub fn push(&mut self, tokenizer: &Tokenizer, step: &Step) -> Result<String, UnknownToken> {
        let mut text = match step.finish_reason {
            Some(FinishReason::Stop) => String::new(),
            _ => self.decoder.push(tokenizer, step.token_id)?,
        };
        if step.finish_reason.is_some() {
            text.push_str(&std::mem::take(&mut self.decoder).finish());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `é` is two tokens here, 1 and 2; 3 ends a text.
    fn tokenizer() -> Tokenizer {
        let json = json!({
            "added_tokens": [{ "id": 3, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true }],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "vocab": { "a": 0, "Ã": 1, "©": 2, "<end>": 3 }, "merges": [] },
        });
        Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
    }

    /// The pieces of text of a generation of `ids`.
    fn pieces(ids: &[u32], reason: FinishReason) -> Vec<String> {
        let (tokenizer, mut text) = (tokenizer(), TextStream::default());
        let steps = ids.iter().enumerate().map(|(index, &token_id)| {
            let finish_reason = (index + 1 == ids.len()).then_some(reason);
            Step { step: index + 1, token_id, logits_sha256: [0; 32], finish_reason }
        });
        steps.map(|step| text.push(&tokenizer, &step).unwrap()).collect()
    }

    #[test]
    fn half_a_character_waits_for_the_other_half() {
        assert_eq!(pieces(&[0, 1, 2, 0], FinishReason::Length), ["a", "", "é", "a"]);
        assert_eq!(pieces(&[1, 0, 0], FinishReason::Length), ["", "\u{fffd}a", "a"]);
    }

    #[test]
    fn the_last_token_brings_what_was_held_back() {
        assert_eq!(pieces(&[0, 1], FinishReason::Length), ["a", "\u{fffd}"]);
        assert_eq!(pieces(&[0, 1, 3], FinishReason::Stop), ["a", "", "\u{fffd}"]);
    }

    #[test]
    fn the_token_that_ends_a_generation_has_no_text() {
        assert_eq!(pieces(&[0, 3], FinishReason::Stop), ["a", ""]);
        assert_eq!(pieces(&[3, 0, 3], FinishReason::Length), ["<end>", "a", "<end>"]);
    }
}
