//! Downloads from a hub that cuts connections, lies about sizes, serves errors and redirects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tools::fetch::FetchError as F;
use tools::fetch::hub::HubError as E;
use tools::fetch::{FetchError, Source};

use super::server::{Reply, Server};
use super::{REVISION, Setup, model_files, says, url_path};

fn weights() -> Vec<u8> {
    model_files().pop().unwrap().1
}

/// Checks that nothing looks like a model folder.
fn nothing_in_place(setup: &Setup) {
    assert!(!setup.dir().exists());
}

#[test]
fn a_model_is_downloaded_once() {
    let setup = Setup::new();
    let fetched = setup.fetch().unwrap();
    assert!(!fetched.was_complete);
    setup.check_folder();
    let manifest = fetched.manifest;
    assert_eq!((manifest.name.as_str(), manifest.source.as_str()), ("Model", "hub"));
    assert_eq!(manifest.revision.as_deref(), Some(REVISION));
    assert_eq!(manifest.tensors.len(), 1);
    let provenance = std::fs::read_to_string(setup.dir().join("provenance.json")).unwrap();
    assert!(provenance.contains(REVISION) && provenance.contains("\"pinned\": true"), "{provenance}");
    assert_eq!(setup.server.requests().len(), 3);

    let again = setup.fetch().unwrap();
    assert!(again.was_complete);
    assert_eq!(again.manifest, manifest);
    assert!(setup.fetch_with(Source::Auto, None).unwrap().was_complete);
    assert_eq!(setup.server.requests().len(), 3, "nothing is asked when everything is in place");
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| {
        let cut = if count < 2 { Some(100_000) } else { None };
        Reply { cut, ..Reply::file(request, &weights(), "\"one\"") }
    });
    setup.fetch().unwrap();
    setup.check_folder();
    let ranges: Vec<_> = setup.server.requests_for(&setup.weights());
    let header = |at: usize, name: &str| ranges[at].header(name).map(str::to_owned);
    assert_eq!(ranges.len(), 3);
    assert_eq!(header(0, "range"), None);
    assert_eq!(header(1, "range").as_deref(), Some("bytes=100000-"));
    assert_eq!(header(1, "if-range").as_deref(), Some("\"one\""));
    assert_eq!(header(2, "range").as_deref(), Some("bytes=200000-"));
}

#[test]
fn the_next_run_goes_on_where_this_one_stopped() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| match count {
        0 => Reply { cut: Some(1234), ..Reply::file(request, &weights(), "\"one\"") },
        _ => Reply::status(503),
    });
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Status { status: 503, .. })), "{error}");
    nothing_in_place(&setup);

    setup.server.serve(&setup.weights(), weights(), "\"one\"");
    let before = setup.server.requests().len();
    setup.fetch().unwrap();
    setup.check_folder();
    let requests = &setup.server.requests()[before..];
    assert_eq!(requests.len(), 1, "what is here is not asked for again");
    assert_eq!(requests[0].header("range"), Some("bytes=1234-"));
}

#[test]
fn a_download_that_keeps_breaking_says_how_far_it_came() {
    let setup = Setup::new();
    setup
        .server
        .on(&setup.weights(), |request, _| Reply { cut: Some(10), ..Reply::file(request, &weights(), "\"one\"") });
    let error = setup.fetch().unwrap_err();
    assert!(matches!(&error, F::Hub(E::Interrupted { have: 30, .. })), "{error}");
    says(&error, &["model.safetensors", "30 of", &weights().len().to_string(), "same command"]);
    nothing_in_place(&setup);
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| match count {
        0 => Reply { cut: Some(50), silence: Duration::from_secs(30), ..Reply::file(request, &weights(), "\"one\"") },
        _ => Reply::file(request, &weights(), "\"one\""),
    });
    let start = Instant::now();
    setup.fetch().unwrap();
    setup.check_folder();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(setup.server.requests_for(&setup.weights())[1].header("range"), Some("bytes=50-"));
}

#[test]
fn a_server_that_ignores_ranges_sends_everything_again() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |_, count| {
        let cut = if count == 0 { Some(100) } else { None };
        Reply { cut, body: weights(), ..Reply::status(200).with("etag", "\"one\"") }
    });
    setup.fetch().unwrap();
    setup.check_folder();
}

#[test]
fn without_a_strong_entity_tag_nothing_is_resumed() {
    for etag in [None, Some("W/\"one\""), Some("\"\"")] {
        let setup = Setup::new();
        setup.server.on(&setup.weights(), move |_, count| {
            let cut = if count == 0 { Some(100) } else { None };
            let reply = Reply { cut, body: weights(), ..Reply::status(200) };
            etag.map_or(reply.clone(), |etag| reply.with("etag", etag))
        });
        setup.fetch().unwrap();
        setup.check_folder();
        assert_eq!(setup.server.requests_for(&setup.weights())[1].header("range"), None, "{etag:?}");
    }
}

#[test]
fn a_file_that_changes_midway_is_started_again() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| match count {
        0 => Reply { cut: Some(100), ..Reply::file(request, &vec![7; weights().len()], "\"old\"") },
        _ => Reply::file(request, &weights(), "\"one\""),
    });
    setup.fetch().unwrap();
    setup.check_folder();
    assert_eq!(setup.server.requests_for(&setup.weights())[1].header("if-range"), Some("\"old\""));
}

#[test]
fn a_resumed_file_with_a_wrong_hash_is_started_again() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| match count {
        // The same entity tag for other bytes.
        0 => Reply { cut: Some(100), ..Reply::file(request, &vec![7; weights().len()], "\"one\"") },
        _ => Reply::file(request, &weights(), "\"one\""),
    });
    setup.fetch().unwrap();
    setup.check_folder();
    assert_eq!(setup.server.requests_for(&setup.weights()).len(), 3);
}

#[test]
fn a_partial_answer_for_another_place_is_not_taken() {
    for range in ["bytes 99-300079/300080", "bytes 100-300079/5", "bytes */300080", "nonsense"] {
        let setup = Setup::new();
        setup.server.on(&setup.weights(), move |request, count| match count {
            0 => Reply { cut: Some(100), ..Reply::file(request, &weights(), "\"one\"") },
            1 => Reply { body: weights()[100..].to_vec(), ..Reply::status(206) }.with("content-range", range),
            _ => Reply::file(request, &weights(), "\"one\""),
        });
        setup.fetch().unwrap();
        setup.check_folder();
        assert_eq!(setup.server.requests_for(&setup.weights())[2].header("range"), None, "{range}");
    }
}

#[test]
fn a_refused_range_starts_again() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, count| match count {
        0 => Reply { cut: Some(100), ..Reply::file(request, &weights(), "\"one\"") },
        1 => Reply::status(416),
        _ => Reply::file(request, &weights(), "\"one\""),
    });
    setup.fetch().unwrap();
    setup.check_folder();
}

#[test]
fn a_wrong_hash_leaves_no_file_and_shows_the_way_on() {
    let setup = Setup::new();
    let mut wrong = weights();
    wrong[70_000] ^= 1;
    setup.server.serve(&setup.weights(), wrong, "\"one\"");
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Hash { .. })), "{error}");
    says(&error, &["model.safetensors", setup.repository.files[2].sha256, "--accept-revision", "--source wheel"]);
    nothing_in_place(&setup);
    let left = super::names(&setup.folder.path().join("Model.partial"));
    assert_eq!(left, ["config.json", "tokenizer.json"], "what is wrong is not kept");
    // A wrong file is no reason to take another source silently.
    assert!(matches!(setup.fetch_with(Source::Auto, None), Err(F::Hub(E::Hash { .. }))));
}

#[test]
fn a_file_of_another_size_is_refused_before_it_is_downloaded() {
    let setup = Setup::new();
    setup.server.on(&url_path(REVISION, "config.json"), |_, _| Reply {
        body: b"<html>sign in</html>".to_vec(),
        ..Reply::status(200).with("content-type", "text/html")
    });
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Size { found: 20, expected: 2, .. })), "{error}");
    says(&error, &["config.json", "20 bytes (text/html)", "expected 2", "--accept-revision"]);
    nothing_in_place(&setup);
}

#[test]
fn a_body_without_end_is_cut_off() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |_, _| Reply {
        chunked: true,
        body: [weights(), vec![0; 1_000_000]].concat(),
        ..Reply::status(200)
    });
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Size { .. })), "{error}");
    nothing_in_place(&setup);
}

#[test]
fn a_length_longer_than_the_body_is_an_interruption() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |_, _| {
        let body = weights();
        Reply { cut: Some(body.len() - 1), body, ..Reply::status(200) }
    });
    assert!(matches!(setup.fetch(), Err(F::Hub(E::Interrupted { .. }))));
    nothing_in_place(&setup);
}

#[test]
fn refusals_are_explained_and_not_repeated() {
    for (status, part) in [(401, "HF_TOKEN"), (403, "proxy"), (404, "--accept-revision main"), (418, "HF_ENDPOINT")] {
        let setup = Setup::new();
        setup.server.on(&url_path(REVISION, "config.json"), move |_, _| Reply::status(status));
        let error = setup.fetch().unwrap_err();
        says(&error, &[&status.to_string(), part, "config.json"]);
        assert_eq!(setup.server.requests().len(), 1);
        nothing_in_place(&setup);
    }
}

#[test]
fn a_busy_hub_is_asked_again() {
    for status in [429, 500, 503] {
        let setup = Setup::new();
        setup.server.on(&setup.weights(), move |request, count| match count {
            0 | 1 => Reply::status(status),
            _ => Reply::file(request, &weights(), "\"one\""),
        });
        setup.fetch().unwrap();
        setup.check_folder();
    }
}

#[test]
fn the_token_stays_with_the_endpoint() {
    let mut setup = Setup::new();
    setup.environment.token = Some("secret".to_owned());
    let storage = Server::start();
    storage.serve("/blob", weights(), "\"one\"");
    let blob = format!("{}/blob", storage.address());
    setup.server.on(&setup.weights(), |_, _| Reply::status(307).with("location", "/moved?x=1"));
    setup.server.on("/moved?x=1", move |_, _| Reply::status(302).with("location", &blob));
    setup.fetch().unwrap();
    setup.check_folder();
    let requests = setup.server.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!(request.header("authorization"), Some("Bearer secret"), "{}", request.line);
    }
    let elsewhere = storage.requests();
    assert_eq!(elsewhere.len(), 1);
    assert!(!format!("{elsewhere:?}").contains("secret"));
}

#[test]
fn redirects_end() {
    let setup = Setup::new();
    setup.server.on(&setup.weights(), |request, _| {
        Reply::status(302).with("location", request.line.trim_start_matches("GET "))
    });
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::TooManyRedirects { hops: 10, .. })), "{error}");
    setup.server.on(&setup.weights(), |_, _| Reply::status(302));
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Redirect { .. })), "{error}");
    nothing_in_place(&setup);
}

#[test]
fn a_revision_that_was_accepted_is_taken_as_it_is() {
    let setup = Setup::new();
    let other = "main";
    for (name, bytes) in model_files() {
        let bytes = if name == "config.json" { b"{\"other\": 1}".to_vec() } else { bytes };
        setup.server.serve(&url_path(other, name), bytes, "\"two\"");
    }
    let fetched = setup.fetch_with(Source::Hub, Some(other)).unwrap();
    assert_eq!(fetched.manifest.revision.as_deref(), Some(other));
    assert_eq!(std::fs::read(setup.dir().join("config.json")).unwrap(), b"{\"other\": 1}");
    let provenance = std::fs::read_to_string(setup.dir().join("provenance.json")).unwrap();
    assert!(provenance.contains("\"pinned\": false"), "{provenance}");
    assert!(setup.fetch_with(Source::Hub, Some(other)).unwrap().was_complete);
    assert!(setup.fetch_with(Source::Auto, None).unwrap().was_complete, "what the user accepted stays");
    let back = setup.fetch_with(Source::Hub, Some(REVISION)).unwrap();
    assert!(!back.was_complete, "another revision is fetched");
    setup.check_folder();
}

#[test]
fn an_accepted_file_has_the_hash_that_the_hub_states() {
    let setup = Setup::new();
    for (name, bytes) in model_files() {
        setup.server.serve(&url_path("main", name), bytes, "\"two\"");
    }
    let storage = Server::start();
    storage.serve("/blob", weights(), "\"x\"");
    let blob = format!("{}/blob", storage.address());
    setup.server.on(&url_path("main", "model.safetensors"), move |_, _| {
        let reply = Reply::status(302).with("location", &blob).with("x-linked-size", weights().len());
        reply.with("x-linked-etag", format!("\"{}\"", "0".repeat(64)))
    });
    let error = setup.fetch_with(Source::Hub, Some("main")).unwrap_err();
    assert!(matches!(error, F::Hub(E::Hash { .. })), "{error}");
    nothing_in_place(&setup);
}

#[test]
fn a_hub_that_is_not_there_is_unreachable() {
    let mut setup = Setup::new();
    setup.environment.endpoint = "http://127.0.0.1:1".to_owned();
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Unreachable { .. })), "{error}");
    says(&error, &["127.0.0.1:1", "HF_ENDPOINT", "--source wheel"]);
    for endpoint in ["hub.example", "/x", "http://"] {
        setup.environment.endpoint = endpoint.to_owned();
        assert!(matches!(setup.fetch(), Err(F::Hub(E::Unreachable { .. }))), "{endpoint}");
    }
    nothing_in_place(&setup);
}

#[test]
fn a_proxy_is_used() {
    let mut setup = Setup::new();
    let proxy = Server::start();
    setup.environment.proxy = Some(ureq::Proxy::new(&proxy.address()).unwrap());
    setup.environment.endpoint = "http://hub.invalid".to_owned();
    assert!(matches!(setup.fetch(), Err(F::Hub(_))));
    let lines: Vec<String> = proxy.requests().into_iter().map(|request| request.line).collect();
    assert!(lines.iter().all(|line| line.contains("hub.invalid")) && !lines.is_empty(), "{lines:?}");
}

#[test]
fn weights_that_cannot_be_opened_are_not_put_in_place() {
    let setup = Setup::new();
    setup.server.serve(&url_path("main", "config.json"), b"{}".to_vec(), "\"x\"");
    setup.server.serve(&url_path("main", "tokenizer.json"), b"{}".to_vec(), "\"x\"");
    setup.server.serve(&url_path("main", "model.safetensors"), b"not weights".to_vec(), "\"x\"");
    let error = setup.fetch_with(Source::Hub, Some("main")).unwrap_err();
    assert!(matches!(error, FetchError::Checkpoint(_)), "{error}");
    nothing_in_place(&setup);
}

#[test]
fn two_runs_at_once_fill_one_folder() {
    let setup = Setup::new();
    let slow = AtomicBool::new(true);
    setup.server.on(&setup.weights(), move |request, _| {
        if slow.swap(false, Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        Reply::file(request, &weights(), "\"one\"")
    });
    let complete = std::thread::scope(|scope| {
        let runs = [scope.spawn(|| setup.fetch()), scope.spawn(|| setup.fetch())];
        runs.map(|run| run.join().unwrap().unwrap().was_complete)
    });
    assert!(complete[0] != complete[1], "one run fetches, the other waits and finds: {complete:?}");
    assert_eq!(setup.server.requests().len(), 3);
    setup.check_folder();
}
