//! The model folder: whether it is whole, whether its weights are those that were fetched, and whether they fit into memory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use bpe::{Message, Special};
use kernel::model::Config;
use kernel::transcript::{Sha256Digest, hex};
use loader::digest::sha256;
use loader::manifest::{FILE_NAME, Manifest};
use session::chat_prompt;

use super::{Check, Tell};
use crate::open::{FETCH, OpenError, Opened};
use crate::{cli, memory};

/// What `lockstep` needs besides the weights, the keys and the values: itself, the tokenizer, stacks, buffers.
const PROGRAM: u64 = 64 << 20;
/// Something of everything that a tokenizer meets.
const SAMPLE: &str = "Once upon a time, x  12\n\tGrüße, 🙂 <|im_start|>";

/// What helps a folder that is not what was fetched.
fn again() -> String {
    format!("fetch it again: `{FETCH}`")
}

/// What helps where no model could be opened.
fn advice(error: &OpenError) -> String {
    match error {
        OpenError::Context { limit, .. } => format!("give --ctx-size at most {limit}, or leave it out"),
        OpenError::MissingAdapter(_) | OpenError::Adapter { .. } | OpenError::Adapters => {
            "name the folder of an adapter of this model with --adapter, or leave it out".to_string()
        }
        OpenError::Missing(_)
        | OpenError::Read { .. }
        | OpenError::Json { .. }
        | OpenError::Tokenizer { .. }
        | OpenError::Checkpoint { .. }
        | OpenError::Model { .. } => format!("fetch the model with `{FETCH}`, or name a folder with --model"),
    }
}

/// Tells what the model folder has, and whether it can be used.
pub fn checks(arguments: &cli::Doctor, tell: Tell<'_>) -> io::Result<()> {
    let opened = match arguments.compute.open() {
        Ok(opened) => opened,
        Err(error) => return tell(Check::fail("model", error.to_string(), advice(&error))),
    };
    let config = opened.model.config();
    let bytes: u64 = opened.checkpoint.shards().iter().map(|shard| shard.bytes().as_ref().as_ref().len() as u64).sum();
    let tensors = opened.checkpoint.tensors().count();
    tell(Check::ok(
        "model",
        format!(
            "{}: {} layers, {} wide, {} tokens of context; {tensors} tensors in {} MB, every offset valid",
            opened.dir.display(),
            config.layers,
            config.dim,
            config.context,
            bytes / 1_000_000
        ),
    ))?;
    tell(tokenizer(&opened))?;
    tell(chat(&opened))?;
    let manifest = manifest(&opened.dir);
    tell(weights(&opened.checkpoint.digest(), manifest.as_ref()))?;
    if let Ok(Some(manifest)) = &manifest {
        let shards: BTreeSet<&str> = opened.checkpoint.shards().iter().map(|shard| shard.file()).collect();
        tell(files(&opened.dir, manifest, &shards))?;
    }
    tell(memory_for(config, bytes, memory::available_bytes()))
}

fn tokenizer(opened: &Opened) -> Check {
    let (tokens, vocab) = (opened.tokenizer.vocab_size(), opened.model.config().vocab);
    let back = opened.tokenizer.decode(&opened.tokenizer.encode_bare(SAMPLE, Special::Parse));
    let found = format!("{tokens} tokens, SHA-256 {}", hex(&opened.tokenizer_sha256));
    match back {
        Ok(text) if text == SAMPLE && tokens <= vocab => Check::ok("tokenizer", found),
        Ok(text) if text == SAMPLE => {
            Check::fail("tokenizer", format!("{tokens} tokens, and the model knows {vocab}"), again())
        }
        _ => Check::warn("tokenizer", found, "a text did not come back as it went in: not every text is read whole"),
    }
}

fn chat(opened: &Opened) -> Check {
    let hello = [Message { role: "user".to_string(), content: "Hello".to_string() }];
    let prompt = opened.tokenizer_config().map_err(|error| error.to_string()).and_then(|config| {
        chat_prompt(&opened.tokenizer, config.as_deref(), &hello).map_err(|error| error.to_string())
    });
    match prompt {
        Ok(ids) => Check::ok("chat template", format!("\"Hello\" is a prompt of {} tokens", ids.len())),
        Err(error) => {
            Check::warn("chat template", error, "`chat`, --messages and conversations need one; prompts do not")
        }
    }
}

/// What `manifest.json` says, where there is one.
fn manifest(dir: &Path) -> Result<Option<Manifest>, String> {
    match fs::read(dir.join(FILE_NAME)) {
        Ok(text) => Manifest::from_json(&text).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{FILE_NAME} cannot be read: {error}")),
    }
}

/// `digest` is computed from the bytes of the weights as they are now.
fn weights(digest: &Sha256Digest, manifest: Result<&Option<Manifest>, &String>) -> Check {
    let name = "weights";
    match manifest {
        Err(error) => Check::fail(name, error.as_str(), again()),
        Ok(None) => Check::warn(
            name,
            format!("digest {}, with nothing to compare it with", hex(digest)),
            format!("compare it with the one that you trust; a fetched folder has it in {FILE_NAME}"),
        ),
        Ok(Some(manifest)) if manifest.weights_sha256 != *digest => Check::fail(
            name,
            format!("digest {}, and {FILE_NAME} has {}", hex(digest), hex(&manifest.weights_sha256)),
            format!("the weights were changed or damaged: {}", again()),
        ),
        Ok(Some(Manifest { source, revision, .. })) => {
            let revision = revision.as_deref().unwrap_or("unknown revision");
            Check::ok(name, format!("digest {}, as fetched from {source} ({revision})", hex(digest)))
        }
    }
}

/// Whether the files are those of the manifest; weights are known by their digest.
fn files(dir: &Path, manifest: &Manifest, weights: &BTreeSet<&str>) -> Check {
    let small = manifest.files.iter().filter(|file| !weights.contains(file.name.as_str()));
    let changed = |file: &str, digest| !fs::read(dir.join(file)).is_ok_and(|bytes| sha256(&bytes) == digest);
    let wrong: Vec<&str> =
        small.filter(|file| changed(&file.name, file.sha256)).map(|file| file.name.as_str()).collect();
    if wrong.is_empty() {
        return Check::ok("files", format!("{} files, as {FILE_NAME} says", manifest.files.len()));
    }
    let found = format!("missing, or other than {FILE_NAME} says: {}", wrong.join(", "));
    Check::fail("files", found, format!("the page refuses this folder: {}", again()))
}

/// Whether the weights, and the keys and values of a text as long as the context, fit into memory.
fn memory_for(config: &Config, weights: u64, available: Option<u64>) -> Check {
    let text =
        (2 * config.layers * config.kv_heads * config.head_dim * size_of::<f32>()) as u64 * config.context as u64;
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    let needed = format!(
        "{} MB for the weights and the program, and up to {} MB for a text of {} tokens",
        mb(weights + PROGRAM),
        mb(text),
        config.context
    );
    let name = "memory";
    match available {
        None => Check::ok(name, format!("{needed}; this system does not tell how much there is")),
        Some(bytes) if bytes < weights + PROGRAM => Check::fail(
            name,
            format!("{needed}; {} MB are available", mb(bytes)),
            "end other programs, or raise the limit of the container (memory.max)",
        ),
        Some(bytes) if bytes < weights + PROGRAM + text => Check::warn(
            name,
            format!("{needed}; {} MB are available", mb(bytes)),
            "limit the length of texts with --ctx-size",
        ),
        Some(bytes) => Check::ok(name, format!("{needed}; {} MB are available", mb(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use kernel::golden::Tiny;

    fn config() -> Config {
        Config {
            vocab: 100,
            dim: 16,
            hidden: 24,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            context: 1 << 20,
            ..Tiny::One.config()
        }
    }

    #[test]
    fn memory_suffices_or_not_and_the_line_says_what_helps() {
        let text = 2 * 2 * 8 * 4 * (1 << 20);
        for (available, status) in [
            (None, Status::Ok),
            (Some(1000 + PROGRAM + text), Status::Ok),
            (Some(1000 + PROGRAM + text - 1), Status::Warn),
            (Some(1000 + PROGRAM), Status::Warn),
            (Some(999 + PROGRAM), Status::Fail),
        ] {
            let check = memory_for(&config(), 1000, available);
            assert_eq!(check.status, status, "{available:?}");
            assert_eq!(check.advice.is_some(), status != Status::Ok);
        }
    }

    #[test]
    fn what_helps_is_the_flag_that_is_wrong() {
        for (error, flag) in [
            (OpenError::Context { asked: 9000, limit: 8192 }, "--ctx-size at most 8192"),
            (OpenError::MissingAdapter("a".into()), "--adapter"),
            (OpenError::Missing("m".into()), "fetch-model"),
        ] {
            assert!(advice(&error).contains(flag), "{error}");
        }
    }

    #[test]
    fn weights_are_compared_with_the_manifest() {
        let manifest = |weights_sha256| {
            let (name, source, revision) = ("m".to_string(), "hub".to_string(), Some("12fd".to_string()));
            Some(Manifest { name, source, revision, files: vec![], weights_sha256, tensors: Default::default() })
        };
        assert_eq!(weights(&[1; 32], Ok(&manifest([1; 32]))).status, Status::Ok);
        let other = weights(&[1; 32], Ok(&manifest([2; 32])));
        assert!(other.status == Status::Fail && other.found.contains(&"02".repeat(32)));
        assert_eq!(weights(&[1; 32], Ok(&None)).status, Status::Warn);
        assert_eq!(weights(&[1; 32], Err(&"manifest.json is malformed".to_string())).status, Status::Fail);
    }
}
