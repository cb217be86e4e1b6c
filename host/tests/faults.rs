//! A full disk, a model folder that changes, and ends of the process: nothing is half done, and every error says what to do.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{limited, lockstep, run};
use crate::place::{Place, names};
use crate::server::{JSON, Server, launch, post, request, start_tiny, start_with, started};
use crate::stream::{Event, generate, rest, tokens};
use crate::tiny;

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_nothing_half_written() {
    let place = Place::new();
    let folder = place.folder.path();
    let done = |arguments: &[&str]| {
        let finished = place.run(arguments[0], &arguments[1..]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };
    let train = ["train", "--text", "a b c", "--steps", "1", "--learning-rate", "0.01"];
    let adapter = ["--method", "lora", "--lora-rank"];
    done(&[&train[..], &adapter, &["4", "--save", "adapter"]].concat());
    fs::write(folder.join("logits.safetensors"), "before").unwrap();
    let before = names(folder);
    let generate = ["generate", "--prompt", "a", "--max-tokens"];
    let cases = [
        ("-f 200", [&train[..], &["--save", "saved"]].concat()),
        ("-f 4", [&train[..], &adapter, &["4", "--save", "saved"]].concat()),
        ("-f 200", vec!["merge", "--adapter", "adapter", "--save", "saved"]),
        ("-f 200", vec!["logits", "--prompt", "a b", "--output", "logits.safetensors"]),
        ("-f 200", [&generate[..], &["2000", "--receipt", "saved.json"]].concat()),
    ];
    for (limit, arguments) in cases {
        let full = run(&mut limited(limit, &place.command(arguments[0], &arguments[1..])), b"");
        assert_eq!(full.code, Some(1), "{arguments:?}: {full:?}");
        let name = arguments.last().unwrap();
        assert!(full.stderr.contains(name) && full.stderr.contains("large"), "{arguments:?}: {}", full.stderr);
        assert_eq!(names(folder), before, "{arguments:?}");
        assert_eq!(fs::read(folder.join("logits.safetensors")).unwrap(), b"before");
        // The same with room for it.
        done(&arguments);
        let made = folder.join(name);
        if *name != "logits.safetensors" {
            if made.is_dir() { fs::remove_dir_all(made).unwrap() } else { fs::remove_file(made).unwrap() }
        } else {
            fs::write(made, "before").unwrap();
        }
    }
}

#[test]
fn a_model_that_is_missing_or_cut_off_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let serve = |model: &Path| run(lockstep("serve").args(["--port", "0", "--model"]).arg(model), b"");
    let missing = serve(&folder.path().join("none"));
    assert!(missing.code == Some(1) && missing.stderr.contains("fetch-model"), "{missing:?}");
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for length in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).unwrap();
        for flags in [&[][..], &["--no-mmap"]] {
            let cut = run(lockstep("serve").args(["--port", "0", "--model"]).arg(&model).args(flags), b"");
            assert!(cut.code == Some(1) && cut.stderr.contains("model.safetensors"), "{length}: {cut:?}");
        }
    }
    fs::write(&weights, &whole).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let bytes = fs::read(model.join(name)).unwrap();
        fs::remove_file(model.join(name)).unwrap();
        let missing = serve(&model);
        assert!(missing.code == Some(1) && missing.stderr.contains(name), "{name}: {missing:?}");
        fs::write(model.join(name), bytes).unwrap();
    }
}

/// Who has a file open keeps it, whatever takes its name; only those who fetch it by that name would get the other one.
#[test]
#[cfg(unix)]
fn a_model_that_is_replaced_is_computed_with_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let server = start_with(&model, &[]);
    let path = format!("{}model.safetensors", server.status()["modelUrl"].as_str().unwrap());
    assert_eq!(server.get(&path).status, 200);
    let before = tokens(&generate(&server, "max_tokens=8"));
    let other = tiny::write(folder.path(), 2);
    fs::rename(other.join("model.safetensors"), model.join("model.safetensors")).unwrap();
    assert_eq!(tokens(&generate(&server, "max_tokens=8")), before);
    let error = server.get(&path).error(503);
    assert!(error.contains("model.safetensors") && error.contains("start the server again"), "{error}");
    fs::remove_dir_all(&model).unwrap();
    assert_eq!(tokens(&generate(&server, "max_tokens=8")), before);
    server.get(&path).error(503);
}

/// Without looking, the server would end by SIGBUS, or go on with weights that are not those that it hashed.
#[test]
#[cfg(unix)]
fn a_model_that_is_changed_in_place_is_not_computed_with() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let cut = || fs::File::options().write(true).open(&weights).unwrap().set_len(4096).unwrap();
    let damage = || {
        let mut other = whole.clone();
        other[whole.len() - 100] ^= 1;
        // Into the same file, which keeps its length.
        fs::write(&weights, other).unwrap();
    };
    for (change, word) in [(&cut as &dyn Fn(), "has 4096 now"), (&damage, "was changed")] {
        fs::write(&weights, &whole).unwrap();
        let (mapped, read) = (start_with(&model, &[]), start_with(&model, &["--no-mmap"]));
        let before = tokens(&generate(&mapped, "max_tokens=8"));
        // The weights are hashed in the first moments.
        assert!(mapped.status()["weightsSha256"].is_string());
        assert!(read.get("/api/generate?max_tokens=1").status == 200 && read.status()["weightsSha256"].is_string());
        change();
        let error = mapped.get("/api/generate?max_tokens=8").error(503);
        assert!(error.contains(word) && error.contains("--no-mmap"), "{error}");
        let body = json!({ "text": "a b", "steps": 1 }).to_string();
        mapped.exchange(&post("/api/train", JSON, &body)).error(503);
        let refused = mapped.exchange(&post("/v1/completions", JSON, r#"{"prompt":"a"}"#));
        assert_eq!((refused.status, refused.header("retry-after")), (503, None), "until it is started again");
        assert_eq!(mapped.status()["ready"], true);
        // What was read into memory is as it was.
        assert_eq!(tokens(&generate(&read, "max_tokens=8")), before);
    }
}

/// Nothing is on the disk that a killed server would leave behind; the next one has its place at once.
#[test]
#[cfg(unix)]
fn a_server_that_was_killed_starts_again_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let files = names(&model);
    let mut server = start_with(&model, &[]);
    let before = generate(&server, "max_tokens=8");
    for _ in 0..3 {
        let mut stream = server.send_until(&request("GET", "/api/generate?max_tokens=500000", ""), "event: token");
        let port = server.port.to_string();
        // SIGKILL: nothing of the process runs after it.
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let mut rest = Vec::new();
        let cut_off = stream.read_to_end(&mut rest).is_err() || !rest.ends_with(b"\r\n0\r\n\r\n");
        assert!(cut_off, "a text that was cut off looks whole");
        let mut command = lockstep("serve");
        server = started(command.args(["--port", &port, "--model"]).arg(&model), None);
        let again = generate(&server, "max_tokens=8");
        assert_eq!(tokens(&again), tokens(&before));
        let digest = |events: &[Event]| events.last().unwrap().data["transcriptSha256"].clone();
        assert_eq!(digest(&again), digest(&before));
    }
    assert_eq!(names(&model), files);
}

#[cfg(unix)]
fn terminate(server: &mut Server) -> (Option<i32>, Duration) {
    let asked = Instant::now();
    server.signal("-TERM");
    (server.exit_code(), asked.elapsed())
}

/// The moment between the line that says where it listens and the model; and that before any line.
#[test]
#[cfg(unix)]
fn sigterm_while_the_model_is_loading_ends_the_server() {
    let mut command = lockstep("serve");
    command.args(["--port", "0", "--model"]).arg(crate::model::dir());
    let (mut server, _said) = launch(&mut command);
    let (code, time) = terminate(&mut server);
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(20), "{time:?}");
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut early = Server { child, port: 0, key: None };
    // Before it listens to signals, one ends it all the same.
    let (code, _) = terminate(&mut early);
    assert!(matches!(code, Some(0) | None), "{code:?}");
}

#[test]
#[cfg(unix)]
fn sigterm_while_it_trains_ends_the_training_with_its_word() {
    let (mut server, _folder) = start_tiny(&[]);
    let body = json!({ "text": "a b c d", "steps": 10_000 }).to_string();
    let stream = server.send_until(&post("/api/train", JSON, &body), "event: step");
    let (code, time) = terminate(&mut server);
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(20), "{time:?}");
    assert_eq!(rest(stream).1["finishReason"], "shutdown");
}
