//! Byte-level BPE tokenizer, equal to Hugging Face tokenizers on every text.
