//! Requests, as the bytes of a connection. The server answers in HTTP, never with a 500, and never with a file from outside
//! the page's folder; of a request that is plain enough for a second reader the status is what that reader says. Queries and
//! conversations are read a second time, too.

mod plain;
mod requests;

use host::door::{Door, query};
use serde_json::Value;
use session::read_messages;
use tempfile::TempDir;

use self::plain::{Plain, conversation, pairs};
use self::requests::{generate, request};
use crate::{Seen, Target};

pub const TARGET: Target = Target {
    name: "http",
    cases,
    generate,
    run,
    outcomes: &[
        "no answer",
        "200",
        "204",
        "206",
        "304",
        "307",
        "400",
        "403",
        "404",
        "405",
        "413",
        "414",
        "415",
        "416",
        "431",
        "503",
        "judged",
        "query",
        "query that is not UTF-8",
        "conversation",
        "conversation refused",
    ],
    rare: &["413", "414", "431"],
    runs: 10_000,
};

/// What no answer may contain: it stands in a file beside the page's folder.
const SECRET: &str = "the content of the file beside the page";

thread_local! {
    static PLACE: (TempDir, Door) = place();
}

/// A folder with a page, and a server of it.
fn place() -> (TempDir, Door) {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("page");
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("a file");
    std::fs::create_dir(&root).expect("a folder");
    write("page/index.html", "<!doctype html><title>page</title>");
    write("page/a b.js", "export {};");
    write("secret", SECRET);
    let door = Door::new(&root).expect("a server");
    (folder, door)
}

fn cases() -> Vec<Vec<u8>> {
    let train = "Host: localhost\r\nContent-Type: application/json\r\n";
    vec![
        vec![],
        request("GET", "/", "Host: localhost\r\n", ""),
        request("POST", "/api/train", train, &"a".repeat(1_100_000)),
        request("POST", "/api/train", train, &"[".repeat(50_000)),
        request("GET", "/", &"X-A: b\r\n".repeat(200), ""),
        request("GET", &format!("/{}", "a".repeat(70_000)), "Host: localhost\r\n", ""),
        request("GET", "/web/%2e%2e/secret", "Host: localhost\r\n", ""),
        // Two requests on one connection.
        [request("GET", "/api/status", "Host: a\r\n", ""), request("GET", "/", "Host: localhost\r\n", "")].concat(),
    ]
}

fn run(bytes: &[u8], seen: &mut Seen) {
    let received = PLACE.with(|(_, door)| door.answer(bytes));
    let contains = |part: &str| received.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(!contains(SECRET), "a file outside of the page's folder");
    let status = first_answer(&received, bytes.trim_ascii_start().starts_with(b"HEAD "));
    seen.note(status.unwrap_or("no answer"));
    let Some(plain) = Plain::read(bytes) else { return };
    let status = status.expect("a plain request is answered");
    if let Some(expected) = plain.status() {
        seen.note("judged");
        assert_eq!(status, expected, "{plain:?}");
    }
    is_read_alike(plain.query, seen);
    if !plain.body.is_empty() {
        is_one_conversation(plain.body.as_bytes(), seen);
    }
}

/// The status of the first answer, whose head and body are as they say. None if nothing came.
fn first_answer(received: &[u8], head_only: bool) -> Option<&'static str> {
    // Who asks before a body is sent is answered first.
    let received = received.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(received);
    if received.is_empty() {
        return None;
    }
    let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head");
    let (head, body) = (std::str::from_utf8(&received[..end]).expect("a head of ASCII"), &received[end + 4..]);
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).expect("a line of a status");
    let status = TARGET.outcomes.iter().find(|listed| **listed == &status[..3]).copied();
    let status = status.unwrap_or_else(|| panic!("no answer may begin with {line:?}"));
    let field = |name: &str| {
        let fields = fields.split("\r\n").filter_map(|field| field.split_once(": "));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    if let Some(length) = field("content-length").filter(|_| !head_only && status != "304") {
        let length: usize = length.parse().expect("a length");
        assert!(body.len() >= length, "{} bytes of {length} came", body.len());
        // What the server says of an error is one object; hyper says nothing of those that never reach it.
        if status >= "400" && length > 0 {
            let object: Value = serde_json::from_slice(&body[..length]).expect("an error is JSON");
            // As the clients of /v1 want it, or as a text.
            let error = &object["error"];
            let why = error.as_str().or(error["message"].as_str());
            assert!(why.is_some_and(|why| why.len() > 5), "{object}");
            assert_eq!(field("content-type"), Some("application/json"));
        }
    }
    let ours = field("content-type").is_some();
    assert!(!ours || field("x-content-type-options") == Some("nosniff"), "{head}");
    Some(status)
}

/// A query has the names and values that a second reader finds, and keeps them when they are written again.
fn is_read_alike(text: &str, seen: &mut Seen) {
    let read = query(text);
    let expected = pairs(text);
    assert_eq!(read.as_ref().ok(), expected.as_ref(), "{text:?}");
    let Some(pairs) = expected else { return seen.note("query that is not UTF-8") };
    seen.note("query");
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let written: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    assert_eq!(query(&written.join("&")), Ok(pairs.clone()));
    for (_, json) in pairs.iter().filter(|(name, _)| name == "messages") {
        is_one_conversation(json.as_bytes(), seen);
    }
}

/// A conversation is what a second reader takes for one, with the same messages.
fn is_one_conversation(json: &[u8], seen: &mut Seen) {
    let read = read_messages(json);
    seen.note(if read.is_ok() { "conversation" } else { "conversation refused" });
    let tree: Option<Value> = serde_json::from_slice(json).ok();
    if let Ok(messages) = &read {
        let said: Vec<(String, String)> = messages.iter().map(|m| (m.role.clone(), m.content.clone())).collect();
        assert_eq!(Some(said), tree.as_ref().and_then(conversation), "{}", json.escape_ascii());
    } else if let Some(tree) = tree.filter(|tree| tree.to_string().as_bytes() == json) {
        // Its members are sorted, each once: nothing else can be wrong with it.
        assert_eq!(conversation(&tree), None, "{tree}");
    }
}
