//! The text of a generation, token by token.

use bpe::{StreamDecoder, Tokenizer, UnknownToken};
use kernel::generate::{FinishReason, Step};

use crate::Stop;

/// Turns the steps of one generation into pieces of text that, joined, are the whole text, and finds where it ends.
///
/// A character that needs more tokens is held back until they are there, and so is what may become a stop string; the last
/// step brings what is left. A token that ends the generation (end of text) has no text of its own.
#[derive(Default, Debug)]
pub struct TextStream {
    decoder: StreamDecoder,
    stop: Stop,
    /// What may be the beginning of a stop string.
    held: String,
}

impl TextStream {
    /// A text that ends before the first stop string, if it comes to have one.
    pub fn new(stop: Stop) -> TextStream {
        TextStream { stop, ..TextStream::default() }
    }

    /// The stop strings.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The text that `step` gives out. A step that completes a stop string is the last one, and becomes so: its
    /// `finish_reason` is `Stop` then, also where it was the last one that was asked for.
    ///
    /// # Errors
    /// If the tokenizer has no such token: the vocabulary of the model is larger than the tokenizer's.
    pub fn push(&mut self, tokenizer: &Tokenizer, step: &mut Step) -> Result<String, UnknownToken> {
        if step.finish_reason != Some(FinishReason::Stop) {
            self.held.push_str(&self.decoder.push(tokenizer, step.token_id)?);
        }
        if step.finish_reason.is_some() {
            self.held.push_str(&std::mem::take(&mut self.decoder).finish());
        }
        if let Some(at) = self.stop.find(&self.held) {
            step.finish_reason = Some(FinishReason::Stop);
            self.held.truncate(at);
        }
        let waiting = if step.finish_reason.is_some() { 0 } else { self.stop.begun(&self.held) };
        let kept = self.held.split_off(self.held.len() - waiting);
        Ok(std::mem::replace(&mut self.held, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `é` is two tokens here, 1 and 2; 3 ends a text; 4 and 5 are several characters.
    fn tokenizer() -> Tokenizer {
        let json = json!({
            "added_tokens": [{ "id": 3, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true }],
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "vocab": { "a": 0, "Ã": 1, "©": 2, "<end>": 3, "b": 4, "ab": 5 },
                "merges": ["a b"] },
        });
        Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
    }

    /// The pieces of text of a generation of `ids`, up to the step that ends it, and why that ends it.
    fn stopped(ids: &[u32], reason: FinishReason, stop: &[&str]) -> (Vec<String>, FinishReason) {
        let stop = Stop::new(stop.iter().map(|stop| stop.to_string()).collect()).unwrap();
        let (tokenizer, mut text, mut pieces) = (tokenizer(), TextStream::new(stop), Vec::new());
        for (index, &token_id) in ids.iter().enumerate() {
            let finish_reason = (index + 1 == ids.len()).then_some(reason);
            let mut step = Step { step: index + 1, token_id, logits_sha256: [0; 32], finish_reason };
            pieces.push(text.push(&tokenizer, &mut step).unwrap());
            if let Some(reason) = step.finish_reason {
                return (pieces, reason);
            }
        }
        unreachable!("the last step has a reason")
    }

    fn pieces(ids: &[u32], reason: FinishReason) -> Vec<String> {
        stopped(ids, reason, &[]).0
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

    #[test]
    fn a_text_ends_before_a_stop_string() {
        use FinishReason::{Length, Stop};
        let all = [0, 4, 0, 1, 2, 5, 0];
        for (ids, stop, expected) in [
            // Within a token, and a token that is one.
            (&all[..], &["b"][..], (&["a", ""][..], Stop)),
            (&[4, 5, 0], &["a"], (&["b", ""], Stop)),
            // Across tokens; the beginning waits.
            (&all, &["ba"], (&["a", "", ""], Stop)),
            // Half a character in the middle of one.
            (&all, &["aéa"], (&["", "ab", "", "", "", ""], Stop)),
            // What turns out to be none is given out, as soon as that is known.
            (&all, &["abb"], (&["", "", "ab", "", "aé", "", "aba"], Length)),
            (&[0, 0, 0, 4], &["aab"], (&["", "", "a", ""], Stop)),
            // The last token that was asked for completes one.
            (&[0, 4], &["b"], (&["a", ""], Stop)),
            // What is held back at the end of the text is given out.
            (&[0, 4], &["bc"], (&["a", "b"], Length)),
        ] {
            let (pieces, reason) = stopped(ids, Length, stop);
            assert_eq!(
                (pieces.iter().map(String::as_str).collect::<Vec<_>>(), reason),
                (expected.0.to_vec(), expected.1),
                "{ids:?} {stop:?}"
            );
        }
        assert_eq!(stopped(&[0, 4, 3], Stop, &["bc"]).0, ["a", "", "b"]);
        assert_eq!(stopped(&[0, 3, 4], Length, &["<end>b"]).0, ["a", "", ""]);
    }

    /// However a text is cut into tokens, the same text comes out.
    #[test]
    fn tokens_do_not_decide_where_a_text_ends() {
        for stop in [&["ab"][..], &["ba", "aba"], &["bb"], &["aab", "b"], &["abab"]] {
            let joined = |ids: &[u32]| stopped(ids, FinishReason::Length, stop).0.concat();
            assert_eq!(joined(&[5, 5, 0, 5, 4]), joined(&[0, 4, 0, 4, 0, 0, 4, 4]), "{stop:?}");
        }
    }
}
