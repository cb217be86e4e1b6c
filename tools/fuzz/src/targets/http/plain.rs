//! A second reader of requests, of those that are plain: what their status must be.

use kernel::generate::{Sampler, SamplerSettings};
use serde_json::{Map, Value};
use session::Stop;

/// A request of one plain line, plain fields and its whole body.
#[derive(Debug)]
pub struct Plain<'a> {
    method: &'a str,
    path: &'a str,
    /// What stands behind the `?`.
    pub query: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    /// The body, if it is UTF-8.
    pub body: &'a str,
}

/// The fields of a head that are known here.
const FIELDS: [&str; 9] = [
    "Host",
    "Content-Type",
    "Content-Length",
    "Origin",
    "Sec-Fetch-Site",
    "Last-Event-ID",
    "Range",
    "If-None-Match",
    "Connection",
];

impl<'a> Plain<'a> {
    /// Reads a request. None if it is not plain.
    pub fn read(bytes: &'a [u8]) -> Option<Plain<'a>> {
        let (head, body) = std::str::from_utf8(bytes).ok()?.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let [method, target, "HTTP/1.1"] = *lines.next()?.split(' ').collect::<Vec<_>>() else { return None };
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.~%&=+,:?-".contains(&byte);
        // A longer target is refused before it is looked at.
        if target.len() > 60_000
            || !["GET", "HEAD", "POST", "PUT", "DELETE"].contains(&method)
            || !target.bytes().all(safe)
        {
            return None;
        }
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ")?;
            let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
            if !visible || value.is_empty() || !FIELDS.contains(&name) || fields.iter().any(|(other, _)| *other == name)
            {
                return None;
            }
            fields.push((name, value));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let plain = Plain { method, path, query, fields, body };
        let length = plain.field("Content-Length").unwrap_or("0");
        let whole = length.len() < 8 && length.bytes().all(|b| b.is_ascii_digit()) && length.parse() == Ok(body.len());
        (path.starts_with('/') && whole && plain.field("Host").is_some()).then_some(plain)
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }

    /// The status that it must have. None if that is for the server to say.
    pub fn status(&self) -> Option<&'static str> {
        match self.field("Host")? {
            "localhost" | "127.0.0.1:8080" | "[::1]" => {}
            "evil.example" | "localhost.evil.example:80" => return Some("403"),
            _ => return None,
        }
        // The page, and the sign of life, are anyone's.
        let open = matches!(self.path, "/" | "/web" | "/health" | "/health/live") || self.path.starts_with("/web/");
        if !open && self.is_of_another_site() {
            return Some("403");
        }
        let reads = matches!(self.method, "GET" | "HEAD");
        let either = |holds: bool, yes, no| Some(if holds { yes } else { no });
        match self.path {
            "/" | "/web" => either(reads, "307", "405"),
            "/api/status" => either(reads, "200", "405"),
            "/api/generate" if self.method != "GET" => Some("405"),
            "/api/generate" if self.field("Last-Event-ID").is_some() => Some("204"),
            "/api/generate" => either(pairs(self.query).is_some_and(|pairs| can_generate(&pairs)), "503", "400"),
            "/api/train" | "/api/train/stop" | "/api/train/reset" if self.method != "POST" => Some("405"),
            "/api/train/stop" | "/api/train/reset" => Some("200"),
            "/api/train" if !self.is_json() => Some("415"),
            "/api/train" if self.body.len() > 1 << 20 => Some("413"),
            "/api/train" => self.training(),
            path if path.starts_with("/v1/receipts/") => either(self.method == "GET", "404", "405"),
            path if path.starts_with("/models/") => either(reads, "503", "405"),
            path if path.starts_with("/web/") && !reads => Some("405"),
            path if path.starts_with("/web/") => self.page(&path["/web/".len()..]),
            path if path.starts_with("/api/") || path.starts_with("/favicon") || path == "//" => Some("404"),
            // Other routes have tests of their own.
            _ => None,
        }
    }

    fn is_of_another_site(&self) -> bool {
        let host = self.field("Host").unwrap_or_default();
        let own = |origin: &str| origin.split_once("://").is_some_and(|(_, name)| name.eq_ignore_ascii_case(host));
        let other = |site: &str| site != "same-origin" && site != "none";
        self.field("Sec-Fetch-Site").is_some_and(other) || self.field("Origin").is_some_and(|origin| !own(origin))
    }

    fn is_json(&self) -> bool {
        let media = self.field("Content-Type").and_then(|value| value.split(';').next());
        media.is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
    }

    /// A file of the page: there are two.
    fn page(&self, name: &str) -> Option<&'static str> {
        if self.field("Range").is_some() || self.field("If-None-Match").is_some() {
            return None;
        }
        // As a value of a query, but for the plus sign.
        Some(match decoded(name, false).as_deref() {
            None => "400",
            Some("" | "index.html" | "a b.js") => "200",
            Some(_) => "404",
        })
    }

    /// The status of a training, of whose body each member stands there once.
    fn training(&self) -> Option<&'static str> {
        let tree: Value = match serde_json::from_str(self.body) {
            Ok(tree) => tree,
            Err(_) => return Some("400"),
        };
        if tree.to_string().as_bytes() != self.body.as_bytes() {
            return None;
        }
        Some(if tree.as_object().is_some_and(can_train) { "503" } else { "400" })
    }
}

/// The names and values of a query. None if some of it is not UTF-8.
pub fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let end = pair.find('=').unwrap_or(pair.len());
        Some((decoded(&pair[..end], true)?, decoded(pair.get(end + 1..).unwrap_or_default(), true)?))
    });
    pairs.collect()
}

/// What `%xx` and, where that counts, `+` stand for. None if it is not UTF-8.
fn decoded(text: &str, plus: bool) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [byte, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = after;
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) if plus => bytes.push(b' '),
            (byte, ..) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether a generation can be asked for like this.
fn can_generate(pairs: &[(String, String)]) -> bool {
    let first = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let number = |name: &str, default: f64| first(name).map_or(Some(default), |value| value.parse().ok());
    let bias = |value: &str| {
        let (token, bias) = value.split_once(':')?;
        let plain = token.bytes().all(|byte| byte.is_ascii_digit());
        if plain { Some((token.parse().ok()?, bias.parse().ok()?)) } else { None }
    };
    let biases = || {
        let values = pairs.iter().filter(|(name, _)| name == "logit_bias");
        values.map(|(_, value)| bias(value)).collect::<Option<Vec<_>>>()
    };
    let settings = || {
        Some(SamplerSettings {
            temperature: number("temperature", 0.0)?,
            top_k: first("top_k").map_or(Some(0), |value| value.parse().ok())?,
            top_p: number("top_p", 1.0)?,
            min_p: number("min_p", 0.0)?,
            repetition_penalty: number("repetition_penalty", 1.0)?,
            frequency_penalty: number("frequency_penalty", 0.0)?,
            presence_penalty: number("presence_penalty", 0.0)?,
            logit_bias: biases()?,
            stream: 0,
            seed: first("seed").map_or(Some(0), |value| value.parse().ok())?,
        })
    };
    let stops = pairs.iter().filter(|(name, _)| name == "stop").map(|(_, value)| value.clone()).collect();
    let digits = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
    let one_prompt = first("prompt").is_none_or(str::is_empty) || first("messages").is_none();
    let switch = |name: &str| matches!(first(name), None | Some("1" | "true" | "0" | "false"));
    let count = first("max_tokens").is_none_or(|value| digits(value) && value.parse::<usize>().is_ok_and(|n| n > 0));
    let sampler = settings().is_some_and(|settings| Sampler::new(settings).is_ok());
    one_prompt && switch("plain_special") && switch("private") && count && sampler && Stop::new(stops).is_ok()
}

/// Whether a training can be asked for like this.
fn can_train(asked: &Map<String, Value>) -> bool {
    let known = ["text", "steps", "learningRate", "method", "optimizer", "rank", "alpha", "targets"];
    // Null is as good as absent.
    let given = |name: &str| asked.get(name).filter(|value| !value.is_null());
    let is = |name: &str, holds: fn(&Value) -> bool| given(name).is_none_or(holds);
    let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let lora = given("method").is_some_and(|method| method == "lora");
    let adamw = given("optimizer").is_some_and(|optimizer| optimizer == "adamw");
    let shaped = ["rank", "alpha", "targets"].iter().any(|name| given(name).is_some());
    asked.keys().all(|name| known.contains(&name.as_str()))
        && given("text").is_some_and(Value::is_string)
        && is("steps", |steps| steps.as_u64().is_some_and(|steps| (1..=10_000).contains(&steps)))
        && is("learningRate", |rate| rate.as_f64().is_some_and(|rate| rate > 0.0))
        && is("method", |method| method == "full" || method == "lora")
        && is("optimizer", |optimizer| optimizer == "sgd" || optimizer == "adamw")
        && is("rank", Value::is_u64)
        && is("alpha", Value::is_number)
        && is("targets", texts)
        && (lora || !shaped && !adamw)
}

/// The roles and contents of a conversation. None if it is none.
pub fn conversation(tree: &Value) -> Option<Vec<(String, String)>> {
    let list = match tree {
        Value::Object(object) if object.len() == 1 => object.get("messages")?,
        list => list,
    };
    let message = |message: &Value| {
        let object = message.as_object().filter(|object| object.len() == 2)?;
        Some((object.get("role")?.as_str()?.to_string(), object.get("content")?.as_str()?.to_string()))
    };
    list.as_array()?.iter().map(message).collect()
}
