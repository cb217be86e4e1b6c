//! The tensors: names, row order and number format of the Hugging Face layout.

use loader::gguf::GgufTensor;
use loader::{DType, TensorSource, to_bf16};

use super::{ConvertError, Metadata};

/// The converted tensors, in BF16.
#[derive(Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    /// BF16, little-endian.
    bytes: Vec<u8>,
}

/// Names inside a layer: GGUF's, Hugging Face's, and whose heads' rows GGUF has permuted.
const LAYER: [(&str, &str, Option<Heads>); 9] = [
    ("attn_norm", "input_layernorm", None),
    ("attn_q", "self_attn.q_proj", Some(Heads::Query)),
    ("attn_k", "self_attn.k_proj", Some(Heads::KeyValue)),
    ("attn_v", "self_attn.v_proj", None),
    ("attn_output", "self_attn.o_proj", None),
    ("ffn_norm", "post_attention_layernorm", None),
    ("ffn_gate", "mlp.gate_proj", None),
    ("ffn_up", "mlp.up_proj", None),
    ("ffn_down", "mlp.down_proj", None),
];

/// Names outside of the layers.
const OUTSIDE: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Tensors of a GGUF file that hold no weights: the angles of RoPE, which follow from `rope_theta`.
const DERIVED: &str = "rope_freqs.weight";

#[derive(Debug, Clone, Copy)]
enum Heads {
    Query,
    KeyValue,
}

impl Weights {
    /// Converts every tensor; one without a place in the layout is an error, as is one that is missing.
    pub(super) fn convert(metadata: &Metadata<'_>) -> Result<Weights, ConvertError> {
        let layers = metadata.count("llama.block_count")?;
        let query = metadata.count("llama.attention.head_count")?;
        let key_value = metadata.count("llama.attention.head_count_kv")?;
        let mut tensors = Vec::new();
        for source in metadata.0.tensors().iter().filter(|source| source.name() != DERIVED) {
            let Some((name, permuted)) = place(source.name(), layers) else {
                return Err(ConvertError::Contradiction(format!(
                    "tensor {:?} has no place in a Llama model of {layers} layers",
                    source.name()
                )));
            };
            let heads = permuted.map(|heads| match heads {
                Heads::Query => query,
                Heads::KeyValue => key_value,
            });
            tensors.push(Tensor { name, shape: source.shape(), bytes: bytes(source, heads)? });
        }
        let expected = layers * LAYER.len() + 2;
        let head = tensors.iter().filter(|tensor| tensor.name == "lm_head.weight").count();
        if tensors.len() - head != expected {
            return Err(ConvertError::Contradiction(format!(
                "{} tensors besides an output head, a Llama model of {layers} layers has {expected}",
                tensors.len() - head
            )));
        }
        Ok(Weights { tensors })
    }

    /// The tensors, to be written.
    pub fn sources(&self) -> Vec<TensorSource<'_>> {
        self.tensors
            .iter()
            .map(|Tensor { name, shape, bytes }| TensorSource { name, dtype: DType::Bf16, shape, bytes })
            .collect()
    }
}

/// The Hugging Face name of a GGUF tensor, and whether its rows are permuted.
fn place(name: &str, layers: usize) -> Option<(String, Option<Heads>)> {
    if let Some((_, name)) = OUTSIDE.iter().find(|(gguf, _)| *gguf == name) {
        return Some(((*name).to_owned(), None));
    }
    let (layer, part) = name.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    let layer: usize = layer.parse().ok().filter(|layer| *layer < layers)?;
    let (_, name, heads) = LAYER.iter().find(|(gguf, ..)| *gguf == part)?;
    Some((format!("model.layers.{layer}.{name}.weight"), *heads))
}

/// The tensor in BF16, its rows in the order of the original model.
fn bytes(source: &GgufTensor<'_>, heads: Option<usize>) -> Result<Vec<u8>, ConvertError> {
    let values = source.to_f32();
    let mut bytes = Vec::with_capacity(values.len() * 2);
    let mut push = |row: &[f32]| bytes.extend(row.iter().flat_map(|&value| to_bf16(value).to_le_bytes()));
    let Some(heads) = heads else {
        push(&values);
        return Ok(bytes);
    };
    let &[rows, columns] = &source.shape()[..] else {
        return Err(ConvertError::Contradiction(format!("tensor {:?} is not a matrix", source.name())));
    };
    if heads == 0 || rows % (2 * heads) != 0 {
        return Err(ConvertError::Contradiction(format!(
            "tensor {:?} has {rows} rows, which are not {heads} heads of an even length",
            source.name()
        )));
    }
    // RoPE turns pairs of rows. GGUF stores a head's pairs next to each other, Hugging Face half a head apart.
    let half = rows / heads / 2;
    for head in 0..heads {
        for second in 0..2 {
            for pair in 0..half {
                let row = (head * half + pair) * 2 + second;
                push(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_of_the_model_have_no_place() {
        assert!(
            place("blk.2.attn_q.weight", 3).is_some_and(|(name, _)| name == "model.layers.2.self_attn.q_proj.weight")
        );
        for name in ["blk.3.attn_q.weight", "blk.2.attn_q.bias", "blk.x.attn_q.weight", "blk.2.weight", "other.weight"]
        {
            assert!(place(name, 3).is_none(), "{name}");
        }
    }
}
