//! A Hugging Face model folder from a GGUF file of the Llama family.

mod config;
mod tokenizer;
mod weights;

use loader::gguf::{Gguf, GgufError, Value};

pub use weights::Weights;

/// What a GGUF file turns into.
#[derive(Debug)]
pub struct Converted {
    /// `config.json`.
    pub config: String,
    /// `tokenizer.json`.
    pub tokenizer: String,
    /// `tokenizer_config.json`.
    pub tokenizer_config: String,
    /// The tensors of `model.safetensors`.
    pub weights: Weights,
}

/// Why a GGUF file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file is not valid GGUF.
    #[error("the GGUF file is invalid: {0}")]
    Gguf(#[from] GgufError),
    /// A metadata key is absent or has another type than expected.
    #[error("the GGUF file's metadata has no usable {key:?} ({expected} expected)")]
    Key {
        /// The key.
        key: &'static str,
        /// The type expected.
        expected: &'static str,
    },
    /// The model is of a kind that is not converted here.
    #[error("the GGUF file's {key} is {found:?}; only {expected:?} is converted")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The value that is converted.
        expected: &'static str,
    },
    /// Two parts of the file contradict each other.
    #[error("the GGUF file contradicts itself: {0}")]
    Contradiction(String),
}

/// Converts the bytes of a GGUF file.
///
/// # Errors
/// If the file is invalid, is no model of the Llama family with a SmolLM tokenizer, or lacks something.
pub fn convert(file: &[u8]) -> Result<Converted, ConvertError> {
    let gguf = Gguf::parse(file)?;
    let metadata = Metadata(&gguf);
    metadata.expect("general.architecture", "llama")?;
    metadata.expect("tokenizer.ggml.model", "gpt2")?;
    metadata.expect("tokenizer.ggml.pre", "smollm")?;
    Ok(Converted {
        config: config::config(&metadata)?,
        tokenizer: tokenizer::tokenizer(&metadata)?,
        tokenizer_config: tokenizer::tokenizer_config(&metadata)?,
        weights: Weights::convert(&metadata)?,
    })
}

/// Typed access to the metadata.
struct Metadata<'a>(&'a Gguf<'a>);

impl<'a> Metadata<'a> {
    fn find<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Result<T, ConvertError> {
        self.0.value(key).and_then(read).ok_or(ConvertError::Key { key, expected })
    }

    fn text(&self, key: &'static str) -> Result<&'a str, ConvertError> {
        self.find(key, "a text", Value::text)
    }

    fn expect(&self, key: &'static str, expected: &'static str) -> Result<(), ConvertError> {
        match self.text(key)? {
            found if found == expected => Ok(()),
            found => Err(ConvertError::Unsupported { key, found: found.to_owned(), expected }),
        }
    }

    /// A count or an id: an integer from 0 to 2^32 - 1.
    fn count(&self, key: &'static str) -> Result<usize, ConvertError> {
        let number = self.find(key, "an integer from 0 to 4294967295", |value| u32::try_from(value.integer()?).ok())?;
        Ok(number as usize)
    }

    /// A number that was rounded to binary32, as the shortest decimal that rounds to it: 1e-5 for 9.999999747e-6.
    fn decimal(&self, key: &'static str) -> Result<f64, ConvertError> {
        self.find(key, "a finite number", |value| match *value {
            Value::F32(number) => number.to_string().parse::<f64>().ok().filter(|number| number.is_finite()),
            Value::F64(number) => Some(number).filter(|number| number.is_finite()),
            _ => None,
        })
    }

    fn texts(&self, key: &'static str) -> Result<Vec<&'a str>, ConvertError> {
        self.find(key, "an array of texts", |value| value.array()?.iter().map(|item| item.text()).collect())
    }

    fn integers(&self, key: &'static str) -> Result<Vec<i128>, ConvertError> {
        self.find(key, "an array of integers", |value| value.array()?.iter().map(|item| item.integer()).collect())
    }
}
