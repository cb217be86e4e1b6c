//! The file of answers: it grows by a line at a time, and a run that was interrupted leaves whole lines, and at most the
//! beginning of one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use session::receipt::Receipt;

use super::requests::Name;
use crate::Failure;

/// The file, open at the end of its last whole line.
pub struct Answers {
    file: File,
    path: PathBuf,
    /// Whole lines.
    lines: usize,
    /// Their bytes.
    bytes: u64,
}

impl Answers {
    /// Opens the file, or begins it, and says how many answers are there. `belongs` tells of each line, which counts from 1,
    /// whether it is an answer, or without a line feed the beginning of one, which is dropped.
    ///
    /// # Errors
    /// If it cannot be opened, another process writes it, or it has something else in it. Nothing of it is changed then.
    pub fn open(
        path: &Path,
        belongs: impl Fn(usize, &[u8]) -> Result<(), String>,
    ) -> Result<(Answers, usize), Failure> {
        let failed = |error: io::Error| format!("--output {}: {error}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("--output {}: another process is writing it; wait for that", path.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(format!("--output {}: answers are kept in a plain file; name one", path.display()).into());
        }
        let mut answers = Answers { file, path: path.to_path_buf(), lines: 0, bytes: 0 };
        let (mut reader, mut line) = (BufReader::new(&answers.file), Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                break;
            }
            belongs(answers.lines + 1, &line).map_err(|why| {
                format!(
                    "--output {}: line {} does not belong to this input: {why}. It stays as it is; name another file",
                    path.display(),
                    answers.lines + 1
                )
            })?;
            if line.ends_with(b"\n") {
                answers.lines += 1;
                answers.bytes += read as u64;
            }
        }
        answers.file.set_len(answers.bytes).map_err(failed)?;
        answers.file.seek(SeekFrom::End(0)).map_err(failed)?;
        let kept = answers.lines;
        Ok((answers, kept))
    }

    /// Adds a line and makes it durable.
    ///
    /// # Errors
    /// If the system refuses: the lines before it stay, and nothing of it, if that can be had.
    pub fn add(&mut self, json: &str) -> Result<(), String> {
        let line = format!("{json}\n");
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            // What is left of the line otherwise is dropped by the next run.
            let _ = self.file.set_len(self.bytes);
            format!(
                "--output {}: {error}. Its {} lines are whole; the same command goes on after them",
                self.path.display(),
                self.lines
            )
        })?;
        self.lines += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// The name and the receipt of an answer.
///
/// # Errors
/// If it is none.
pub fn read(line: &[u8]) -> Result<(Name, Receipt), String> {
    #[derive(Deserialize)]
    struct Answered {
        #[serde(flatten)]
        name: Name,
        receipt: Receipt,
    }
    let answered: Result<Answered, _> = serde_json::from_slice(line);
    let Answered { name, receipt } = answered.map_err(|error| format!("it is no answer: {error}"))?;
    Ok((name, receipt))
}

/// Whether these bytes are the beginning of an answer that begins like this one, whose outputs are not known.
///
/// # Errors
/// If they are not.
pub fn has_begun(bytes: &[u8], begun: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string(begun).map_err(|error| error.to_string())?;
    // The outputs follow what is known, and no quotation mark is bare within a string.
    let known = json.split_once(",\"token_ids\":").map_or(json.as_str(), |(known, _)| known).as_bytes();
    if known.starts_with(bytes) || bytes.starts_with(known) {
        Ok(())
    } else {
        Err("it is no answer that was interrupted".to_string())
    }
}
