//! The modules of the page that a module needs: what it imports, the workers that it starts and the files that it fetches, and so on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::NpmError;
use crate::file::at;

/// The paths, relative to `folder`, of `module` and of all that it needs: a relative path behind the `from` of an import or export, or
/// in `new URL(path, import.meta.url)`, by which bundlers find them too. Comments are read like code.
///
/// # Errors
/// If a file cannot be read, or is not inside the folder.
pub(super) fn needed(folder: &Path, module: &str) -> Result<BTreeSet<String>, NpmError> {
    let mut found = BTreeSet::new();
    let mut to_read = vec![module.to_owned()];
    while let Some(name) = to_read.pop() {
        let path = folder.join(&name);
        if !found.insert(name.clone()) {
            continue;
        }
        if !name.ends_with(".js") {
            fs::metadata(&path).map_err(at(&path))?;
            continue;
        }
        let source = fs::read_to_string(&path).map_err(at(&path))?;
        for reference in references(&source) {
            let resolved = resolve(&name, reference)
                .ok_or_else(|| NpmError::Outside { module: name.clone(), reference: reference.to_owned() })?;
            to_read.push(resolved);
        }
    }
    Ok(found)
}

/// The paths that the source names.
fn references(source: &str) -> Vec<&str> {
    let imported = source.lines().filter_map(|line| {
        let statement = ["import", "export", "}"].iter().any(|start| line.starts_with(start));
        let (_, end) = line.split_once(" from ")?;
        statement.then_some(end)
    });
    let located = source.split("new URL(").skip(1).filter(|rest| {
        let (argument, _) = rest.split_once(')').unwrap_or_default();
        argument.ends_with(", import.meta.url")
    });
    imported.chain(located).filter_map(quoted).collect()
}

/// The text between the quotes with which `rest` starts.
fn quoted(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
    Some(rest[1..].split_once(quote)?.0)
}

/// The path that `reference` means in the module `from`, both relative to one folder; none if it leads out of it.
fn resolve(from: &str, reference: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            "" => return None,
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn imports_workers_and_fetched_files_are_needed_and_nothing_else() {
        let dir = folder(&[
            ("a.js", "import {\n  b,\n} from \"./b.js\";\nnew Worker(new URL(\"./w.js\", import.meta.url), {});\n"),
            (
                "b.js",
                "/** @type {import(\"./types.js\").T} */\nfetch(new URL(\"./page.json\", base));\nimport \"x\";\n",
            ),
            ("w.js", "export * as m from \"./deep/m.js\";\n// not from \"./here.js\"\n"),
            ("deep/m.js", "  url = new URL('m.wasm', import.meta.url);\nimport { b } from '../b.js';\n"),
            ("deep/m.wasm", "new URL('no module', import.meta.url)"),
            ("page.json", ""),
        ]);
        let names: Vec<String> = needed(dir.path(), "a.js").unwrap().into_iter().collect();
        assert_eq!(names, ["a.js", "b.js", "deep/m.js", "deep/m.wasm", "w.js"]);
    }

    #[test]
    fn what_is_missing_or_elsewhere_is_named() {
        let dir = folder(&[
            ("a.js", "import b from \"./b.js\";"),
            ("c.js", "import d from \"../d.js\";"),
            ("e.js", "new URL('e.wasm', import.meta.url)"),
            ("f.js", "import g from \"/g.js\";"),
        ]);
        for (module, name) in [("a.js", "b.js"), ("c.js", "../d.js"), ("e.js", "e.wasm"), ("f.js", "/g.js")] {
            let error = needed(dir.path(), module).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
