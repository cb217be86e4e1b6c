//! The settings of a server: flag, variable, file, default.

use std::process::Command;

use serde_json::json;

use crate::command::{lockstep, run};
use crate::model;
use crate::server::started;

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_the_file_and_the_file_over_a_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockstep.toml");
    let settings = format!(
        "port = 0\nmodel = {:?}\nthreads = 1\nctx-size = 64\nbackend = \"scalar\"\nallowed-hosts = [\"a.example\"]\n",
        model::dir()
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = lockstep("serve");
    command.env("LOCKSTEP_CONFIG", &file).env("LOCKSTEP_CTX_SIZE", "128").env("LOCKSTEP_THREADS", "2");
    command.args(["--threads", "3"]);
    let server = started(&mut command, None);
    let status = server.status();
    assert_eq!(status["threads"], json!(3), "the flag");
    assert_eq!(status["contextLength"], json!(128), "the variable");
    assert_eq!(status["backend"], json!("scalar"), "the file");
    let named = |host: &str| server.exchange(&format!("GET /api/status HTTP/1.1\nHost: {host}\nConnection: close\n\n"));
    assert_eq!((named("a.example").status, named("b.example").status), (200, 403), "the list of the file");
}

#[test]
fn a_wrong_file_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockstep.toml");
    std::fs::write(&file, "# settings\nprot = 1\n").unwrap();
    let finished = run(lockstep("serve").arg("--config").arg(&file), b"");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    let words = ["lockstep.toml, line 2: prot", "the nearest one is port"];
    assert!(words.iter().all(|word| finished.stderr.contains(word)), "{finished:?}");
}

#[test]
fn every_shell_gets_a_script_that_completes_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let finished = run(lockstep("completions").arg(shell), b"");
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(
            ["lockstep", "doctor", "shutdown-timeout"].iter().all(|word| finished.stdout.contains(word)),
            "{shell}"
        );
        if shell == "bash" {
            let syntax = run(Command::new("bash").arg("-n"), finished.stdout.as_bytes());
            assert_eq!(syntax.code, Some(0), "{syntax:?}");
        }
    }
}
