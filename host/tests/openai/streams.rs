//! Streams: the exact bytes, and the same content as whole answers.

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, answered, ask, chunks, question, streamed};
use crate::server::{post, start};

/// What the chunks of one choice say, joined.
fn joined(chunks: &[Value], index: usize, text: fn(&Value) -> &Value) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(|choice| choice["index"] == index);
    choices.map(|choice| text(choice).as_str().unwrap_or_default()).collect()
}

fn completion_text(choice: &Value) -> &Value {
    &choice["text"]
}

fn chat_text(choice: &Value) -> &Value {
    &choice["delta"]["content"]
}

/// Everything but the id, the time, the receipt's id and the clock is known beforehand.
#[test]
fn the_bytes_of_a_stream() {
    let server = start(&[]);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 3, "stream": true,
        "stream_options": { "include_usage": true } });
    let answer = ask(&server, COMPLETIONS, &body);
    assert_eq!(answer.status, 200);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
    {
        assert_eq!(answer.header(name), Some(value));
    }
    assert_eq!(answer.header("content-encoding"), None);
    let all = chunks(answer.text());
    let (first, end) = (&all[0], &all[3]["choices"][0]);
    let head = |object: &str| {
        format!(
            "data: {{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{},\"system_fingerprint\":{},\"seed\":0,\"choices\":",
            first["id"], first["created"], first["model"], first["system_fingerprint"]
        )
    };
    let (start, null) = (head("text_completion"), ",\"usage\":null}\n\n");
    let token = |text: &str| {
        format!("{start}[{{\"index\":0,\"text\":\"{text}\",\"logprobs\":null,\"finish_reason\":null}}]{null}")
    };
    let timings = &end["timings"];
    let end = format!(
        "{start}[{{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\",\"receipt_id\":{},\
         \"transcript_sha256\":{},\"timings\":{{\"prompt_n\":4,\"prompt_ms\":{},\"predicted_n\":3,\"predicted_ms\":{}}}}}]{null}",
        end["receipt_id"], end["transcript_sha256"], timings["prompt_ms"], timings["predicted_ms"],
    );
    let usage = format!(
        "{start}[],\"usage\":{{\"prompt_tokens\":4,\"completion_tokens\":3,\"total_tokens\":7,\
         \"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}\n\n"
    );
    let expected = [&token(","), &token(" the"), &token(" city"), &end, &usage, "data: [DONE]\n\n"].concat();
    assert_eq!(answer.text(), expected);
}

#[test]
fn the_first_chunk_of_a_chat_has_the_role_and_the_last_one_the_reason() {
    let server = start(&[]);
    let body = json!({ "messages": question("Say yes."), "max_tokens": 4 });
    let whole = answered(&server, CHAT, &body);
    let all = streamed(&server, CHAT, &body);
    assert!(all.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == all[0]["id"]));
    let choice = |index: usize| &all[index]["choices"][0];
    assert_eq!(choice(0)["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(choice(1)["delta"].as_object().unwrap().keys().collect::<Vec<_>>(), ["content"]);
    assert_eq!(joined(&all, 0, chat_text), whole["choices"][0]["message"]["content"].as_str().unwrap());
    let [.., end, usage] = &all[..] else { panic!("{all:?}") };
    let (end, whole_choice) = (&end["choices"][0], &whole["choices"][0]);
    assert_eq!((&end["delta"], &end["finish_reason"]), (&json!({}), &whole_choice["finish_reason"]));
    assert_eq!(end["transcript_sha256"], whole_choice["transcript_sha256"]);
    assert!(end["receipt_id"].is_string() && end["receipt_id"] != whole_choice["receipt_id"]);
    assert_eq!(usage["choices"], json!([]));
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(usage["usage"][name], whole["usage"][name]);
    }
    // Without the option nothing tells the usage.
    let body = json!({ "messages": question("Say yes."), "max_tokens": 4, "stream": true });
    let plain = chunks(ask(&server, CHAT, &body).text());
    assert!(plain.len() == all.len() - 1 && plain.iter().all(|chunk| chunk.get("usage").is_none()));
}

/// What may become a stop string waits, and does not come if it became one.
#[test]
fn nothing_of_a_stop_string_is_sent() {
    let server = start(&[]);
    let texts = |stop: &str| {
        let body = json!({ "prompt": "Once upon a time", "max_tokens": 8, "stop": [stop] });
        let all = streamed(&server, COMPLETIONS, &body);
        let texts = all.iter().filter_map(|chunk| chunk["choices"].get(0)?["text"].as_str().map(str::to_string));
        let end = all[all.len() - 2]["choices"][0]["finish_reason"].clone();
        (texts.collect::<Vec<_>>(), end)
    };
    assert_eq!(texts("city of Rome").0, [",", " the", " ", "city of Nova", " Haven", " was", " a", ""]);
    let (cut, reason) = texts("ova H");
    assert_eq!((cut.concat().as_str(), reason), (", the city of N", json!("stop")));
}

/// Choices, prompts and log-probabilities, interleaved, are those of the whole answer.
#[test]
fn a_stream_has_all_that_the_whole_answer_has() {
    let server = start(&[]);
    let body = json!({ "prompt": ["Once upon a time", "Emoji: 🎉🎊🥳 Grüße 🎉🎊"], "max_tokens": 7, "temperature": 0.9,
        "n": 2, "echo": true, "logprobs": 2 });
    let (whole, all) = (answered(&server, COMPLETIONS, &body), streamed(&server, COMPLETIONS, &body));
    for (choice, index) in whole["choices"].as_array().unwrap().iter().zip(0..) {
        assert_eq!(joined(&all, index, completion_text), choice["text"].as_str().unwrap());
        let pieces = all.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(|choice| choice["index"] == index);
        let pieces: Vec<&Value> = pieces.collect();
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset", "bytes"] {
            let arrays = pieces.iter().filter_map(|piece| piece["logprobs"][name].as_array());
            assert_eq!(json!(arrays.flatten().collect::<Vec<_>>()), choice["logprobs"][name], "{name}");
        }
        assert_eq!(pieces.last().unwrap()["transcript_sha256"], choice["transcript_sha256"]);
    }
    let body = json!({ "messages": question("Hi"), "max_tokens": 4, "n": 2, "logprobs": true, "top_logprobs": 2 });
    let (whole, all) = (answered(&server, CHAT, &body), streamed(&server, CHAT, &body));
    for (choice, index) in whole["choices"].as_array().unwrap().iter().zip(0..) {
        let pieces = all.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(|choice| choice["index"] == index);
        let content = pieces.filter_map(|piece| piece["logprobs"]["content"].as_array());
        assert_eq!(json!(content.flatten().collect::<Vec<_>>()), choice["logprobs"]["content"]);
    }
}

/// Clients ask for JSON and bring a key, and proxies speak HTTP/1.0.
#[test]
fn headers_of_clients_change_nothing() {
    let server = start(&[]);
    let body = json!({ "prompt": "Once", "max_tokens": 2, "stream": true }).to_string();
    let headers = "Content-Type: application/json; charset=utf-8\nAccept: application/json\nAuthorization: Bearer x\n";
    let answer = server.exchange(&post(COMPLETIONS, headers, &body));
    assert_eq!((answer.status, chunks(answer.text()).len()), (200, 3));
    let old = post(COMPLETIONS, headers, &body).replace("HTTP/1.1", "HTTP/1.0");
    let answer = server.exchange(&old);
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
    assert_eq!(chunks(answer.text()).len(), 3);
}
