//! The kernel, tokenizer and loader as a WebAssembly engine, and the page that shows it.
