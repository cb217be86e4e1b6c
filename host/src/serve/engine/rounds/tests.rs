//! Nobody waits for a token longer than twice the fair share, in rounds and tokens.

use kernel::model::Model;
use kernel::random::{Purpose, random_u64};
use session::Continuation;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::serve::engine::ACTIVE;
use crate::serve::engine::shares::LEAST;
use crate::serve::engine::tests::{generation, identity, job, model_of, rising, tokenizer};
use crate::serve::weights::Served;

/// Requests that get a token in every round.
const STREAMS: usize = 7;

/// Those that advance, one round after the other.
struct House<'a> {
    rounds: Rounds,
    model: &'a Model,
    /// What their clients hear: nobody has gone.
    events: Vec<UnboundedReceiver<Event>>,
}

impl House<'_> {
    fn empty(model: &Model) -> House<'_> {
        House { rounds: Rounds::new(Prefixes::new(0)), model, events: Vec::new() }
    }

    /// One of a caller and a request of its own, whose number it has.
    fn begin(&mut self, text: Continuation, trained: Option<Arc<Trained>>) -> usize {
        let number = self.events.len();
        let (job, events) = job(text, Caller(number as u64), number as u64);
        self.rounds.begin(job, trained);
        self.events.push(events);
        number
    }

    /// Of each, by its number, the tokens that were generated and those that were read; zeros once it has ended.
    fn counts(&self) -> Vec<(usize, usize)> {
        let mut counts = vec![(0, 0); self.events.len()];
        for running in &self.rounds.running {
            let generation = running.job.text.generation();
            counts[running.job.request as usize] = (generation.steps().len(), generation.cache().len());
        }
        counts
    }

    /// A round: what each generated and read in it, of those that go on.
    fn round(&mut self) -> Vec<(usize, usize)> {
        let before = self.counts();
        self.advance();
        let counts = self.counts();
        let read = counts.iter().zip(before);
        read.map(|(after, before)| (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1))).collect()
    }

    fn advance(&mut self) {
        let around = Surroundings {
            base: self.model,
            tokenizer: &tokenizer(),
            exec: kernel::Exec::serial(),
            identity: &identity,
            served: &Served::default(),
        };
        self.rounds.advance(&around);
    }
}

/// Seven that stream.
fn house(model: &Model) -> House<'_> {
    let mut house = House::empty(model);
    for _ in 0..STREAMS {
        house.begin(generation(model, 1, 4000), None);
    }
    assert_eq!(house.round(), [(1, 1); STREAMS]);
    house
}

fn read(round: &[(usize, usize)]) -> usize {
    round.iter().map(|(_, read)| read).sum()
}

/// With the weights of the others, and with an adapter's, which are computed apart.
#[test]
fn a_long_prompt_holds_nobody_up_and_is_read() {
    let model = model_of(8192);
    let other = Arc::new(Trained { model: model.clone(), sha256: [8; 32], stays: true });
    for trained in [None, Some(other)] {
        let mut house = house(&model);
        let long = house.begin(rising(&model, 3, 4000), trained);
        for number in 1..=500 {
            let round = house.round();
            assert_eq!(round[..STREAMS], [(1, 1); STREAMS], "round {number}");
            assert!(read(&round) < 2 * (STREAMS + 1), "round {number}: {round:?}");
            // It has its fair share, too: as many tokens as there are requests.
            assert_eq!(round[long], (usize::from(number == 500), 8), "round {number}");
        }
    }
}

#[test]
fn a_short_prompt_does_not_wait_for_long_ones() {
    let model = model_of(8192);
    let mut house = house(&model);
    house.begin(rising(&model, 3, 4000), None);
    house.begin(rising(&model, 4, 4000), None);
    house.round();
    let short = house.begin(rising(&model, 5, 6), None);
    let rounds: Vec<usize> = (0..2).map(|_| house.round()[short].0).collect();
    assert_eq!(rounds, [0, 1]);
}

/// Rounds of long chunks are for those times when nobody waits for a token.
#[test]
fn prompts_share_a_long_chunk_while_nobody_streams() {
    let model = model_of(8192);
    let mut house = House::empty(&model);
    house.begin(rising(&model, 1, 4000), None);
    house.begin(rising(&model, 2, 4000), None);
    assert_eq!(house.round(), [(0, 64), (0, 64)]);
    let short = house.begin(rising(&model, 3, 10), None);
    let round = house.round();
    // It gives the short one its token after no more than its fair share.
    assert_eq!((round[short], read(&round)), ((1, 10), 30));
    assert!(read(&house.round()) <= 3 - 2 + 8);
}

/// While they are, all wait; and what there was room for is not what is kept of a text that has become shorter.
#[test]
fn keys_and_values_do_not_move_as_a_text_grows() {
    let model = model_of(8192);
    let mut house = house(&model);
    let room = |house: &House| house.rounds.running[0].job.text.generation().cache().bytes();
    let complete = room(&house);
    assert!((0..300).all(|_| house.round() == [(1, 1); STREAMS] && room(&house) == complete));

    // A key and a value of 2 elements a position, of 301 positions, in blocks of 16 the keys.
    house.rounds.prefixes = Prefixes::new((304 + 301) * 2 * size_of::<f32>());
    let steps = house.rounds.running[0].job.text.generation().steps();
    let ids: Vec<u32> = [1].into_iter().chain(steps.iter().map(|step| step.token_id)).collect();
    house.events.clear();
    house.advance();
    assert_eq!(house.rounds.len(), 0);
    let known = (0..STREAMS as u64).map(|caller| house.rounds.prefixes.known(Caller(caller), None, &ids));
    assert_eq!(known.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 301]);
}

/// How a generation waits for its next token.
#[derive(Clone, Default)]
struct Wait {
    /// What it computed itself since the last one: its own need.
    own: usize,
    /// What all did.
    all: usize,
    /// The most that advanced meanwhile.
    beside: usize,
}

/// Whatever is asked for, and whenever. The fair share is for each that advances what the generation needs itself.
#[test]
fn nobody_waits_for_a_token_longer_than_twice_the_fair_share() {
    let model = model_of(512);
    for case in 0..40 {
        let mut index = 0;
        let mut random = |below: usize| {
            index += 1;
            random_u64(9, Purpose::Golden, case, index) as usize % below
        };
        let mut house = House::empty(&model);
        let mut waits: Vec<Wait> = Vec::new();
        let mut answered = 0;
        while waits.len() < 40 || house.rounds.len() > 0 {
            while waits.len() < 40 && house.rounds.len() < ACTIVE && random(4) == 0 {
                let prompt = 1 + [random(4), random(40), random(480)][random(3)];
                house.begin(rising(&model, random(8), prompt), None);
                waits.push(Wait::default());
            }
            let before = house.counts();
            let active: Vec<usize> = house.rounds.running.iter().map(|running| running.job.request as usize).collect();
            house.advance();
            let after = house.counts();
            // Who has ended computed one token more.
            let computed: Vec<usize> =
                active.iter().map(|&n| after[n].1.checked_sub(before[n].1).unwrap_or(1)).collect();
            let all: usize = computed.iter().sum();
            for (&number, own) in active.iter().zip(&computed) {
                let wait = &mut waits[number];
                wait.own += own;
                wait.all += all;
                wait.beside = wait.beside.max(active.len());
                if after[number].0 == before[number].0 {
                    continue;
                }
                answered += 1;
                let fair = wait.own * wait.beside.max(LEAST);
                assert!(wait.all < 2 * fair, "case {case}: {} computed, a fair share is {fair}", wait.all);
                *wait = Wait::default();
            }
        }
        assert_eq!(answered, 40 * 12, "case {case}");
    }
}
