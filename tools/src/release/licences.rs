//! The licences of all that a program is made of: what it links is under licences that ask to stand beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::ReleaseError;
use crate::file::at;
use crate::metadata::{Metadata, Package};
use crate::process;
use crate::workspace::{self, Workspace};

/// How the names of files begin that hold a licence, in capitals.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// The licences of what a package of the workspace links on `target`, as one text.
///
/// # Errors
/// If cargo does not tell the packages, or a file cannot be read.
pub(super) fn of(workspace: &Workspace, package: &str, target: &str) -> Result<String, ReleaseError> {
    let all = Metadata::read(&workspace.root, &["--filter-platform", target])?;
    // Without what only builds and tests use; `lockstep v0.1.0 (folder)` or `libm v0.2.16`.
    let mut tree = workspace::cargo();
    tree.current_dir(&workspace.root).args(["tree", "--locked", "-p", package, "--target", target]);
    tree.args(["-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let linked = process::capture(&mut tree)?;
    let linked: Vec<&str> = linked.lines().collect();
    let is_linked = |package: &&Package| {
        let name = format!("{} v{}", package.name, package.version);
        package.source.is_some() && linked.iter().any(|line| *line == name || line.starts_with(&format!("{name} ")))
    };
    let mut sections = BTreeMap::new();
    for package in all.packages.iter().filter(is_linked) {
        sections.insert((&package.name, &package.version), section(package)?);
    }
    Ok(sections.into_values().collect())
}

fn section(package: &Package) -> Result<String, ReleaseError> {
    let Package { name, version, license, repository, manifest_path, .. } = package;
    let licence = license.as_deref().unwrap_or("in the file below");
    let mut text = format!("{}\n{name} {version}: {licence}\n", "=".repeat(80));
    text += &repository.as_ref().map(|address| format!("{address}\n")).unwrap_or_default();
    let folder = manifest_path.parent().unwrap_or(manifest_path);
    for (name, content) in texts(folder).map_err(at(folder))? {
        text += &format!("\n--- {name}\n\n{}\n", content.trim_end());
    }
    Ok(text + "\n")
}

/// The files of a package that hold its licence, by name.
fn texts(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && FILES.iter().any(|begin| name.to_uppercase().starts_with(begin)) {
            let content = fs::read(entry.path())?;
            texts.insert(name, String::from_utf8_lossy(&content).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_links_stands_with_its_licence_and_what_only_builds_and_tests_use_does_not() {
        let text = of(&Workspace::find().unwrap(), "host", "x86_64-unknown-linux-gnu").unwrap();
        let has = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains(": "));
        assert!(has("libm") && has("tokio") && has("rustix"));
        assert!(!has("proptest") && !has("serde_derive") && !has("host") && !has("windows-sys"));
        assert!(text.contains("Permission is hereby granted"));
    }

    #[test]
    fn licences_are_known_by_the_names_of_their_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["LICENSE-MIT", "license.md", "NOTICE", "README.md", "Cargo.toml"] {
            fs::write(folder.path().join(name), "text\r\n").unwrap();
        }
        let found = texts(folder.path()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["LICENSE-MIT", "NOTICE", "license.md"]);
        assert_eq!(found["NOTICE"], "text\n");
    }
}
