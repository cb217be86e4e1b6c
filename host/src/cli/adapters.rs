//! The model that is served, and the adapters that are served beside it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::{error, fmt};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::BaseModel;
use crate::open::name_of;

/// What follows the name of a model that a training made.
pub const TRAINED: &str = ":trained";

/// Which model is served, with which adapters.
#[derive(Args, Clone, Debug)]
pub struct ServedModel {
    #[command(flatten)]
    pub base: BaseModel,
    /// Folder of a low-rank adapter as PEFT lays it out: a model of its own for /v1, called NAME or as the folder; may be given
    /// several times. The first one is used by /api
    #[arg(long, env = "LOCKSTEP_ADAPTER", value_name = "[NAME=]DIR", value_parser = named())]
    pub adapter: Vec<NamedAdapter>,
}

/// An adapter's folder, and its name if that is another than the folder's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedAdapter {
    name: Option<String>,
    dir: PathBuf,
}

/// Two models would have one name.
#[derive(PartialEq, Eq, Debug)]
pub struct SameName(String);

impl fmt::Display for SameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two models are called {:?}: give the adapter another name with --adapter NAME=DIR", self.0)
    }
}

impl error::Error for SameName {}

impl ServedModel {
    /// The adapters' names and folders, beside a model of the name `base`.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn names(&self, base: &str) -> Result<Vec<(String, PathBuf)>, SameName> {
        let mut all: Vec<(String, PathBuf)> = Vec::new();
        for NamedAdapter { name, dir } in &self.adapter {
            let name = name.clone().unwrap_or_else(|| name_of(dir));
            // What a training makes is called after the model.
            let taken = name == base || name.strip_suffix(TRAINED) == Some(base);
            if taken || all.iter().any(|(other, _)| *other == name) {
                return Err(SameName(name));
            }
            all.push((name, dir.clone()));
        }
        Ok(all)
    }
}

/// Reads `NAME=DIR` or `DIR`. What has a slash before the `=` is a folder.
fn named() -> impl TypedValueParser<Value = NamedAdapter> {
    OsStringValueParser::new().map(|text: OsString| {
        let (name, dir) = match text.to_str().and_then(|text| text.split_once('=')) {
            Some((name, dir)) if !name.is_empty() && !name.contains(['/', '\\']) => {
                (Some(name.to_string()), dir.to_string().into())
            }
            _ => (None, text.into()),
        };
        NamedAdapter { name, dir }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn names(adapters: &[&str]) -> Result<Vec<(String, String)>, SameName> {
        let words = adapters.iter().flat_map(|adapter| ["--adapter", adapter]);
        let Command::Serve(serve) = Cli::parse_from(["lockstep", "serve"].into_iter().chain(words)).command else {
            unreachable!("the command is serve")
        };
        let names = serve.model.names("base")?;
        Ok(names.into_iter().map(|(name, dir)| (name, dir.display().to_string())).collect())
    }

    #[test]
    fn an_adapter_has_the_name_that_is_given_or_that_of_its_folder() {
        let expected = [("tone", "x"), ("b", "none/b"), ("b=c", "./b=c"), ("d", "e=f")];
        let expected = expected.map(|(name, dir)| (name.to_string(), dir.to_string()));
        assert_eq!(names(&["tone=x", "none/b", "./b=c", "d=e=f"]), Ok(expected.to_vec()));
        assert_eq!(names(&[]), Ok(vec![]));
    }

    #[test]
    fn no_two_models_have_one_name() {
        for adapters in [&["none/base"][..], &["base:trained=x"], &["a=x", "none/a"]] {
            assert!(names(adapters).unwrap_err().to_string().contains("--adapter NAME=DIR"), "{adapters:?}");
        }
    }
}
