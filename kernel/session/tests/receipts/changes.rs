//! Receipts that were changed: none of them matches, but where the changed one is true as well.

use proptest::prelude::*;
use session::adapter::{attach, export};
use session::receipt::{
    Given, Hex, MAX_BATCH_TOKENS, MAX_BYTES, MAX_IDS, MAX_STEPS, Receipt, SecretKey, SignatureState,
};
use session::{Continuation, Progress, Stop};

use crate::model::{
    PROMPT, SEED, data, generated, identity, model, options, request, scored, stopped, tokenizer, trained, verify,
};
use kernel::Exec;
use kernel::generate::{FinishReason, Logprobs, Request};
use kernel::model::Sequence;
use kernel::train::Optimizer;
use kernel::transcript::data_digest;

/// Where `receipt` may be changed and still be true: the bytes of these members.
fn free(receipt: &str, members: &[&str]) -> Vec<std::ops::Range<usize>> {
    let places = members.iter().map(|member| {
        let start = receipt.find(member).unwrap() + member.len();
        let len = receipt[start..].find([',', '}']).unwrap();
        start..start + len
    });
    places.collect()
}

/// A receipt, as its text, and what may be changed in it.
fn receipts() -> Vec<(String, Vec<std::ops::Range<usize>>)> {
    let model = model(SEED);
    let text = |receipt: Receipt| String::from_utf8(receipt.to_json()).unwrap();
    let greedy = text(generated(&model, &request(4, |_| ()), false));
    let drawn = request(200, |s| (s.temperature, s.seed) = (8.0, 3));
    let stops = text(generated(&model, &drawn, false));
    assert!(stops.contains("\"finish_reason\":\"stop\""));
    // A text that ends by itself ends there whatever the most tokens are.
    let most = free(&stops, &["\"max_tokens\":"]);
    // One that has no end token is the same without any.
    let ends = free(&greedy, &["\"end_tokens\":"]);
    // Longer stop strings may be complete with the same token.
    let stopped = text(stopped(&model, &request(80, |s| (s.temperature, s.seed) = (1.5, 3)), &["a"], false));
    assert!(stopped.contains("\"finish_reason\":\"stop\""));
    let stop = free(&stopped, &["\"max_tokens\":", "\"stop\":"]);
    let penalised = text(generated(
        &model,
        &request(6, |s| {
            (s.temperature, s.seed, s.stream) = (1.5, 4, 1);
            (s.frequency_penalty, s.presence_penalty, s.logit_bias) = (0.5, 0.25, vec![(7, -100.0), (10, 2.0)]);
        }),
        false,
    ));
    let no_ends = free(&penalised, &["\"end_tokens\":"]);
    let training = text(trained(&model, Some(1), &options(Optimizer::Sgd { momentum: 0.5 }), false));
    let scoring = text(scored(&model, false));
    let generations = [(greedy, ends), (stops, most), (stopped, stop), (penalised, no_ends)];
    generations.into_iter().chain([(training, vec![]), (scoring, vec![])]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_byte_is_a_match(which in 0..6_usize, place: prop::sample::Index, byte: u8, kind in 0..4_u8) {
        let (receipt, free) = receipts().swap_remove(which);
        let place = place.index(receipt.len());
        let mut bytes = receipt.clone().into_bytes();
        match kind {
            0 => bytes[place] = byte,
            1 => bytes.insert(place, byte),
            2 => drop(bytes.remove(place)),
            // Digits and letters are where a change can stay well-formed.
            _ => bytes[place] = b"0123456789abcdef"[usize::from(byte % 16)],
        }
        prop_assume!(bytes != receipt.as_bytes() && !free.iter().any(|range| range.contains(&place)));
        let verdict = verify(&bytes, &model(SEED), Given::default());
        prop_assert_ne!(verdict.word(), "MATCH", "{}", String::from_utf8_lossy(&bytes));
    }

    /// Whatever the bytes are, there is a verdict.
    #[test]
    fn bytes_that_are_no_receipt_are_malformed(bytes: Vec<u8>) {
        prop_assert_eq!(verify(&bytes, &model(SEED), Given::default()).word(), "MALFORMED");
    }
}

/// Every hexadecimal digit and every id of a receipt, one after the other: each of them is bound.
#[test]
fn every_digit_counts() {
    let model = model(SEED);
    let receipt = String::from_utf8(generated(&model, &request(3, |_| ()), false).to_json()).unwrap();
    let signed = Receipt::from_json(receipt.as_bytes()).unwrap().sign(&SecretKey::from_bytes(&[1; 32]));
    for (place, byte) in receipt.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_hexdigit()) {
        let mut bytes = receipt.clone().into_bytes();
        bytes[place] = if byte == b'1' { b'2' } else { b'1' };
        let verdict = verify(&bytes, &model, Given::default());
        assert_ne!(verdict.word(), "MATCH", "{}", String::from_utf8_lossy(&bytes));
        // What is still a receipt is not the one that was signed.
        if let Ok(mut changed) = Receipt::from_json(&bytes) {
            changed.signature = signed.signature.clone();
            assert_eq!(changed.signature_state().word(), "invalid");
        }
    }
    assert_eq!(signed.signature_state(), SignatureState::Valid(SecretKey::from_bytes(&[1; 32]).public_key()));
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let mut bytes = generated(&model(SEED), &request(2, |_| ()), false).to_json();
    bytes.resize(MAX_BYTES, b' ');
    assert!(Receipt::from_json(&bytes).unwrap_err().to_string().contains("canonical"));
    bytes.push(b' ');
    assert!(Receipt::from_json(&bytes).unwrap_err().to_string().contains(&(MAX_BYTES + 1).to_string()));
}

#[test]
fn a_private_receipt_tells_no_ids_and_needs_them() {
    let model = model(SEED);
    let request = request(9, |s| (s.temperature, s.seed) = (1.0, 4));
    let (open, private) = (generated(&model, &request, false), generated(&model, &request, true));
    assert!(private.is_private() && !open.is_private() && open.transcript_sha256 == private.transcript_sha256);
    let keys: serde_json::Value = serde_json::from_slice(&private.to_json()).unwrap();
    assert!(keys["generation"].get("token_ids").is_none() && keys["generation"]["request"].get("prompt_ids").is_none());
    let bytes = private.to_json();
    let given = |prompt: Option<Vec<u32>>| verify(&bytes, &model, Given { prompt, ..Given::default() });
    assert_eq!(given(None).word(), "CANNOT_VERIFY");
    assert_eq!(given(Some(vec![1, 2])).word(), "CANNOT_VERIFY");
    assert_eq!(given(Some(PROMPT.to_vec())).word(), "MATCH");
    // The digest of the output is checked, too.
    let text = String::from_utf8(bytes.clone()).unwrap();
    let place = text.find("token_ids_sha256\":\"").unwrap() + 19;
    let mut changed = bytes.clone();
    changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
    let verdict = verify(&changed, &model, Given { prompt: Some(PROMPT.to_vec()), ..Given::default() });
    assert_eq!((verdict.word(), verdict.step()), ("MISMATCH", None));
}

#[test]
fn log_probabilities_are_no_part_of_a_receipt_and_a_scored_prompt_has_none() {
    let (model, tokenizer) = (model(SEED), tokenizer());
    let run = |max_tokens| {
        let logprobs = Some(Logprobs { top: 3, prompt: true });
        let request = Request { logprobs, ..request(max_tokens, |s| (s.temperature, s.seed) = (1.0, 4)) };
        let mut text = Continuation::new(&model, request, Stop::default()).unwrap();
        loop {
            if let Progress::Finished(reason) = text.advance(&model, &tokenizer, Exec::serial()).unwrap() {
                return (text, reason);
            }
        }
    };
    let (text, _) = run(3);
    assert_eq!((text.generation().logprobs().len(), text.generation().prompt_logprobs().len()), (3, PROMPT.len() - 1));
    let plain = generated(&model, &request(3, |s| (s.temperature, s.seed) = (1.0, 4)), false);
    assert_eq!(text.receipt(&model, &identity(&model), false).unwrap(), plain);
    let (scored, reason) = run(0);
    assert_eq!(
        (scored.generation().prompt_logprobs(), reason),
        (text.generation().prompt_logprobs(), FinishReason::Length)
    );
    let refused = scored.receipt(&model, &identity(&model), false).unwrap_err().to_string();
    assert!(refused.contains("no tokens"), "{refused}");
}

#[test]
fn an_adapter_is_part_of_what_is_verified() {
    let base = model(SEED);
    let lora = kernel::model::LoraConfig::new(base.config(), 2, 4.0, &["v_proj"]).unwrap();
    let adapted = base.with_new_adapter(&lora, 9);
    let files = export(&adapted, "tiny").unwrap();
    let other = attach(&base.with_new_adapter(&lora, 10), &files.adapter_config, files.adapter_model).unwrap();
    assert_eq!(identity(&other), identity(&adapted));
    let receipt = generated(&adapted, &request(3, |_| ()), false).to_json();
    assert_eq!(verify(&receipt, &other, Given::default()).word(), "MATCH");
    for wrong in [&base, &base.with_new_adapter(&lora, 10)] {
        let verdict = verify(&receipt, wrong, Given::default());
        assert!(verdict.word() == "CANNOT_VERIFY" && verdict.why().unwrap().contains("adapter"), "{verdict:?}");
    }
    let plain = generated(&base, &request(3, |_| ()), false).to_json();
    assert_eq!(verify(&plain, &adapted, Given::default()).word(), "CANNOT_VERIFY");
}

#[test]
fn a_private_training_or_scoring_needs_its_data() {
    let model = model(SEED);
    let training = trained(&model, None, &options(Optimizer::Sgd { momentum: 0.0 }), true);
    for bytes in [training.to_json(), scored(&model, true).to_json()] {
        let given = |data| verify(&bytes, &model, Given { data, ..Given::default() });
        assert_eq!(given(None).word(), "CANNOT_VERIFY");
        assert_eq!(given(Some(data()[1..].to_vec())).word(), "CANNOT_VERIFY");
        assert_eq!(given(Some(data())).word(), "MATCH");
    }
}

#[test]
fn data_that_the_model_does_not_take_cannot_be_verified() {
    let model = model(SEED);
    let config = model.config();
    let unknown = vec![1, config.vocab as u32, 2];
    let long = vec![1; config.context + 1];
    for tokens in [unknown, long] {
        let data = vec![Sequence::new(tokens); 3];
        let mut training = trained(&model, None, &options(Optimizer::Sgd { momentum: 0.0 }), true);
        training.training.as_mut().unwrap().data_sha256 = Hex(data_digest(&data));
        let mut scoring = scored(&model, true);
        scoring.scoring.as_mut().unwrap().data_sha256 = Hex(data_digest(&data));
        for receipt in [training, scoring] {
            let verdict = verify(&receipt.to_json(), &model, Given { data: Some(data.clone()), ..Given::default() });
            assert!(
                verdict.word() == "CANNOT_VERIFY" && verdict.why().unwrap().contains("does not take"),
                "{verdict:?}"
            );
        }
    }
}

#[test]
fn too_little_memory_is_no_verdict_on_the_training() {
    use session::receipt::Verification;
    let model = model(SEED);
    let receipt = trained(&model, None, &options(Optimizer::Sgd { momentum: 0.0 }), false);
    let refuse = |bytes: u64| Err(format!("{bytes} bytes are too many"));
    let refused = |receipt: &Receipt| {
        let verdict = Verification::begin(receipt, &model, &identity(&model), Given::default(), &refuse).unwrap_err();
        assert!(verdict.word() == "CANNOT_VERIFY" && verdict.why().unwrap().contains("too many"), "{verdict:?}");
    };
    refused(&receipt);
    // An adapter of a receipt can be as large as the model: nothing is made of it before.
    let mut wide = trained(&model, Some(7), &options(Optimizer::Sgd { momentum: 0.0 }), false);
    wide.training.as_mut().unwrap().adapter.as_mut().unwrap().rank = model.config().dim as u32;
    refused(&wide);
}

#[test]
fn what_no_receipt_can_hold_is_known_before_it_is_computed() {
    let long = Receipt::check_generation_limits(&request(MAX_STEPS + 1, |_| ())).unwrap_err().to_string();
    assert!(long.contains("131073") && long.contains("131072"), "{long}");
    assert!(Receipt::check_generation_limits(&request(MAX_STEPS, |_| ())).is_ok());
    let check = |steps, batch, private| Receipt::check_training_limits(steps, &data(), batch, private);
    assert!(check(5, 2, false).is_ok());
    assert!(check(MAX_STEPS as u64 + 1, 2, false).is_err());
    assert!(check(5, MAX_BATCH_TOKENS / 5, false).is_ok() && check(5, MAX_BATCH_TOKENS / 5 + 1, false).is_err());
    let much = [Sequence::new(vec![1; MAX_IDS + 1])];
    assert!(Receipt::check_training_limits(1, &much, 1, false).is_err());
    assert!(Receipt::check_training_limits(1, &much, 1, true).is_ok());
    assert!(Receipt::check_scoring_limits(&much, false).is_err() && Receipt::check_scoring_limits(&much, true).is_ok());
    let lines = vec![Sequence::new(vec![1, 2]); MAX_STEPS + 1];
    assert!(Receipt::check_scoring_limits(&lines, true).is_err());
    assert!(Receipt::check_scoring_limits(&lines[1..], true).is_ok());
}
