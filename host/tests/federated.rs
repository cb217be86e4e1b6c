//! `docs/examples/federated_round.sh`: a round of three clients, as its reader runs it.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{run, without_settings};
use crate::tiny;

#[test]
fn the_script_of_a_round_runs_and_everything_in_it_matches() {
    let folder = tempfile::tempdir().unwrap();
    let (model, place) = (tiny::write(folder.path(), 1), folder.path().join("round"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/federated_round.sh");
    let mut shell = without_settings("sh");
    shell.arg(script).arg(&place).env("LOCKSTEP", env!("CARGO_BIN_EXE_lockstep")).env("LOCKSTEP_MODEL", model);
    let finished = run(&mut shell, b"");
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let lines: Vec<&str> = finished.stdout.lines().collect();
    let verdicts: Vec<&&str> = lines.iter().filter(|line| line.contains("MATCH")).collect();
    assert_eq!(verdicts.len(), 4, "{finished:?}");
    assert_eq!(*verdicts[0], "MATCH: aggregation, 3 clients");
    assert!(verdicts[1..].iter().all(|line| **line == "MATCH: training, 4 steps"), "{verdicts:?}");
    // What leaves the clients has no text: neither its words nor its ids.
    for client in ["alice", "bob", "carol"] {
        let receipt: Value =
            serde_json::from_slice(&fs::read(place.join(format!("public/{client}.json"))).unwrap()).unwrap();
        assert!(receipt["training"].get("data").is_none() && receipt["training"]["data_sha256"].is_string());
    }
    // The round has learnt something, and merging it changes next to nothing.
    let sums: Vec<f64> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|report| report["sum"].as_f64())
        .collect();
    let [before, after, merged] = sums[..] else { panic!("{finished:?}") };
    assert!(after > before && (after - merged).abs() < 1e-3 * after.abs(), "{sums:?}");
}
