//! What is released: a commit, of which nothing is changed, and a version that the changelog knows.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::ReleaseError;
use crate::file::at;
use crate::process;
use crate::workspace::Workspace;

/// The heading of what is not released yet.
const UNRELEASED: &str = "Unreleased";

/// A commit and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// That of the workspace, and the name of the pre-release.
    pub(super) version: String,
    pub(super) commit: String,
    /// When the commit was made, in seconds since 1970.
    pub(super) seconds: u64,
}

impl State {
    /// What stands in the workspace, as a release or, with a name, as a pre-release.
    ///
    /// # Errors
    /// If a file is changed or unknown to git, the name is none, or the changelog has nothing of the version.
    pub(super) fn of(workspace: &Workspace, pre: Option<&str>) -> Result<State, ReleaseError> {
        let changed = git(&workspace.root, &["status", "--porcelain"])?;
        if !changed.is_empty() {
            let lines: Vec<String> = changed.lines().take(10).map(|line| format!("  {line}")).collect();
            return Err(ReleaseError::Changed(lines.join("\n")));
        }
        let version = version(&workspace.version, pre)?;
        let path = workspace.root.join("CHANGELOG.md");
        let changelog = fs::read_to_string(&path).map_err(at(&path))?;
        let heading = if pre.is_some() { UNRELEASED } else { &version };
        if !has_section(&changelog, heading) {
            return Err(ReleaseError::Changelog { heading: heading.to_owned(), version });
        }
        let seconds = git(&workspace.root, &["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let seconds = seconds.parse().map_err(|_| ReleaseError::Time(seconds))?;
        Ok(State { version, commit: git(&workspace.root, &["rev-parse", "HEAD"])?, seconds })
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, ReleaseError> {
    Ok(process::capture(Command::new("git").args(arguments).current_dir(root))?)
}

/// The version with the name of a pre-release, as Semantic Versioning has it: dots between words of letters, digits, hyphens.
fn version(released: &str, pre: Option<&str>) -> Result<String, ReleaseError> {
    let Some(pre) = pre else { return Ok(released.to_owned()) };
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if pre.split('.').all(word) { Ok(format!("{released}-{pre}")) } else { Err(ReleaseError::Pre(pre.to_owned())) }
}

/// Whether the changelog has a section of this heading with something in it; that of a version has a date.
fn has_section(changelog: &str, heading: &str) -> bool {
    let mut lines = changelog.lines().skip_while(|line| !is_heading(line, heading)).skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with("###")).is_some_and(|line| !line.starts_with("## "))
}

/// Whether a line is `## [Unreleased]`, or `## [0.1.0] - 2026-11-27`.
fn is_heading(line: &str, heading: &str) -> bool {
    let Some(rest) = line.strip_prefix(&format!("## [{heading}]")) else { return false };
    let date = |text: &str| text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if heading == UNRELEASED { rest.is_empty() } else { rest.strip_prefix(" - ").is_some_and(date) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-27\n\n### Added\n\n- A thing.\n\n\
                             ## [0.1.0] - 2026-10-01\n\n### Added\n\n## [0.0.9]\n\n- Without a date.\n";

    #[test]
    fn a_version_has_a_section_with_a_date_and_something_in_it() {
        assert!(has_section(CHANGELOG, "0.2.0"));
        for heading in ["0.1.0", "0.0.9", "0.0.1", "0.2", UNRELEASED] {
            assert!(!has_section(CHANGELOG, heading), "{heading}");
        }
        assert!(has_section("## [Unreleased]\n\n### Fixed\n\n- A thing.\n", UNRELEASED));
    }

    #[test]
    fn the_name_of_a_pre_release_is_part_of_the_version() {
        assert_eq!(version("0.1.0", None).unwrap(), "0.1.0");
        assert_eq!(version("0.1.0", Some("rc.1")).unwrap(), "0.1.0-rc.1");
        for bad in ["", "rc 1", "rc.", "../x", "é"] {
            let error = version("0.1.0", Some(bad)).unwrap_err().to_string();
            assert!(error.contains("rc.1"), "{error}");
        }
    }

    #[test]
    fn only_a_commit_of_which_nothing_is_changed_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let workspace = Workspace {
            root: root.into(),
            target: root.join("target"),
            version: "1.0.0".into(),
            rust_version: "1.89".into(),
        };
        let changelog = root.join("CHANGELOG.md");
        fs::write(&changelog, "## [Unreleased]\n\n- A thing.\n").unwrap();
        let commit = ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "-m", "x"];
        for arguments in [&["init", "--quiet"][..], &["add", "."], &commit] {
            git(root, arguments).unwrap();
        }
        let state = State::of(&workspace, Some("rc.1")).unwrap();
        assert!(state.version.ends_with("-rc.1") && state.commit.len() >= 40 && state.seconds > 0, "{state:?}");
        let error = State::of(&workspace, None).unwrap_err().to_string();
        assert!(error.contains("CHANGELOG.md") && error.contains(&workspace.version), "{error}");
        fs::write(root.join("new"), "").unwrap();
        fs::write(&changelog, "").unwrap();
        let error = State::of(&workspace, Some("rc.1")).unwrap_err().to_string();
        assert!(error.contains(" M CHANGELOG.md") && error.contains("?? new"), "{error}");
    }
}
