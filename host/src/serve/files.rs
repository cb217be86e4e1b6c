//! Files over HTTP: the page and the model.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};
use std::str::Utf8Error;
use std::sync::Arc;

use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::api_error::ApiError;
use super::reply::{Body, error};
use super::send::send;
use super::state::State;

/// `/web/...`: a file of the web root, `index.html` for the root itself.
pub async fn page<B>(state: &State, request: &Request<B>) -> Response<Body> {
    let root = &state.arguments.listening.web_root;
    if !root.join("index.html").is_file() {
        let message = format!(
            "there is no page in {}: build it with `cargo run --release -p tools -- browser`, or name its folder with \
             --web-root DIR",
            root.display()
        );
        return error(StatusCode::NOT_FOUND, message);
    }
    let Ok(name) = decode(request.uri().path(), "/web/") else { return not_utf8() };
    match inside(root, if name.is_empty() { "index.html" } else { &name }) {
        Some(path) => send(request, &path).await,
        None => not_found(request),
    }
}

/// `/models/<folder name>/<file>`: a file of the model folder that the model needs.
pub async fn model<B>(state: &Arc<State>, request: &Request<B>) -> Response<Body> {
    let Some(opened) = state.model.get() else {
        return ApiError::loading().plain();
    };
    let Ok(name) = decode(request.uri().path(), "/models/") else { return not_utf8() };
    match name.split_once('/') {
        Some((folder, file)) if folder == state.model_name && state.model_files().contains(file) => {
            let path = opened.dir.join(file);
            // Those who fetch weights here compare what they compute with what is computed here.
            let now = tokio::fs::metadata(&path).await.ok();
            match state.engine.files.get().map_or(Ok(()), |files| files.check_name(file, now)) {
                Ok(()) => send(request, &path).await,
                Err(changed) => ApiError::changed(&changed).plain(),
            }
        }
        _ => not_found(request),
    }
}

fn not_found<B>(request: &Request<B>) -> Response<Body> {
    ApiError::no_route(request.uri().path()).plain()
}

fn not_utf8() -> Response<Body> {
    error(StatusCode::BAD_REQUEST, "the path's percent-encoding is not UTF-8")
}

/// What follows `prefix` in `path`, decoded.
fn decode<'a>(path: &'a str, prefix: &str) -> Result<Cow<'a, str>, Utf8Error> {
    percent_decode_str(path.strip_prefix(prefix).unwrap_or_default()).decode_utf8()
}

/// The path of `name` inside `root`; `None` if it leads out of it, by dots or by a symbolic link, or does not exist.
fn inside(root: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.contains(['\\', '\0']) && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    let path = plain.then(|| root.join(name).canonicalize().ok())??;
    path.starts_with(root.canonicalize().ok()?).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        for file in ["secret", "root/a.js", "root/sub/b.js", "root/...", "root/a b"] {
            std::fs::write(folder.path().join(file), file).unwrap();
        }
        for name in ["a.js", "sub/b.js", "...", "a b"] {
            assert!(inside(&root, name).is_some(), "{name}");
        }
        let absolute = folder.path().join("secret").display().to_string();
        for name in
            ["../secret", "sub/../../secret", "..", "/etc/passwd", &absolute, "a.js\0", "sub\\b.js", "none", "./a.js"]
        {
            assert_eq!(inside(&root, name), None, "{name}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
            assert_eq!(inside(&root, "link"), None);
        }
    }
}
