//! The state before the model is loaded, which a test of the real server is too late to see.

use clap::Parser;
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::serve::engine::engine;
use crate::serve::gate::Gate;

async fn ask(path: &str) -> (u16, Option<String>, Value) {
    ask_state(path, state()).await
}

fn state() -> Arc<State> {
    let Command::Serve(arguments) = Cli::parse_from(["lockstep", "serve", "--model", "none/a b-1.0"]).command else {
        unreachable!("the command is serve")
    };
    let gate = Gate::new(&arguments).unwrap();
    Arc::new(State::new(arguments, engine(1).0, gate).unwrap())
}

async fn ask_state(path: &str, state: Arc<State>) -> (u16, Option<String>, Value) {
    let request = Request::get(path).header("host", "localhost").body(Empty::new()).unwrap();
    let response = answer(state, request).await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_string());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, retry, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn the_status_is_200_and_not_ready() {
    let (status, _, body) = ask("/api/status").await;
    assert_eq!((status, &body["ready"], &body["hiddenSize"]), (200, &Value::Bool(false), &Value::Null));
    assert_eq!(body["modelUrl"], "/models/a%20b-1.0/");
}

#[tokio::test]
async fn what_needs_the_model_is_503_with_a_time_to_come_back() {
    for path in ["/api/generate", "/models/a%20b-1.0/config.json"] {
        let (status, retry, body) = ask(path).await;
        assert_eq!((status, retry.as_deref()), (503, Some("1")), "{path}");
        assert!(body["error"].as_str().unwrap().contains("loading"));
    }
}

#[tokio::test]
async fn the_server_is_alive_and_not_ready() {
    for (path, status, retry, body) in [
        ("/health", 503, Some("1"), json!({ "status": "loading" })),
        ("/health/live", 200, None, json!({ "status": "alive" })),
    ] {
        assert_eq!(ask(path).await, (status, retry.map(String::from), body), "{path}");
    }
    let ending = state();
    ending.ending.cancel();
    assert_eq!(ask_state("/health", ending).await.2, json!({ "status": "ending" }));
    let (status, retry, body) = ask("/info").await;
    assert_eq!((status, retry.as_deref(), &body["error"]["code"]), (503, Some("1"), &json!("model_loading")));
}

#[tokio::test]
async fn a_wrong_request_is_400_all_the_same() {
    assert_eq!(ask("/api/generate?max_tokens=0").await.0, 400);
}

/// Also at the routes of OpenAI's clients, in their form; a wrong path is 404 all the same.
#[tokio::test]
async fn the_models_are_not_listed_before_they_are_loaded() {
    for path in ["/v1/models", "/v1/models/a%20b-1.0"] {
        let (status, retry, body) = ask(path).await;
        assert_eq!((status, retry.as_deref()), (503, Some("1")), "{path}");
        assert_eq!(body["error"]["code"], "model_loading");
    }
    assert_eq!(ask("/v1/nothing").await.0, 404);
}
