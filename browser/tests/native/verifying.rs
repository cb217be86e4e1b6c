//! The engine's receipts are verified by the engine, whatever it was trained to in between.

use browser::engine::{Advance, Engine, Run};
use browser::verifying::{LeftOut, Verifying};
use kernel::Exec;
use kernel::generate::{Sampler, SamplerSettings};
use kernel::model::Sequence;
use kernel::score::Scoring;
use session::receipt::{Progress, ScoringTerms, SignatureState, Verdict};

use crate::training::{FULL, SGD, TEXT, begin, engine, lora, model};

/// The receipt of a generation with what the engine uses now.
fn generated(engine: &Engine) -> String {
    let settings = SamplerSettings { temperature: 1.0, seed: 5, ..Default::default() };
    let mut run = Run::new(engine, vec![1, 2], 6, Sampler::new(settings).unwrap(), vec![]).unwrap();
    loop {
        if let Advance::Token { end: Some(end), .. } = run.advance(engine).unwrap() {
            return end.receipt.unwrap();
        }
    }
}

/// The receipt of a training of two steps.
fn trained(engine: &mut Engine, adapter: bool) -> String {
    let method = if adapter { lora(4) } else { FULL };
    begin(engine, TEXT, 0.1, SGD, method).unwrap();
    for _ in 0..2 {
        engine.train_step().unwrap();
    }
    engine.finish_training().unwrap().receipt.unwrap()
}

fn verify(engine: &Engine, receipt: &str) -> Verdict {
    verify_with(engine, receipt, LeftOut::default())
}

fn verify_with(engine: &Engine, receipt: &str, left_out: LeftOut) -> Verdict {
    let mut verifying = Verifying::begin(engine, receipt.as_bytes(), left_out).unwrap();
    loop {
        if let Progress::Done(verdict) = verifying.advance(engine).unwrap() {
            // There is one verdict, however often it is asked for.
            assert_eq!(verifying.advance(engine).unwrap(), Progress::Done(verdict.clone()));
            return verdict;
        }
    }
}

#[test]
fn what_the_engine_issues_matches() {
    let mut engine = engine();
    let base = generated(&engine);
    assert_eq!(verify(&engine, &base), Verdict::Match);
    for adapter in [false, true] {
        let training = trained(&mut engine, adapter);
        let after = generated(&engine);
        // With what was learnt in use, receipts of the base weights and of those in use are verified alike.
        for receipt in [&base, &training, &after] {
            assert_eq!(verify(&engine, receipt), Verdict::Match, "{receipt}");
        }
        engine.reset().unwrap();
        assert_eq!(verify(&engine, &training), Verdict::Match);
        assert_eq!(verify(&engine, &after).word(), "CANNOT_VERIFY");
    }
}

#[test]
fn what_was_changed_does_not_match() {
    let engine = engine();
    let receipt = generated(&engine);
    let place = receipt.find("\"token_ids\":[").unwrap() + 13;
    let digit = &receipt[place..=place];
    let other = format!("{}{}{}", &receipt[..place], if digit == "1" { "2" } else { "1" }, &receipt[place + 1..]);
    let verdict = verify(&engine, &other);
    assert_eq!((verdict.word(), verdict.step()), ("MISMATCH", Some(1)));
    assert_eq!(verify(&engine, &receipt.replace(':', ": ")).word(), "MALFORMED");
    assert_eq!(verify(&engine, "").word(), "MALFORMED");
}

#[test]
fn a_scoring_is_computed_again() {
    let (engine, model) = (engine(), model());
    let data = [Sequence::new(vec![1, 2, 0, 1])];
    let mut scoring = Scoring::new(&model, data[0].clone()).unwrap();
    let scores = scoring.advance(&model, Exec::serial()).unwrap().unwrap();
    let terms = ScoringTerms { identity: engine.identity(), data: &data, private: false };
    let receipt = String::from_utf8(terms.receipt(&[scores]).unwrap().to_json()).unwrap();
    assert_eq!(verify(&engine, &receipt), Verdict::Match);
    let about = Verifying::begin(&engine, receipt.as_bytes(), LeftOut::default()).unwrap().about.unwrap();
    assert_eq!((about.kind, about.steps, about.private), ("scoring", 1, false));
    let place = receipt.find("\"sum_bits\":[\"").unwrap() + 20;
    let digit = if &receipt[place..=place] == "1" { "2" } else { "1" };
    let verdict = verify(&engine, &format!("{}{digit}{}", &receipt[..place], &receipt[place + 1..]));
    assert_eq!((verdict.word(), verdict.step()), ("MISMATCH", Some(1)));
}

#[test]
fn a_receipt_says_what_it_is_about() {
    let engine = engine();
    let about = Verifying::begin(&engine, generated(&engine).as_bytes(), LeftOut::default()).unwrap().about.unwrap();
    assert_eq!((about.kind, about.private, about.signature), ("generation", false, SignatureState::None));
    let (prompt, tokens) = about.ids.unwrap();
    assert_eq!((prompt, tokens.len()), (vec![1, 2], about.steps));
    assert_eq!(Verifying::begin(&engine, b"{}", LeftOut::default()).unwrap().about, None);
}

#[test]
fn weights_do_not_change_under_a_verification() {
    let mut engine = engine();
    let receipt = generated(&engine);
    let verifying = Verifying::begin(&engine, receipt.as_bytes(), LeftOut::default()).unwrap();
    assert!(begin(&mut engine, TEXT, 0.1, SGD, FULL).unwrap_err().contains("wait"));
    drop(verifying);
    begin(&mut engine, TEXT, 0.1, SGD, FULL).unwrap();
    assert!(Verifying::begin(&engine, receipt.as_bytes(), LeftOut::default()).is_err());
}

/// The receipt of the engine's training without its data, as another program would issue it.
fn hidden(receipt: &str) -> String {
    let mut keys: serde_json::Value = serde_json::from_str(receipt).unwrap();
    keys["training"].as_object_mut().unwrap().remove("data").unwrap();
    keys.to_string()
}

#[test]
fn a_private_training_is_verified_with_its_text_or_its_lines() {
    let mut engine = engine();
    let private = hidden(&trained(&mut engine, true));
    let line = format!("{}\n", serde_json::json!({ "text": TEXT })).into_bytes();
    let text = |text: &str| LeftOut { text: Some(text.to_string()), ..LeftOut::default() };
    let lines = |lines: Vec<u8>| LeftOut { lines: Some(lines), ..LeftOut::default() };
    assert_eq!(verify(&engine, &private).word(), "CANNOT_VERIFY");
    assert_eq!(verify_with(&engine, &private, text(TEXT)), Verdict::Match);
    assert_eq!(verify_with(&engine, &private, lines(line.clone())), Verdict::Match);
    assert_eq!(verify_with(&engine, &private, lines([line.clone(), line].concat())).word(), "CANNOT_VERIFY");
    assert_eq!(verify_with(&engine, &private, text("aéa")).word(), "CANNOT_VERIFY");
    let error = Verifying::begin(&engine, private.as_bytes(), lines(b"{}".to_vec())).err().unwrap().to_string();
    assert!(error.contains("line 1"), "{error}");
}
