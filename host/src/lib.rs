//! The lockstep command: generate, tokenize, logits, serve.
