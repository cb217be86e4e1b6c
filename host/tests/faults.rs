//! A full disk, a model folder that changes, and ends of the process: nothing is half done, and every error says what to do.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{Finished, lockstep, run};
use crate::server::{PATIENCE, Server, launch, post, request, start_with};
use crate::stream::{generate, tokens};
use crate::tiny;

const JSON: &str = "Content-Type: application/json\n";

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A command in a folder in which no file can become longer than so many blocks of 512 bytes, as on a full disk.
#[cfg(unix)]
fn on_a_full_disk(folder: &Path, blocks: usize, arguments: &[&str]) -> Finished {
    let mut command = lockstep(arguments[0]);
    command.args(&arguments[1..]);
    let mut limited = Command::new("sh");
    limited.current_dir(folder).arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"")).arg("sh");
    run(limited.arg(command.get_program()).args(command.get_args()), b"")
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_nothing_half_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    tiny::write(folder, 1);
    let done = |arguments: &[&str]| {
        let mut command = lockstep(arguments[0]);
        let finished = run(command.current_dir(folder).args(&arguments[1..]), b"");
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };
    let train = ["train", "--model", "tiny-1", "--text", "a b c", "--steps", "1", "--learning-rate", "0.01"];
    let adapter = ["--method", "lora", "--lora-rank"];
    done(&[&train[..], &adapter, &["4", "--save", "adapter"]].concat());
    fs::write(folder.join("logits.safetensors"), "before").unwrap();
    let before = names(folder);
    let generate = ["generate", "--model", "tiny-1", "--prompt", "a", "--max-tokens"];
    let cases = [
        (200, [&train[..], &["--save", "saved"]].concat()),
        (4, [&train[..], &adapter, &["4", "--save", "saved"]].concat()),
        (200, vec!["merge", "--model", "tiny-1", "--adapter", "adapter", "--save", "saved"]),
        (200, vec!["logits", "--model", "tiny-1", "--prompt", "a b", "--output", "logits.safetensors"]),
        (200, [&generate[..], &["2000", "--receipt", "saved.json"]].concat()),
    ];
    for (blocks, arguments) in cases {
        let full = on_a_full_disk(folder, blocks, &arguments);
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
        let mut stream = BufReader::new(server.send(&request("GET", "/api/generate?max_tokens=500000", "")));
        read_until(&mut stream, "event: token");
        let port = server.port.to_string();
        // SIGKILL: nothing of the process runs after it.
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let mut rest = Vec::new();
        let cut_off = stream.read_to_end(&mut rest).is_err() || !rest.ends_with(b"\r\n0\r\n\r\n");
        assert!(cut_off, "a text that was cut off looks whole");
        let mut command = lockstep("serve");
        (server, _) = launch(command.args(["--port", &port, "--model"]).arg(&model));
        server.wait_for("ready", &json!(true));
        let again = generate(&server, "max_tokens=8");
        assert_eq!(tokens(&again), tokens(&before));
        let digest = |events: &[crate::stream::Event]| events.last().unwrap().data["transcriptSha256"].clone();
        assert_eq!(digest(&again), digest(&before));
    }
    assert_eq!(names(&model), files);
}

fn read_until(stream: &mut impl BufRead, beginning: &str) {
    let mut line = String::new();
    while !line.starts_with(beginning) {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{beginning} did not come");
    }
}

#[cfg(unix)]
fn terminate(server: &mut Server) -> (Option<i32>, Duration) {
    let asked = Instant::now();
    server.signal("-TERM");
    loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            return (status.code(), asked.elapsed());
        }
        assert!(asked.elapsed() < PATIENCE, "the server did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_with(&tiny::write(folder.path(), 1), &[]);
    let body = json!({ "text": "a b c d", "steps": 10_000 }).to_string();
    let mut stream = BufReader::new(server.send(&post("/api/train", JSON, &body)));
    read_until(&mut stream, "event: step");
    let (code, time) = terminate(&mut server);
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(20), "{time:?}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the last chunk is missing: {rest:?}");
    let done = rest.lines().skip_while(|line| *line != "event: done").nth(1).expect("a done event");
    let done: Value = serde_json::from_str(done.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(done["finishReason"], "shutdown");
}
