//! Whose turn it is next.

use super::*;
use crate::serve::engine::SubmitError;
use crate::serve::engine::prefixes::Prefixes;
use crate::serve::engine::tests::{generation, job, model};

const CONTEXT: usize = 512;

/// Some that wait, and some that advance.
#[derive(Default)]
struct House {
    waiting: Waiting,
    asked: u64,
}

impl House {
    /// Requests of a caller, each of so many choices of so many tokens; their numbers count on.
    fn ask(&mut self, caller: u64, requests: usize, choices: usize, tokens: usize) {
        let model = model();
        for _ in 0..requests {
            let places = Arc::new(Places::default()).take(Caller(caller), choices).unwrap();
            for place in places {
                let (job, events) = job(generation(&model, 1, tokens - 1), Caller(caller), self.asked);
                // Nobody asks whether the client is there.
                drop(events);
                self.waiting.push(Box::new(job), place);
            }
            self.asked += 1;
        }
    }

    /// Lets all begin that may: the numbers of their requests.
    fn begin(&mut self, rounds: &mut Rounds, callers: usize) -> Vec<u64> {
        let mut begun = Vec::new();
        while let Some(job) = self.waiting.next(rounds, callers, CONTEXT) {
            begun.push(job.request);
            rounds.begin(job, None);
        }
        begun
    }
}

fn nobody() -> Rounds {
    Rounds::new(Prefixes::new(0))
}

#[test]
fn one_caller_s_requests_do_not_hold_up_another_s() {
    let (mut house, mut rounds) = (House::default(), nobody());
    house.ask(1, 30, 1, 20);
    house.ask(2, 1, 1, 20);
    assert_eq!(house.begin(&mut rounds, 2)[..3], [0, 30, 1]);
    // They have all places now: who comes third is the next, and the second one of the second caller before those of the first.
    house.ask(2, 1, 1, 20);
    house.ask(3, 1, 1, 20);
    assert_eq!((rounds.len(), house.begin(&mut rounds, 3)), (ACTIVE, vec![]));
    let mut fewer = nobody();
    for caller in [1, 1, 1, 2] {
        let (job, _) = job(generation(&model(), 1, 5), Caller(caller), 99);
        fewer.begin(job, None);
    }
    assert_eq!(house.begin(&mut fewer, 3)[..4], [32, 31, 15, 16]);
}

#[test]
fn who_has_none_finds_a_place_whatever_another_asks() {
    for (callers, first) in [(1, ACTIVE), (2, ACTIVE - 1), (4, ACTIVE - 3), (100, ACTIVE / 2)] {
        let (mut house, mut rounds) = (House::default(), nobody());
        house.ask(1, 32, 1, 20);
        assert_eq!(house.begin(&mut rounds, callers).len(), first, "{callers} callers");
        if callers > 1 {
            house.ask(2, 2, 1, 20);
            assert_eq!(house.begin(&mut rounds, callers)[0], 32, "{callers} callers");
        }
    }
}

#[test]
fn who_has_none_finds_memory_whatever_another_asks() {
    let (mut house, mut rounds) = (House::default(), nobody());
    house.ask(1, 10, 1, CONTEXT);
    assert_eq!(house.begin(&mut rounds, 2), [0, 1, 2]);
    house.ask(2, 2, 1, CONTEXT);
    assert_eq!(house.begin(&mut rounds, 2), [10]);
    // Where nobody else may call, nothing is kept.
    let (mut house, mut rounds) = (House::default(), nobody());
    house.ask(0, 10, 1, CONTEXT);
    assert_eq!(house.begin(&mut rounds, 1), [0, 1, 2, 3]);
}

#[test]
fn a_request_of_many_choices_does_not_hold_up_one_of_a_single_choice() {
    let (mut house, mut rounds) = (House::default(), nobody());
    house.ask(0, 1, 30, 20);
    house.ask(0, 2, 1, 20);
    assert_eq!(house.begin(&mut rounds, 1)[..5], [0, 1, 2, 0, 0]);
}

#[test]
fn who_came_first_begins_first_and_a_long_text_is_not_passed_over() {
    let (mut house, mut rounds) = (House::default(), nobody());
    house.ask(0, 3, 1, CONTEXT);
    house.ask(0, 1, 1, 20);
    house.ask(0, 1, 1, CONTEXT);
    house.ask(0, 5, 1, 20);
    // There were room for the short ones after it.
    assert_eq!(house.begin(&mut rounds, 1), [0, 1, 2, 3]);
}

#[test]
fn each_caller_has_places_of_its_own() {
    let model = model();
    let (engine, _queue) = crate::serve::engine::engine(2);
    let submit = |caller| engine.submit(generation(&model, 1, 1), Caller(caller));
    let full: Vec<_> = (0..WAITING).map(|_| submit(1).unwrap()).collect();
    assert_eq!(submit(1).err(), Some(SubmitError::Full));
    assert!(submit(2).is_ok());
    assert_eq!(engine.waiting(), full.len() + 1);
}
