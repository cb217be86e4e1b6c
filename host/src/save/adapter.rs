//! An adapter folder, as PEFT lays it out.

use std::path::Path;

use serde_json::Value;
use session::adapter::{AdapterFiles, CONFIG_FILE, MODEL_FILE};

use super::{SaveError, write, write_provenance};

/// Fills `folder` with an adapter.
///
/// # Errors
/// If the system refuses.
pub fn write_adapter(folder: &Path, files: &AdapterFiles, provenance: &Value) -> Result<(), SaveError> {
    write(folder, CONFIG_FILE, &files.adapter_config)?;
    write(folder, MODEL_FILE, &files.adapter_model)?;
    write_provenance(folder, provenance)
}
