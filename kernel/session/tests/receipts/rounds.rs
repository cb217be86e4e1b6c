//! Rounds of federated averaging: what clients give, what is refused, and what is verified.

use kernel::Exec;
use kernel::train::Optimizer;
use session::adapter::adapter_digest;
use session::aggregate::{Client, Round};
use session::receipt::{Given, Receipt, SecretKey};

use crate::model::{SEED, adapters, aggregated, clients, data, identity, model, options, train, verify};

/// A round of the three clients, with these receipts.
fn round(receipts: &[Receipt]) -> Result<Round, String> {
    let model = model(SEED);
    let given = clients(&model).into_iter().map(|(weight, _, adapted)| Client::new("c".to_string(), adapted, weight));
    let round = Round::new(given.map(Result::unwrap).collect()).unwrap();
    let named: Vec<(String, Vec<u8>)> =
        receipts.iter().zip(1..).map(|(receipt, n)| (format!("r{n}.json"), receipt.to_json())).collect();
    round.with_receipts(&identity(&model), &named).map_err(|error| error.to_string())
}

fn receipts() -> Vec<Receipt> {
    clients(&model(SEED)).into_iter().map(|(_, receipt, _)| receipt).collect()
}

#[test]
fn every_client_has_its_own_receipt_in_whatever_order_they_come() {
    let mut receipts = receipts();
    let issued = |receipts: &[Receipt]| {
        let (round, base) = (round(receipts).unwrap(), identity(&model(SEED)));
        round.receipt(&base, adapter_digest(&round.aggregate(Exec::serial())).unwrap()).unwrap()
    };
    let expected = aggregated(&model(SEED), true);
    assert_eq!(issued(&receipts), expected);
    receipts.rotate_left(1);
    assert_eq!(issued(&receipts), expected);
    for contribution in expected.aggregation.unwrap().clients {
        let training = contribution.receipt.unwrap().training.unwrap();
        assert_eq!(training.trained_sha256, contribution.adapter_sha256);
        assert!(training.data.is_none());
    }
    // Whoever signed has signed, and what was changed after it was signed is refused.
    receipts[0] = receipts[0].clone().sign(&SecretKey::from_bytes(&[3; 32]));
    assert_ne!(issued(&receipts), aggregated(&model(SEED), true));
    let mut forged = receipts[0].signature.clone().unwrap();
    forged.value.0[0] ^= 1;
    receipts[0].signature = Some(forged);
    assert!(round(&receipts).unwrap_err().contains("r1.json: its signature"));
}

#[test]
fn receipts_that_are_not_of_the_round_are_refused_by_name() {
    let (model, good) = (model(SEED), receipts());
    let adamw = options(Optimizer::adamw(0.0));
    let with = |place: usize, receipt: Receipt| {
        let mut all = good.clone();
        all[place] = receipt;
        round(&all).unwrap_err()
    };
    let open = train(&model, Some(11), &adamw, &data()[..1], false).0;
    assert!(with(0, open).contains("r1.json: it has the data"));
    let other = train(&model, Some(11), &adamw, &data()[..2], true).0;
    assert!(with(1, other).contains("r2.json is of a training that gave"));
    assert!(with(1, good[0].clone()).contains("is of a training that gave"), "one receipt serves one client");
    let generation = crate::model::generated(&model, &crate::model::request(2, |_| ()), true);
    assert!(with(2, generation).contains("r3.json: it is of a generation"));
    let mut changed = good[2].clone();
    changed.training.as_mut().unwrap().data_sha256.0[0] ^= 1;
    assert!(with(2, changed).contains("r3.json: its transcript"));
    let mut elsewhere = good[2].clone();
    elsewhere.model.weights_sha256.0[0] ^= 1;
    assert!(with(2, elsewhere).contains("r3.json: its weights have the digest"));
    // A client that began with an adapter of its own.
    let (receipt, adapted) = train(&model, Some(12), &adamw, &data()[..1], true);
    let [first, other] =
        [clients(&model).swap_remove(0).2, adapted].map(|adapted| Client::new("c".to_string(), adapted, 1).unwrap());
    let named = [("first".to_string(), good[0].to_json()), ("other".to_string(), receipt.to_json())];
    let apart =
        Round::new(vec![first, other]).unwrap().with_receipts(&identity(&model), &named).unwrap_err().to_string();
    assert!(apart.contains("it began with the adapter"), "{apart}");
    assert!(round(&good[..2]).unwrap_err().contains("2 receipts and 3 adapters"));
}

#[test]
fn an_aggregation_is_verified_with_the_adapters_of_its_clients() {
    let model = model(SEED);
    let (bytes, here) = (aggregated(&model, true).to_json(), adapters(&model));
    let given = |adapters: Vec<kernel::model::Model>| verify(&bytes, &model, Given { adapters, ..Given::default() });
    assert_eq!(given(here.iter().rev().cloned().collect()).word(), "MATCH");
    let missing = given(here[..2].to_vec());
    assert!(missing.word() == "CANNOT_VERIFY" && missing.why().unwrap().contains("2 are here"), "{missing:?}");
    // One that is another one, and one too many.
    let lora = here[0].adapter().unwrap().clone();
    let other = model.with_new_adapter(&lora, 99);
    let changed = given(vec![here[0].clone(), other.clone(), here[2].clone()]);
    assert!(changed.word() == "MISMATCH" && changed.step().is_some(), "{changed:?}");
    assert_eq!(given([&here[..], &[other]].concat()).word(), "MATCH");
    // It is of the base model; an adapter in use is in the way.
    let beside = verify(&bytes, &here[0], Given { adapters: here.clone(), ..Given::default() });
    assert!(beside.word() == "CANNOT_VERIFY" && beside.why().unwrap().contains("without"), "{beside:?}");
}

/// Every seventh digit and letter of a round with receipts, and all of one without: each of them is bound.
#[test]
fn every_digit_of_a_round_counts() {
    let model = model(SEED);
    let here = adapters(&model);
    for (with_receipts, step) in [(false, 1), (true, 7)] {
        let receipt = aggregated(&model, with_receipts).to_json();
        let places = receipt.iter().enumerate().filter(|(_, byte)| byte.is_ascii_hexdigit()).step_by(step);
        for (place, byte) in places {
            let mut bytes = receipt.clone();
            bytes[place] = if *byte == b'1' { b'2' } else { b'1' };
            let verdict = verify(&bytes, &model, Given { adapters: here.clone(), ..Given::default() });
            assert_ne!(verdict.word(), "MATCH", "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
