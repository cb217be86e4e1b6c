//! The page and the model files.

use std::fs;
use std::io::{Read, Seek, SeekFrom};

use crate::model;
use crate::server::{Server, start};

#[test]
fn the_page_is_served_with_its_types() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("pkg")).unwrap();
    for name in ["index.html", "worker.js", "pkg/engine.wasm", "style.css", "a b.json", "secret.html.bak"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let server = start(&["--web-root", root.path().to_str().unwrap()]);
    for (path, content_type, body) in [
        ("/web/", "text/html; charset=utf-8", "index.html"),
        ("/web/?x=1", "text/html; charset=utf-8", "index.html"),
        ("/web/index.html", "text/html; charset=utf-8", "index.html"),
        ("/web/worker.js", "text/javascript; charset=utf-8", "worker.js"),
        ("/web/pkg/engine.wasm", "application/wasm", "pkg/engine.wasm"),
        ("/web/style.css", "text/css; charset=utf-8", "style.css"),
        ("/web/a%20b.json", "application/json", "a b.json"),
    ] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.text()),
            (200, Some(content_type), body),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
    }
    for path in
        ["/web/none.js", "/web/pkg", "/web/pkg/", "/web/../web/index.html", "/web/%2e%2e/secret", "/web//index.html"]
    {
        server.get(path).error(404);
    }
    server.get("/web/%ff").error(400);
    for path in ["/", "/web"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("location")), (307, Some("/web/")));
    }
}

#[test]
fn without_a_page_the_server_says_how_to_build_it() {
    let server = start(&["--web-root", "/none"]);
    let error = server.get("/web/").error(404);
    assert!(error.contains("cargo run --release -p tools -- browser") && error.contains("/none"), "{error}");
}

fn model_path(server: &Server, file: &str) -> String {
    format!("{}{file}", server.status()["modelUrl"].as_str().unwrap())
}

#[test]
fn model_files_are_served_whole_and_in_parts() {
    let server = start(&[]);
    let path = model_path(&server, "tokenizer.json");
    let file = fs::read(model::dir().join("tokenizer.json")).unwrap();
    let whole = server.get(&path);
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.body == file), (200, Some("bytes"), true));
    let length = file.len();

    let part = |headers: &str| server.request("GET", &path, headers);
    for (range, first, last) in
        [("0-0", 0, 0), ("1000-300999", 1000, 300_999), ("1000-", 1000, length - 1), ("-5", length - 5, length - 1)]
    {
        let answer = part(&format!("Range: bytes={range}\n"));
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), Some(format!("bytes {first}-{last}/{length}").as_str()));
        assert!(answer.body == file[first..=last], "{range}");
    }
    let beyond = part(&format!("Range: bytes={length}-\n"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(format!("bytes */{length}").as_str())));
    assert_eq!(part("Range: bytes=0-1,5-6\n").status, 200);

    let tag = whole.header("etag").unwrap();
    assert_eq!(part(&format!("Range: bytes=5-\nIf-Range: {tag}\n")).status, 206);
    assert_eq!(part("Range: bytes=5-\nIf-Range: \"other\"\n").status, 200);
    let unchanged = part(&format!("If-None-Match: {tag}\n"));
    assert_eq!((unchanged.status, unchanged.body.len(), unchanged.header("etag")), (304, 0, Some(tag)));
}

#[test]
fn the_weights_can_be_asked_about_and_read_from_the_middle() {
    let server = start(&[]);
    let path = model_path(&server, "model.safetensors");
    let mut file = fs::File::open(model::dir().join("model.safetensors")).unwrap();
    let length = file.metadata().unwrap().len();
    let head = server.request("HEAD", &path, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(length.to_string().as_str()));
    assert!(head.header("etag").is_some());

    let answer = server.request("GET", &path, "Range: bytes=100000000-101048575\n");
    let mut expected = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(100_000_000)).unwrap();
    file.read_exact(&mut expected).unwrap();
    assert!(answer.status == 206 && answer.body == expected);
}

#[test]
fn nothing_but_the_model_s_files_is_served() {
    let server = start(&[]);
    let base = model_path(&server, "");
    let name = base.trim_matches('/').split('/').next_back().unwrap();
    for path in [
        "/models/".to_string(),
        base.trim_end_matches('/').to_string(),
        base.clone(),
        format!("{base}README.md"),
        format!("{base}.gitattributes"),
        format!("{base}../{name}/config.json"),
        format!("{base}..%2f{name}%2fconfig.json"),
        format!("{base}%2e%2e/{name}/config.json"),
        format!("{base}/config.json"),
        format!("{base}config.json/"),
        format!("{base}config.json%00"),
        "/models/other/config.json".to_string(),
        "/models/../Cargo.toml".to_string(),
        "/models/%2e%2e%2fCargo.toml".to_string(),
    ] {
        server.get(&path).error(404);
    }
}
