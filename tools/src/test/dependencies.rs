//! What the project depends on, checked against `deny.toml`: licences, bans and sources.
//!
//! The file is cargo-deny's, which knows advisories too and takes minutes to build; this is the part that needs no network and no
//! further tool.

use std::path::PathBuf;

use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::metadata::{Metadata, MetadataError, Package};
use crate::workspace::Workspace;

/// Where packages may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The folders of the workspaces: ours, and those of the examples for machines without an operating system.
const WORKSPACES: [&str; 3] = ["", "kernel/examples/firmware", "kernel/examples/wasi"];

/// Why the dependencies are not what they may be.
#[derive(Debug, thiserror::Error)]
pub enum DependencyError {
    /// Cargo does not tell them.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The policy cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The policy is none.
    #[error("deny.toml: {0}")]
    Policy(#[from] toml::de::Error),
    /// Some packages break it.
    #[error("deny.toml does not allow:\n  {}", .0.join("\n  "))]
    Denied(Vec<String>),
}

/// The parts of the policy that are checked here.
#[derive(Deserialize)]
struct Policy {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// What a package may have beside what all may.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

impl Licences {
    /// Whether a choice among the licences of an expression is on the list, or on the package's own.
    fn allow(&self, package: &str, licence: &str) -> bool {
        let own = self.exceptions.iter().filter(|exception| exception.name == package);
        let all: Vec<&String> = self.allow.iter().chain(own.flat_map(|exception| &exception.allow)).collect();
        let listed = |requirement: &spdx::LicenseReq| all.iter().any(|name| **name == requirement.to_string());
        Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| expression.evaluate(listed))
    }
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

/// Checks every package that any build of the workspace uses.
///
/// # Errors
/// The packages that are not allowed, and why.
pub fn check(workspace: &Workspace) -> Result<(), DependencyError> {
    let path = workspace.root.join("deny.toml");
    let policy = std::fs::read_to_string(&path).map_err(|error| DependencyError::Read(path, error))?;
    let policy: Policy = toml::from_str(&policy)?;
    let mut denied = Vec::new();
    for folder in WORKSPACES {
        let metadata = Metadata::read(&workspace.root.join(folder), &["--all-features"])?;
        denied.extend(self::denied(&policy, &metadata, workspace));
    }
    if denied.is_empty() { Ok(()) } else { Err(DependencyError::Denied(denied)) }
}

fn denied(policy: &Policy, metadata: &Metadata, workspace: &Workspace) -> Vec<String> {
    let complaints = metadata.packages.iter().flat_map(|package| {
        let Package { name, version, license, source, manifest_path, dependencies, .. } = package;
        let licence = license.as_deref().filter(|licence| !policy.licenses.allow(name, licence));
        let ours = source.is_none() && manifest_path.starts_with(&workspace.root);
        let wildcards =
            dependencies.iter().filter(|dependency| ours && dependency.source.is_some() && dependency.req == "*");
        let found = [
            license.is_none().then(|| "it names no licence".to_owned()),
            licence.map(|licence| format!("its licence is {licence}")),
            policy.bans.deny.iter().any(|ban| ban.name == *name).then(|| "it is banned".to_owned()),
            (!ours && source.as_deref() != Some(REGISTRY)).then(|| format!("it comes from {source:?}")),
        ];
        let found =
            found.into_iter().flatten().chain(wildcards.map(|other| format!("it takes any version of {}", other.name)));
        found.map(|why| format!("{name} {version}: {why}")).collect::<Vec<_>>()
    });
    complaints.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependencies_are_allowed() {
        check(&Workspace::find().unwrap()).unwrap();
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let workspace = Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
            version: "1.0.0".into(),
            rust_version: "1".into(),
        };
        let policy = "licenses.allow = ['MIT']\nlicenses.exceptions = [{ crate = 'b', allow = ['MPL-2.0'] }]\n\
                      bans.deny = [{ crate = 'bad' }]";
        let policy: Policy = toml::from_str(policy).unwrap();
        let package = |json: serde_json::Value| {
            let mut whole = serde_json::json!({ "name": "a", "version": "1.0.0", "license": "MIT", "source": REGISTRY,
                "manifest_path": "/home/a/Cargo.toml", "dependencies": [] });
            whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
            denied(&policy, &serde_json::from_value(serde_json::json!({ "packages": [whole] })).unwrap(), &workspace)
        };
        let any = serde_json::json!([{ "name": "b", "req": "*", "source": REGISTRY }, { "name": "ours", "req": "*", "source": null }]);
        let ours = serde_json::json!({ "source": null, "manifest_path": "/w/a/Cargo.toml", "dependencies": any });
        for (json, why) in [
            (serde_json::json!({ "license": "GPL-3.0-only" }), "a 1.0.0: its licence is GPL-3.0-only"),
            (serde_json::json!({ "license": "MPL-2.0" }), "a 1.0.0: its licence is MPL-2.0"),
            (serde_json::json!({ "license": "MIT AND ISC" }), "a 1.0.0: its licence is MIT AND ISC"),
            (serde_json::json!({ "license": null }), "a 1.0.0: it names no licence"),
            (serde_json::json!({ "name": "bad" }), "bad 1.0.0: it is banned"),
            (
                serde_json::json!({ "source": "git+https://b.example/a" }),
                "a 1.0.0: it comes from Some(\"git+https://b.example/a\")",
            ),
            (serde_json::json!({ "source": null }), "a 1.0.0: it comes from None"),
            (ours, "a 1.0.0: it takes any version of b"),
        ] {
            assert_eq!(package(json), [why]);
        }
        for licence in ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(GPL-3.0-only AND ISC) OR MIT"] {
            assert!(package(serde_json::json!({ "license": licence })).is_empty(), "{licence}");
        }
        assert!(package(serde_json::json!({ "name": "b", "license": "MPL-2.0" })).is_empty());
    }
}
