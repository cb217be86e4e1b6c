//! `config.json` from the metadata.

use serde_json::json;

use super::{ConvertError, Metadata};

/// The keys of a Llama `config.json`, with the values of the metadata.
pub(super) fn config(metadata: &Metadata<'_>) -> Result<String, ConvertError> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": metadata.count("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": metadata.count("tokenizer.ggml.eos_token_id")?,
        "head_dim": metadata.count("llama.rope.dimension_count")?,
        "hidden_act": "silu",
        "hidden_size": metadata.count("llama.embedding_length")?,
        "intermediate_size": metadata.count("llama.feed_forward_length")?,
        "max_position_embeddings": metadata.count("llama.context_length")?,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": metadata.count("llama.attention.head_count")?,
        "num_hidden_layers": metadata.count("llama.block_count")?,
        "num_key_value_heads": metadata.count("llama.attention.head_count_kv")?,
        "pad_token_id": metadata.count("tokenizer.ggml.padding_token_id")?,
        "pretraining_tp": 1,
        "rms_norm_eps": metadata.decimal("llama.attention.layer_norm_rms_epsilon")?,
        "rope_interleaved": false,
        "rope_scaling": null,
        "rope_theta": metadata.decimal("llama.rope.freq_base")?,
        "tie_word_embeddings": metadata.0.tensor("output.weight").is_none(),
        "torch_dtype": "bfloat16",
        "use_cache": true,
        "vocab_size": metadata.count("llama.vocab_size")?,
    });
    Ok(format!("{config:#}\n"))
}
