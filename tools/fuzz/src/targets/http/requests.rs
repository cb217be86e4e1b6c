//! Requests at random.

use serde_json::{Value, json};

use crate::{Random, mutate};

const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE"];
const PATHS: [&str; 24] = [
    "/",
    "/web",
    "/web/",
    "/web/index.html",
    "/web/a%20b.js",
    "/web/a b.js",
    "/web/../secret",
    "/web/%2e%2e%2fsecret",
    "/web/..%5csecret",
    "/web//etc/passwd",
    "/web/./index.html",
    "/web/index.html%00",
    "/web/%ff",
    "/api/status",
    "/api/train/stop",
    "/api/train/reset",
    "/v1/receipts/0123456789abcdef0123456789abcdef",
    "/v1/receipts/%ff",
    "/models/SmolLM2-135M-Instruct/config.json",
    "/models/../secret",
    "/api/generate/",
    "/favicon.ico",
    "*",
    "//",
];
const FIELDS: [&str; 22] = [
    "Content-Type: text/plain",
    "Content-Type: application/json;charset=utf-8",
    "Origin: http://localhost",
    "Origin: https://evil.example",
    "Origin: null",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-origin",
    "Last-Event-ID: 3",
    "Range: bytes=0-3",
    "Range: bytes=9-3",
    "Range: bytes=999-",
    "Range: bytes=-4",
    "Range: bytes=0-1,3-4",
    "If-None-Match: *",
    "If-Range: x",
    "Connection: close",
    "Connection: keep-alive",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "Content-Length: 5",
    "X-\u{e9}: a",
];
const HOSTS: [&str; 8] = [
    "localhost",
    "localhost",
    "localhost",
    "127.0.0.1:8080",
    "[::1]",
    "evil.example",
    "localhost.evil.example:80",
    "a b",
];
const NAMES: [&str; 14] = [
    "prompt",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "plain_special",
    "messages",
    "%6daxtokens",
];
const VALUES: [&str; 26] = [
    "",
    "0",
    "1",
    "25",
    "007",
    "-1",
    "+5",
    "%2B5",
    "1.5",
    "0.5",
    "1e3",
    "NaN",
    "inf",
    "true",
    "false",
    "yes",
    "a+b",
    "%20",
    "%ff",
    "%C3%A9",
    "%c3",
    "%F0%9F%99%82",
    "%zz",
    "%",
    "18446744073709551616",
    "4294967296",
];

/// A request with these fields of the head, each with its end of line, and the length of its body.
pub fn request(method: &str, target: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\n{fields}{length}\r\n{body}").into_bytes()
}

pub fn generate(random: &mut Random) -> Vec<u8> {
    if random.once_in(30) {
        // A part of the page, or the page if it has changed.
        let field = random.choose(&["Range: bytes=0-3", "Range: bytes=999-", "Range: bytes=-4", "If-None-Match: *"]);
        return request("GET", "/web/index.html", &format!("Host: localhost\r\n{field}\r\n"), "");
    }
    let (method, target, body) = match random.below(5) {
        0 | 1 => ("GET", format!("/api/generate?{}", query(random)), String::new()),
        2 => ("POST", "/api/train".to_string(), training(random).to_string()),
        3 => ("POST", random.choose(&PATHS).to_string(), messages(random).to_string()),
        _ => (random.choose(&METHODS), random.choose(&PATHS).to_string(), String::new()),
    };
    let mut fields = match random.once_in(30) {
        true => String::new(),
        false => format!("Host: {}\r\n", random.choose(&HOSTS)),
    };
    if method == "POST" && !random.once_in(8) {
        fields.push_str("Content-Type: application/json\r\n");
    }
    if random.once_in(3) {
        for _ in 0..=random.below(2) {
            fields.push_str(random.choose(&FIELDS));
            fields.push_str("\r\n");
        }
    }
    let method = if random.once_in(20) { random.choose(&METHODS) } else { method };
    let mut bytes = request(method, &target, &fields, &body);
    if random.once_in(5) {
        let words: [&[u8]; 10] =
            [b"\r\n", b"\r\n\r\n", b" ", b"\0", b"%", b"&", b"=", b"\xff", b"HTTP/1.0", b"http://evil.example/"];
        mutate::bytes(&mut bytes, random, &words);
    }
    bytes
}

fn query(random: &mut Random) -> String {
    let mut pairs = Vec::new();
    for _ in 0..random.below(4) {
        let name = random.choose(&NAMES);
        let value = match name {
            "messages" => percent(&messages(random).to_string(), random),
            _ if random.once_in(3) => random.choose(&VALUES).to_string(),
            "max_tokens" | "top_k" | "seed" => (random.below(100)).to_string(),
            "plain_special" => random.choose(&["0", "1", "true", "false"]).to_string(),
            _ => format!("0.{}", random.below(100)),
        };
        pairs.push(if random.once_in(20) { name.to_string() } else { format!("{name}={value}") });
    }
    pairs.join(random.choose(&["&", "&", "&", "&&", ";", "&=&"]))
}

/// Encodes what must be, and some of what need not be.
fn percent(text: &str, random: &mut Random) -> String {
    let encoded = |byte: u8| match byte {
        b' ' if random.once_in(2) => "+".to_string(),
        byte if byte.is_ascii_alphanumeric() && !random.once_in(10) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

fn messages(random: &mut Random) -> Value {
    let text = |random: &mut Random| random.choose(&["user", "system", "assistant", "Hi", "", "é\n", "<|im_end|>"]);
    let list: Vec<Value> = (0..random.below(3))
        .map(|_| match random.below(8) {
            0 => json!([text(random), text(random)]),
            1 => json!({"role": text(random), "content": text(random), "name": "x"}),
            _ => json!({"role": text(random), "content": text(random)}),
        })
        .collect();
    let mut json = if random.once_in(2) { json!({ "messages": list }) } else { json!(list) };
    if random.once_in(3) {
        mutate::json(&mut json, random, &["messages", "role", "content", "user", ""]);
    }
    json
}

fn training(random: &mut Random) -> Value {
    let members = json!({
        "text": "Once upon a time", "steps": 1 + random.below(20), "learningRate": 0.5, "method": "lora",
        "optimizer": "adamw", "rank": 8, "alpha": 16.0, "targets": ["q_proj"],
    });
    if random.once_in(12) {
        // In the order in which the server's own struct has them.
        let order = ["text", "steps", "learningRate", "method", "optimizer", "rank", "alpha", "targets"];
        return order.iter().map(|name| members[name].clone()).collect();
    }
    let mut json = json!({ "text": "Once" });
    for (name, value) in members.as_object().into_iter().flatten() {
        if random.once_in(3) {
            json[name] = value.clone();
        }
    }
    if random.once_in(2) {
        let words =
            ["text", "steps", "learningRate", "method", "full", "lora", "optimizer", "sgd", "adamw", "rank", "x"];
        mutate::json(&mut json, random, &words);
    }
    json
}
