//! The soak: mixed load with faults in it against one server. Every answer is the one that the same request gets alone, and
//! neither memory nor open files grow.
//!
//! `LOCKSTEP_SOAK_SECONDS` says how long (`tools soak` sets it), `LOCKSTEP_SOAK_MODEL` with which model folder; without them it is
//! short, and the model tiny.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kernel::random::{Purpose, random_u64};
use serde_json::{Value, json};

use crate::server::{Answer, JSON, Server, post, request, start_with};
use crate::stream::events;
use crate::tiny;

const KEYS: [&str; 2] = ["the-key-of-the-first-caller", "the-key-of-the-other-caller"];
/// Clients that ask for texts, and clients that break things.
const ASKING: u32 = 6;
const BREAKING: u32 = 4;
const PROMPTS: [&str; 6] = [
    "Once+upon+a+time",
    "Once+upon+a+time+there+was+a+small+ship",
    "The+capital+of+France+is",
    "%F0%9F%8E%89+12+%C3%A9",
    "x",
    "def+main():%0A++++return+42%0A%0A",
];
/// What a server may have more in the last third than in the one before.
const GROWTH: u64 = 24 << 20;

/// The requests: prompts, lengths, ways to choose.
fn queries() -> Vec<String> {
    let choices = [
        "",
        "&temperature=0.8&seed=7",
        "&temperature=1.3&top_k=40&top_p=0.9&seed=11",
        "&stop=e&repetition_penalty=1.2",
    ];
    let lengths = [1, 5, 24];
    let all = PROMPTS.iter().flat_map(|prompt| choices.map(|choice| format!("prompt={prompt}{choice}")));
    all.zip(lengths.into_iter().cycle()).map(|(query, length)| format!("{query}&max_tokens={length}")).collect()
}

/// The ids, the digests of every step and of all, and why it ended; none where the server had no room.
fn digests(answer: &Answer) -> Option<Vec<Value>> {
    match answer.status {
        429 => return None,
        status => assert_eq!(status, 200, "{answer:?}"),
    }
    let all = events(answer.text());
    let steps = all.iter().filter(|event| event.name == "token");
    let mut told: Vec<Value> = steps.map(|event| json!([event.data["tokenId"], event.data["logitsSha256"]])).collect();
    let done = &all.last().unwrap().data;
    told.extend(["finishReason", "transcriptSha256", "weightsSha256"].map(|key| done[key].clone()));
    assert!(done["transcriptSha256"].is_string(), "{done}");
    Some(told)
}

fn ask(server: &Server, key: &str, query: &str) -> Answer {
    let headers = format!("Authorization: Bearer {key}\n");
    server.exchange(&request("GET", &format!("/api/generate?{query}"), &headers))
}

/// One thing that goes wrong.
fn fault(server: &Server, number: u64) {
    let key = format!("Authorization: Bearer {}\n", KEYS[0]);
    let json = format!("{key}{JSON}");
    let long = request("GET", "/api/generate?max_tokens=900", &key);
    let train = json!({ "text": "a b c d e f g h", "steps": 1000 }).to_string();
    let train = post("/api/train", &json, &train);
    let mut buffer = [0; 2000];
    // What the server says of these, and whether it listens to the end, is for other tests.
    let ignore = |_: std::io::Result<usize>| ();
    match number % 12 {
        // They leave: in the midst of a text, before its first token, in the midst of a training.
        0 => ignore(server.send(&long).read(&mut buffer)),
        1 => drop(server.send(&long)),
        2 => ignore(server.send(&train).read(&mut buffer)),
        // Half a head, half a body, nothing at all.
        3 => drop(server.send(&long[..long.len() / 2])),
        4 => drop(server.send(&train[..train.len() - 10])),
        5 => drop(server.send("")),
        // Nobody reads this one, for a while.
        6 => {
            let stream = server.send(&long);
            sleep(Duration::from_millis(500));
            drop(stream);
        }
        // No HTTP, no JSON, no key, too much.
        7 => ignore(server.send("\0\x16\x03\n\n").read(&mut buffer)),
        8 => {
            ignore(server.send(&request("POST", "/api/train", &format!("{json}Content-Length: 0\n"))).read(&mut buffer))
        }
        9 => ignore(server.send(&request("GET", "/api/generate", "Authorization: Bearer none\n")).read(&mut buffer)),
        10 => {
            let mut stream = server.send(&request("POST", "/api/train", &format!("{json}Content-Length: 9000000\n")));
            ignore(stream.write(&[b' '; 300_000]));
            ignore(stream.read(&mut buffer));
        }
        // Many at once that say nothing.
        _ => drop((0..50).map(|_| server.send("GET / HTTP/1.1\n")).collect::<Vec<_>>()),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn soak_no_fault_changes_an_answer_and_nothing_grows() {
    use crate::broken_clients::open_files;

    let seconds = std::env::var("LOCKSTEP_SOAK_SECONDS").map_or(20, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let model = std::env::var_os("LOCKSTEP_SOAK_MODEL").map_or_else(|| tiny::write(folder.path(), 1), Into::into);
    let flags = ["--client-timeout", "2", "--receipts", "50", "--prefix-cache", "8", "--ctx-size", "1024"];
    let server = start_with(&model, &[&flags[..], &["--api-key", KEYS[0], "--api-key", KEYS[1]]].concat());
    // Each alone.
    let expected: Vec<(String, Vec<Value>)> = queries()
        .into_iter()
        .map(|query| {
            let told = digests(&ask(&server, KEYS[1], &query)).unwrap();
            (query, told)
        })
        .collect();
    let [answered, refused, broken] = [const { AtomicU64::new(0) }; 3];
    let (begun, end) = (Instant::now(), Duration::from_secs(seconds));
    let random = |client: u32, number: u64| random_u64(6, Purpose::Golden, client, number);
    let mut memory = Vec::new();
    let files = open_files(&server);
    std::thread::scope(|scope| {
        let (server, expected, [answered, refused, broken]) = (&server, &expected, [&answered, &refused, &broken]);
        for client in 0..ASKING {
            scope.spawn(move || {
                for number in (0..).take_while(|_| begun.elapsed() < end) {
                    let drawn = random(client, number) as usize;
                    let (query, alone) = &expected[drawn % expected.len()];
                    match digests(&ask(server, KEYS[drawn / 64 % 2], query)) {
                        Some(told) => {
                            assert_eq!(&told, alone, "{query}");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        None => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            sleep(Duration::from_millis(50));
                        }
                    }
                }
            });
        }
        for client in ASKING..ASKING + BREAKING {
            scope.spawn(move || {
                for number in (0..).take_while(|_| begun.elapsed() < end) {
                    fault(server, random(client, number));
                    broken.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(20));
                }
            });
        }
        while begun.elapsed() < end {
            memory.push(server.own_memory());
            sleep(Duration::from_millis(200));
        }
    });
    server.wait_for("activeGenerations", &json!(0));
    server.wait_for("waitingGenerations", &json!(0));
    server.wait_for("training", &json!(false));
    // All that it was asked alone, once more.
    for (query, alone) in &expected {
        assert_eq!(digests(&ask(&server, KEYS[0], query)).as_ref(), Some(alone), "{query}");
    }
    // What is there whatever it does: a training takes much for a moment, and not always as much.
    let thirds = memory.chunks(memory.len().div_ceil(3));
    let least: Vec<u64> = thirds.map(|third| third.iter().min().copied().unwrap_or_default()).collect();
    let [answered, refused, broken] = [answered, refused, broken].map(AtomicU64::into_inner);
    eprintln!(
        "{answered} answers compared, {refused} refused, {broken} faults; at least {least:?} bytes in each third"
    );
    assert!(answered >= 40 && broken >= 40, "{answered} answers, {broken} faults: the test shows little");
    assert!(least[2] < least[1] + GROWTH, "{least:?}");
    let begun = Instant::now();
    while open_files(&server) > files + 4 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} open files, {files} before", open_files(&server));
        sleep(Duration::from_millis(50));
    }
}
