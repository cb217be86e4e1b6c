//! Each field: taken, dropped or refused by name.

use super::*;

fn completion(json: &str) -> Result<Asked, ApiError> {
    Fields::parse(json.as_bytes()).and_then(Asked::completion)
}

fn chat(json: &str) -> Result<Asked, ApiError> {
    Fields::parse(json.as_bytes()).and_then(Asked::chat)
}

/// A request with one more field, at both routes.
fn both(field: &str) -> [Result<Asked, ApiError>; 2] {
    [
        completion(&format!(r#"{{"prompt":"x",{field}}}"#)),
        chat(&format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{field}}}"#)),
    ]
}

fn with_bits(asked: &Asked) -> String {
    format!("{asked:?}")
}

#[test]
fn every_field_arrives() {
    let asked = completion(
        r#"{"model":"m","prompt":["x",[1]],"max_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":3,"min_p":0.1,
        "repetition_penalty":1.1,"frequency_penalty":0.25,"presence_penalty":-0.25,"logit_bias":{"10":-100,"9":1.5},
        "seed":18446744073709551615,"n":2,"best_of":2,"stop":["a","b"],"logprobs":5,"echo":true,"stream":true,
        "stream_options":{"include_usage":true,"include_obfuscation":false},"ignore_eos":true,"plain_special":true}"#,
    )
    .unwrap();
    let settings = SamplerSettings {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 3,
        min_p: 0.1,
        repetition_penalty: 1.1,
        frequency_penalty: 0.25,
        presence_penalty: -0.25,
        logit_bias: vec![(10, -100.0), (9, 1.5)],
        seed: u64::MAX,
        stream: 0,
    };
    assert_eq!(asked.settings, settings);
    assert_eq!((asked.model.as_deref(), asked.n, asked.max_tokens), (Some("m"), 2, Some(7)));
    assert_eq!((asked.stream, asked.include_usage, asked.ignore_eos), (true, true, true));
    assert_eq!((asked.logprobs, asked.stop.strings()), (Some(5), &["a".to_string(), "b".to_string()][..]));
    let prompts = vec![Prompt::Text("x".to_string()), Prompt::Ids(vec![1])];
    assert_eq!(asked.source, Source::Prompts { prompts, special: bpe::Special::Plain, echo: true });
}

#[test]
fn the_defaults_are_greedy_and_pure() {
    for asked in both(r#""model":null,"stop":null,"stream_options":null,"no_such_field":null"#) {
        let asked = asked.unwrap();
        assert_eq!((asked.settings.clone(), asked.n), (SamplerSettings::default(), 1));
        assert_eq!((asked.stream, asked.include_usage, asked.ignore_eos), (false, false, false));
        assert_eq!((asked.max_tokens, asked.logprobs, asked.stop.is_empty()), (None, None, true));
    }
    let [completion, chat] = both(r#""n":1"#).map(|asked| asked.unwrap().source.default_tokens());
    assert_eq!((completion, chat), (16, 512));
}

#[test]
fn what_changes_nothing_is_accepted() {
    let plain = both(r#""n":1"#).map(|asked| with_bits(&asked.unwrap()));
    for field in [
        r#""user":"u""#,
        r#""metadata":{"a":"b"}"#,
        r#""store":true"#,
        r#""service_tier":"flex""#,
        r#""safety_identifier":"s""#,
        r#""prompt_cache_key":"k""#,
        r#""parallel_tool_calls":true"#,
        r#""frequency_penalty":0,"presence_penalty":0.0"#,
        r#""logit_bias":{}"#,
        r#""stop":[]"#,
        r#""stream_options":{}"#,
        r#""tools":null,"functions":null,"suffix":null,"response_format":null"#,
    ] {
        assert_eq!(both(field).map(|asked| with_bits(&asked.unwrap())), plain, "{field}");
    }
    let message = r#"{"messages":[{"role":"user","content":"x"}]"#;
    for field in [
        r#""tools":[]"#,
        r#""functions":[]"#,
        r#""tool_choice":"none""#,
        r#""tool_choice":"auto""#,
        r#""response_format":{"type":"text"}"#,
        r#""modalities":["text"]"#,
        r#""verbosity":"medium""#,
        r#""logprobs":false"#,
        r#""top_logprobs":0"#,
    ] {
        let asked = chat(&format!("{message},{field}}}")).unwrap();
        assert_eq!(with_bits(&asked), plain[1], "{field}");
    }
    for field in [r#""suffix":"""#, r#""best_of":1"#, r#""echo":false"#] {
        let asked = completion(&format!("{{\"prompt\":\"x\",{field}}}")).unwrap();
        assert_eq!(with_bits(&asked), plain[0], "{field}");
    }
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let refused = |asked: Result<Asked, ApiError>, field: &str, name: &str| {
        let told = serde_json::to_value(asked.expect_err(field).object()).unwrap();
        assert_eq!(told["error"]["param"], name, "{field}: {told}");
    };
    for (field, name) in [
        (r#""tools":[{"type":"function"}]"#, "tools"),
        (r#""tool_choice":"required""#, "tool_choice"),
        (r#""response_format":{"type":"json_object"}"#, "response_format"),
        (r#""modalities":["text","audio"]"#, "modalities"),
        (r#""audio":{}"#, "audio"),
        (r#""prediction":{}"#, "prediction"),
        (r#""reasoning_effort":"low""#, "reasoning_effort"),
        (r#""web_search_options":{}"#, "web_search_options"),
        (r#""top_logprobs":2"#, "top_logprobs"),
        (r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
        (r#""logprobs":1"#, "logprobs"),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""echo":true"#, "echo"),
        (r#""prompt":"x""#, "prompt"),
    ] {
        let [_, chat] = both(field);
        refused(chat, field, name);
    }
    for (field, name) in [
        (r#""suffix":"x""#, "suffix"),
        (r#""best_of":2"#, "best_of"),
        (r#""logprobs":6"#, "logprobs"),
        (r#""logprobs":true"#, "logprobs"),
        (r#""echo":true,"max_tokens":0"#, "max_tokens"),
        (r#""logprobs":0,"max_tokens":0"#, "max_tokens"),
        (r#""messages":[]"#, "messages"),
    ] {
        let [completion, _] = both(field);
        refused(completion, field, name);
    }
    for (field, name) in [
        (r#""guided_json":{}"#, "guided_json"),
        (r#""n":0"#, "n"),
        (r#""n":17"#, "n"),
        (r#""n":1.5"#, "n"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream_options":{"x":1}"#, "stream_options.x"),
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""max_tokens":5,"max_completion_tokens":6"#, "max_tokens"),
        (r#""max_completion_tokens":"5""#, "max_completion_tokens"),
        (r#""temperature":"hot""#, "temperature"),
        (r#""top_k":-1"#, "top_k"),
        (r#""seed":-1"#, "seed"),
        (r#""seed":1.5"#, "seed"),
        (r#""stop":1"#, "stop"),
        (r#""stop":[""]"#, "stop"),
        (r#""stop":["a",1]"#, "stop"),
        (r#""logit_bias":{"x":1}"#, "logit_bias"),
        (r#""logit_bias":{"-1":1}"#, "logit_bias"),
        (r#""logit_bias":{"+5":1}"#, "logit_bias"),
        (r#""logit_bias":{"005":1}"#, "logit_bias"),
        (r#""logit_bias":[1]"#, "logit_bias"),
        (r#""model":1"#, "model"),
    ] {
        both(field).into_iter().for_each(|asked| refused(asked, field, name));
    }
}

#[test]
fn one_request_has_no_more_choices_than_may_wait() {
    let asked = |prompts: usize, n: usize| {
        completion(&json!({ "prompt": vec!["x"; prompts], "n": n }).to_string()).map(|asked| asked.n)
    };
    assert_eq!((asked(MAX_TOGETHER, 1), asked(MAX_TOGETHER / 16, 16)), (Ok(1), Ok(16)));
    for (prompts, n) in [(MAX_TOGETHER + 1, 1), (MAX_TOGETHER / 16 + 1, 16)] {
        assert!(asked(prompts, n).unwrap_err().to_string().contains("too many"), "{prompts} {n}");
    }
}
