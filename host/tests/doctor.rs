//! `lockstep doctor`: what it finds, and what it fails for.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use kernel::simd::Backend;
use serde_json::Value;

use crate::command::{Finished, lockstep, run};
use crate::server::start;
use crate::{model, tiny};

fn doctor(model: &Path, port: u16, flags: &[&str]) -> Finished {
    let mut doctor = lockstep("doctor");
    run(doctor.arg("--model").arg(model).args(["--port", &port.to_string()]).args(flags), b"")
}

/// A check by its name.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn report(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn a_fit_machine_has_no_failure_and_every_backend_its_bits() {
    let server = start(&[]);
    let finished = doctor(&model::dir(), server.port, &["--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let report = report(&finished);
    assert_eq!(report["ok"], true);
    let names = Backend::available().into_iter().map(|backend| format!("bits {}", backend.name()));
    let others = [
        "backend",
        "arithmetic",
        "memory, 1 thread",
        "memory, 2 threads",
        "model",
        "tokenizer",
        "chat template",
        "files",
    ];
    for name in names.chain(others.map(str::to_string)) {
        assert_eq!(check(&report, &name)["status"], "ok", "{report}");
    }
    let weights = check(&report, "weights");
    assert!(weights["status"] == "ok" && weights["found"].as_str().unwrap().contains(model::WEIGHTS), "{weights}");
    // The server is asked.
    assert!(check(&report, "port")["found"].as_str().unwrap().contains("ready: true"), "{report}");
    assert_eq!(check(&report, "browser headers")["status"], "ok", "{report}");
}

#[test]
fn changed_weights_files_and_a_taken_port_are_failures_that_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dir = tiny::write(folder.path(), 1);
    // A manifest of other weights and of another configuration.
    let manifest: Value = serde_json::from_slice(&fs::read(model::dir().join("manifest.json")).unwrap()).unwrap();
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let finished = doctor(&dir, taken.local_addr().unwrap().port(), &["--json"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let report = report(&finished);
    assert_eq!(report["ok"], false);
    for (name, found, advice) in [
        ("weights", "manifest.json has a45b", "fetch-model"),
        ("files", "config.json", "fetch-model"),
        ("port", "taken", "--port"),
    ] {
        let check = check(&report, name);
        assert_eq!(check["status"], "fail", "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(check["advice"].as_str().unwrap().contains(advice), "{check}");
    }
}

#[test]
fn a_missing_model_is_a_line_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let finished = doctor(&folder.path().join("none"), 0, &["--web-root", "no such page"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let line = |word: &str| finished.stdout.lines().find(|line| line.contains(word)).unwrap_or_default();
    assert!(line("no model folder").starts_with("FAIL"), "{finished:?}");
    assert!(line("no such page").starts_with("WARN"), "{finished:?}");
    assert!(line("bits scalar").starts_with("ok"), "{finished:?}");
    assert!(finished.stdout.ends_with("failures\n") && finished.stdout.contains("fetch-model"), "{finished:?}");
}
