//! safetensors and GGUF files, validated once, read without copying, written safely.
