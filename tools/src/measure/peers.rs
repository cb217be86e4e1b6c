//! Other engines, installed by name into `target/measure`, with the model in the files that they read.
//!
//! Python packages are those of `tools/peers/requirements.txt`, in a virtual environment; the browser's come from npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::MeasureError;
use crate::file::at;
use crate::packages::{self, Need};
use crate::process;
use crate::python;
use crate::workspace::{self, Workspace};

/// The browser's peers, as npm names them.
const NODE_PACKAGES: [&str; 2] = ["@wllama/wllama@3.8.1", "@huggingface/transformers@4.3.1"];

/// Where the peers are, and the scripts that run them.
pub struct Peers {
    scripts: PathBuf,
    folder: PathBuf,
    model: PathBuf,
}

impl Peers {
    /// The Python packages; what is there already stays.
    ///
    /// # Errors
    /// If a package or a folder cannot be made.
    pub fn install(workspace: &Workspace, model: &Path) -> Result<Peers, MeasureError> {
        let (scripts, folder) = (workspace.root.join("tools/peers"), workspace.target.join("measure"));
        let peers = Peers { scripts, folder, model: model.to_owned() };
        fs::create_dir_all(&peers.folder).map_err(at(&peers.folder))?;
        packages::ensure(&[Need::program(&["c++"], "g++", "compiles llama.cpp")])?;
        let (venv, list) = (peers.folder.join("venv"), peers.scripts.join("requirements.txt"));
        python::with_requirements(&venv, &list, "other engines, which take several gigabytes")?;
        Ok(peers)
    }

    /// A script of `tools/peers`.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("venv/bin/python3"));
        command.arg(self.scripts.join(name));
        command
    }

    /// The model as a GGUF file of a type; made if it is older than the model.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn gguf(&self, kind: &str, path: &Path) -> Result<(), MeasureError> {
        if self.is_new(path) {
            return Ok(());
        }
        let output = format!("{kind}={}", path.display());
        Ok(process::run(self.script("export_gguf.py").arg(&self.model).arg(output))?)
    }

    /// The file of a type that llama.cpp reads.
    pub fn gguf_file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{kind}.gguf"))
    }

    /// candle's Llama, compiled here; it prints its figures for so many threads.
    ///
    /// # Errors
    /// If it cannot be compiled.
    pub fn candle(&self, threads: &str) -> Result<Command, MeasureError> {
        let target = self.folder.join("candle");
        let mut build = workspace::cargo();
        build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
        build.arg(self.scripts.join("candle/Cargo.toml")).arg("--target-dir").arg(&target);
        process::run(&mut build)?;
        let mut command = Command::new(target.join("release/candle-peer"));
        command.arg(&self.model).arg(threads).env("RAYON_NUM_THREADS", threads);
        Ok(command)
    }

    /// The folder that `browser/tests/speed/peers.mjs` serves: libraries and the model in the files that they read.
    ///
    /// # Errors
    /// If a part cannot be installed or made.
    pub fn web(&self) -> Result<PathBuf, MeasureError> {
        let web = self.folder.join("web");
        let model = web.join("models/model");
        fs::create_dir_all(model.join("onnx")).map_err(at(&model))?;
        if NODE_PACKAGES.iter().any(|name| !web.join("node_modules").join(without_version(name)).is_dir()) {
            let mut npm = Command::new("npm");
            npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&web);
            process::run(npm.args(NODE_PACKAGES))?;
        }
        self.gguf("q8_0", &web.join("q8_0.gguf"))?;
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            fs::copy(self.model.join(name), model.join(name)).map_err(at(&model.join(name)))?;
        }
        self.onnx(&model.join("onnx/model.onnx"))?;
        Ok(web)
    }

    /// The model for ONNX Runtime; made if it is older than the model.
    fn onnx(&self, path: &Path) -> Result<(), MeasureError> {
        if self.is_new(path) {
            return Ok(());
        }
        let (exported, programs) = (self.folder.join("onnx"), self.folder.join("venv/bin"));
        let mut export = Command::new(programs.join("optimum-cli"));
        export.args(["export", "onnx", "--task", "text-generation-with-past", "--model"]).arg(&self.model);
        process::run(export.arg(&exported))?;
        process::run(Command::new(programs.join("onnxslim")).arg(exported.join("model.onnx")).arg(path))?;
        Ok(fs::remove_dir_all(&exported).map_err(at(&exported))?)
    }

    /// Whether a file was made from the model as it is.
    fn is_new(&self, path: &Path) -> bool {
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
        let model = changed(&self.model.join("model.safetensors"));
        model.and_then(|model| Ok(changed(path)? > model)).unwrap_or(false)
    }
}

/// The folder of a package: its name without the version.
fn without_version(name: &str) -> &str {
    name.rsplit_once('@').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_cut_off_and_scopes_are_not() {
        assert_eq!(without_version("@a/b@1.2"), "@a/b");
        assert_eq!(without_version("c@1"), "c");
    }

    #[test]
    fn a_file_is_made_again_when_the_model_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().to_owned();
        let peers = Peers { scripts: model.clone(), folder: model.clone(), model: model.clone() };
        let made = model.join("made");
        assert!(!peers.is_new(&made));
        let write = |path: &Path, seconds| {
            let file = fs::File::create(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        write(&model.join("model.safetensors"), 1000);
        write(&made, 1001);
        assert!(peers.is_new(&made));
        write(&made, 999);
        assert!(!peers.is_new(&made));
    }
}
