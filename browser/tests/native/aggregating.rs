//! Adapters of several clients, put together by the engine: the same bits and the same receipt as natively.

use browser::engine::Engine;
use browser::training::{Lesson, Method, Settings};
use browser::verifying::{LeftOut, Verifying};
use kernel::Exec;
use kernel::model::Model;
use session::adapter::{AdapterFiles, Shape, adapter_digest};
use session::aggregate::{Client, Round};
use session::receipt::{Progress, Verdict};

use crate::training::{ADAMW, TEXT, engine};

/// What a client gives after two steps on a text: the adapter and the private receipt.
fn client(engine: &mut Engine, text: &str) -> (AdapterFiles, Vec<u8>) {
    let method = Method::Lora { shape: Shape { rank: Some(1), ..Shape::default() }, seed: 4 };
    let settings = Settings { learning_rate: 0.1, optimizer: ADAMW, method, private: true };
    engine.begin_training(&Lesson::Text(text.to_owned()), &settings).unwrap();
    for _ in 0..2 {
        engine.train_step().unwrap();
    }
    let receipt = engine.finish_training().unwrap().receipt.unwrap();
    assert!(!receipt.contains("\"data\":["), "{receipt}");
    (engine.export_adapter().unwrap(), receipt.into_bytes())
}

fn clients(engine: &mut Engine) -> (Vec<AdapterFiles>, Vec<Vec<u8>>) {
    [TEXT, "éaéa<end>"].iter().map(|text| client(engine, text)).unzip()
}

fn adapted(engine: &Engine, files: &[AdapterFiles]) -> Vec<Model> {
    let adapted = |AdapterFiles { adapter_config, adapter_model }: &AdapterFiles| {
        engine.adapted(adapter_config, adapter_model.len(), |room| room.copy_from_slice(adapter_model)).unwrap()
    };
    files.iter().map(adapted).collect()
}

fn verify(engine: &Engine, receipt: &str, adapters: Vec<Model>) -> Verdict {
    let mut verifying =
        Verifying::begin(engine, receipt.as_bytes(), LeftOut { adapters, ..LeftOut::default() }).unwrap();
    loop {
        if let Progress::Done(verdict) = verifying.advance(engine).unwrap() {
            return verdict;
        }
    }
}

#[test]
fn the_engine_puts_together_what_session_does() {
    let mut engine = engine();
    let (files, receipts) = clients(&mut engine);
    let made = engine.aggregate(adapted(&engine, &files), &[3, 1], receipts).unwrap();
    let round = adapted(&engine, &files).into_iter().zip([3, 1]);
    let round = round.map(|(adapted, weight)| Client::new("c".to_string(), adapted, weight).unwrap());
    let expected = Round::new(round.collect()).unwrap().aggregate(Exec::serial());
    assert_eq!(made.digest, loader::digest::hex(&adapter_digest(&expected).unwrap()));
    // The last client's adapter is still the one in use, and nothing changes when the aggregate is taken instead.
    let AdapterFiles { adapter_config, adapter_model } = &made.files;
    engine.load_adapter(adapter_config, adapter_model.len(), |room| room.copy_from_slice(adapter_model)).unwrap();
    assert_eq!(engine.identity().adapter, adapter_digest(&expected));
    // Verified with an adapter in use, and without.
    assert_eq!(verify(&engine, &made.receipt, adapted(&engine, &files)), Verdict::Match);
    engine.reset().unwrap();
    assert_eq!(verify(&engine, &made.receipt, adapted(&engine, &files)), Verdict::Match);
    assert_eq!(verify(&engine, &made.receipt, adapted(&engine, &files[1..])).word(), "CANNOT_VERIFY");
    let mut changed = files.clone();
    let last = changed[1].adapter_model.len() - 2;
    changed[1].adapter_model[last] ^= 1;
    assert_eq!(verify(&engine, &made.receipt, adapted(&engine, &changed)).word(), "MISMATCH");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut engine = engine();
    let (files, receipts) = clients(&mut engine);
    let refused = |told: &[u32], receipts: &[Vec<u8>]| {
        engine.aggregate(adapted(&engine, &files), told, receipts.to_vec()).unwrap_err().to_string()
    };
    assert!(refused(&[1], &[]).contains("1 weights and 2 adapters"));
    assert!(refused(&[], &receipts[..1]).contains("1 receipts and 2 adapters"));
    let twice = [receipts[0].clone(), receipts[0].clone()];
    assert!(refused(&[], &twice).contains("is of a training that gave"));
    assert!(engine.aggregate(vec![], &[], vec![]).unwrap_err().to_string().contains("at least one"));
    assert!(engine.adapted(b"{}", 0, |_| ()).is_err());
}
