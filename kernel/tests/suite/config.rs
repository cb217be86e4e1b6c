//! Configurations: what is read, and what is refused with which words.

use crate::invariance::tiny;
use kernel::model::{Config, DType, Field, LoadError, Model, RawTensor, parameters};
use kernel::ops::RopeScaling;

/// The values of a configuration, with some of them replaced.
fn read(changes: &[(&str, Field<'static>)]) -> Result<Config, String> {
    let given = [
        ("model_type", Field::Text("llama")),
        ("vocab_size", Field::Number(49152.0)),
        ("hidden_size", Field::Number(576.0)),
        ("intermediate_size", Field::Number(1536.0)),
        ("num_hidden_layers", Field::Number(30.0)),
        ("num_attention_heads", Field::Number(9.0)),
        ("num_key_value_heads", Field::Number(3.0)),
        ("max_position_embeddings", Field::Number(8192.0)),
        ("rope_theta", Field::Number(100_000.0)),
        ("rms_norm_eps", Field::Number(1e-5)),
        ("tie_word_embeddings", Field::Bool(true)),
        ("eos_token_id", Field::Number(2.0)),
    ];
    let lookup = |key: &str| {
        let find = |list: &[(&str, Field<'static>)]| list.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
        find(changes).or_else(|| find(&given)).unwrap_or(Field::Absent)
    };
    Config::from_fields(lookup).map_err(|error| error.to_string())
}

#[test]
fn values_come_from_the_file() {
    let config = read(&[]).unwrap();
    assert_eq!((config.head_dim, config.kv_dim(), config.q_dim()), (64, 192, 576));
    assert_eq!((config.rope_theta, config.rms_norm_eps, config.tied), (100_000.0, 1e-5, true));
    assert_eq!((config.attention_bias, config.mlp_bias, config.eos), (false, false, vec![2]));
    let other = read(&[
        ("num_key_value_heads", Field::Absent),
        ("head_dim", Field::Number(80.0)),
        ("rope_theta", Field::Absent),
        ("rope_parameters.rope_theta", Field::Number(5e5)),
        ("rope_parameters.rope_type", Field::Text("default")),
        ("tie_word_embeddings", Field::Absent),
        ("eos_token_id", Field::Numbers(vec![1.0, 2.0])),
    ])
    .unwrap();
    assert_eq!((other.kv_heads, other.head_dim, other.rope_theta, other.tied), (9, 80, 5e5, false));
    assert_eq!(other.eos, vec![1, 2]);
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    for (key, value, part) in [
        (
            "model_type",
            Field::Text("mistral"),
            "\"mistral\", which is not supported: its attention sees a window only;",
        ),
        (
            "model_type",
            Field::Text("qwen3"),
            "normalises the queries and keys of each head; supported: \"llama\", \"qwen2\"",
        ),
        (
            "model_type",
            Field::Text("new"),
            "\"model_type\" is \"new\", which is not supported: this program does not know",
        ),
        ("model_type", Field::Number(1.0), "\"model_type\" is 1, which is not supported"),
        ("model_type", Field::Absent, "no \"model_type\""),
        ("hidden_act", Field::Text("gelu"), "\"hidden_act\" is \"gelu\""),
        ("rope_scaling", Field::Text("linear"), "\"rope_scaling\" is \"linear\"; expected an object"),
        ("sliding_window", Field::Number(4096.0), "\"sliding_window\" is 4096"),
        (
            "use_sliding_window",
            Field::Bool(true),
            "\"use_sliding_window\" is true, which is not supported; supported: false (each",
        ),
        ("layer_types", Field::Texts(vec!["full_attention", "sliding_attention"]), "\"layer_types\" is [\"full"),
        ("partial_rotary_factor", Field::Number(0.5), "\"partial_rotary_factor\" is 0.5"),
        ("rope_parameters.partial_rotary_factor", Field::Number(0.5), "partial_rotary_factor\" is 0.5"),
        ("num_experts", Field::Number(8.0), "\"num_experts\" is 8"),
        ("num_local_experts", Field::Number(8.0), "\"num_local_experts\" is 8"),
        ("qk_norm", Field::Bool(true), "\"qk_norm\" is true"),
        ("attention_bias", Field::Text("all"), "\"attention_bias\" is \"all\"; expected true or false"),
        ("rope_interleaved", Field::Bool(true), "\"rope_interleaved\" is true"),
        ("quantization_config", Field::Other, "\"quantization_config\""),
        ("hidden_size", Field::Number(577.0), "hidden_size 577 is no multiple of num_attention_heads 9"),
        ("hidden_size", Field::Number(0.0), "\"hidden_size\" is 0; expected a whole number"),
        ("hidden_size", Field::Number(57.6), "\"hidden_size\" is 57.6; expected a whole number"),
        ("num_hidden_layers", Field::Number(1e30), "\"num_hidden_layers\" is 1000000000000000000000000000000"),
        ("num_hidden_layers", Field::Number(4097.0), "\"num_hidden_layers\" is 4097; expected at most 4096"),
        ("head_dim", Field::Number(16_777_216.0), "9 heads of 16777216 elements are more than 16777216 elements"),
        ("vocab_size", Field::Number(f64::NAN), "\"vocab_size\" is NaN"),
        ("vocab_size", Field::Text("many"), "\"vocab_size\" is \"many\""),
        ("num_key_value_heads", Field::Number(2.0), "num_attention_heads 9 is no multiple of num_key_value_heads 2"),
        ("head_dim", Field::Number(63.0), "head_dim 63 is odd"),
        ("rope_theta", Field::Number(0.5), "\"rope_theta\" is 0.5; expected a number from 1 that binary32 can hold"),
        ("rms_norm_eps", Field::Number(1e-60), "\"rms_norm_eps\""),
        ("rms_norm_eps", Field::Absent, "no \"rms_norm_eps\""),
        ("tie_word_embeddings", Field::Number(1.0), "\"tie_word_embeddings\" is 1; expected true or false"),
        ("eos_token_id", Field::Number(49152.0), "eos_token_id 49152 is outside the vocabulary of 49152"),
        ("eos_token_id", Field::Numbers(vec![0.5]), "\"eos_token_id\" is a list of numbers"),
    ] {
        let message = read(&[(key, value.clone())]).unwrap_err();
        assert!(message.contains(part), "{key} {value:?}: {message}");
    }
}

#[test]
fn tensors_must_fit_the_configuration() {
    let small = [
        ("vocab_size", Field::Number(5.0)),
        ("hidden_size", Field::Number(18.0)),
        ("intermediate_size", Field::Number(4.0)),
        ("num_hidden_layers", Field::Number(1.0)),
    ];
    let config = read(&small).unwrap();
    let load = |wrong: &str, shape: Option<Vec<usize>>, bytes: usize| {
        let tensor = |name: &str| {
            let mut parameter = parameters(&config).into_iter().find(|p| p.name == name)?;
            let mut len = parameter.shape.iter().product::<usize>() * 4;
            if name == wrong {
                parameter.shape = shape.clone()?;
                len = bytes;
            }
            Some(RawTensor { dtype: DType::F32, shape: parameter.shape, bytes: vec![0; len].into() })
        };
        Model::load(config.clone(), &tensor).map(|_| ())
    };
    assert_eq!(load("", None, 0), Ok(()));
    let name = "model.layers.0.mlp.up_proj.weight".to_string();
    let expected = vec![4, 18];
    assert_eq!(load(&name, None, 0), Err(LoadError::Missing { name: name.clone(), expected: expected.clone() }));
    let found = vec![18, 4];
    let error = load(&name, Some(found.clone()), 288);
    assert_eq!(error, Err(LoadError::Shape { name: name.clone(), found, expected: expected.clone() }));
    assert_eq!(load(&name, Some(expected), 287), Err(LoadError::Size { name, found: 287, expected: 288 }));
}

const OLD: &str = "rope_scaling";
const NEW: &str = "rope_parameters";

/// A scaling in one of the two layouts, with some of its values replaced.
fn scaled(layout: &'static str, rope_type: &'static str, changes: &[(&str, Field<'static>)]) -> Result<Config, String> {
    let mut fields = vec![
        ("rope_type", Field::Text(rope_type)),
        ("factor", Field::Number(32.0)),
        ("low_freq_factor", Field::Number(1.0)),
        ("high_freq_factor", Field::Number(4.0)),
        ("original_max_position_embeddings", Field::Number(8192.0)),
    ];
    for (key, value) in changes {
        fields.retain(|(name, _)| name != key);
        fields.push((key, value.clone()));
    }
    let named: Vec<(String, Field<'static>)> =
        fields.into_iter().map(|(key, value)| (format!("{layout}.{key}"), value)).collect();
    let mut all: Vec<(&str, Field<'static>)> = named.iter().map(|(key, value)| (&**key, value.clone())).collect();
    all.push((layout, Field::Other));
    read(&all)
}

#[test]
fn scaled_frequencies_are_read_in_both_layouts() {
    let llama3 = RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 8192 };
    for layout in [OLD, NEW] {
        assert_eq!(scaled(layout, "llama3", &[]).unwrap().rope_scaling, Some(llama3));
        assert_eq!(scaled(layout, "linear", &[]).unwrap().rope_scaling, Some(RopeScaling::Linear { factor: 32.0 }));
        let older = [("rope_type", Field::Absent), ("type", Field::Text("linear"))];
        let older = scaled(layout, "", &older).unwrap();
        assert_eq!(older.rope_scaling, Some(RopeScaling::Linear { factor: 32.0 }));
        let plain = scaled(layout, "default", &[("factor", Field::Absent)]).unwrap();
        assert_eq!(plain, read(&[]).unwrap());
        for (rope_type, changes, part) in [
            (
                "yarn",
                &[][..],
                "rope_type\" is \"yarn\", which is not supported; supported: \"default\" without a factor",
            ),
            ("dynamic", &[], "rope_type\" is \"dynamic\""),
            ("default", &[], "rope_type\" is \"default\""),
            ("", &[("rope_type", Field::Absent)], "has no \"rope_"),
            ("linear", &[("factor", Field::Absent)], ".factor\""),
            ("linear", &[("factor", Field::Number(0.5))], ".factor\" is 0.5; expected a number from 1"),
            ("llama3", &[("factor", Field::Number(f64::INFINITY))], ".factor\" is inf; expected a number from 1"),
            ("llama3", &[("low_freq_factor", Field::Absent)], ".low_freq_factor\""),
            (
                "llama3",
                &[("high_freq_factor", Field::Number(1.0))],
                "low_freq_factor 1 is not below high_freq_factor 1",
            ),
            ("llama3", &[("high_freq_factor", Field::Text("4"))], ".high_freq_factor\" is \"4\""),
            ("llama3", &[("original_max_position_embeddings", Field::Absent)], ".original_max_position_embeddings\""),
        ] {
            let message = scaled(layout, rope_type, changes).unwrap_err();
            assert!(message.contains(part), "{layout} {rope_type} {changes:?}: {message}");
        }
    }
    let both = [
        (OLD, Field::Other),
        ("rope_scaling.type", Field::Text("linear")),
        ("rope_scaling.factor", Field::Number(2.0)),
        (NEW, Field::Other),
        ("rope_parameters.rope_theta", Field::Number(1e5)),
    ];
    assert!(read(&both).unwrap_err().contains("rope_scaling and rope_parameters say two things"));
    let agreeing =
        [("rope_parameters.rope_type", Field::Text("linear")), ("rope_parameters.factor", Field::Number(2.0))];
    assert!(read(&[&both[..], &agreeing].concat()).unwrap().rope_scaling.is_some());
    let theta = read(&[("rope_parameters.rope_theta", Field::Number(1e6))]).unwrap_err();
    assert!(theta.contains("rope_theta is 100000, and in rope_parameters it is 1000000"), "{theta}");
}

#[test]
fn families_have_the_biases_that_they_have() {
    let biases = |changes: &[(&str, Field<'static>)]| {
        read(changes).map(|config| (config.attention_bias, config.attention_output_bias, config.mlp_bias))
    };
    assert_eq!(biases(&[("attention_bias", Field::Bool(true))]), Ok((true, true, false)));
    assert_eq!(biases(&[("mlp_bias", Field::Bool(true))]), Ok((false, false, true)));
    let qwen2 = [
        ("model_type", Field::Text("qwen2")),
        ("use_sliding_window", Field::Bool(false)),
        ("sliding_window", Field::Number(32768.0)),
        ("max_window_layers", Field::Number(21.0)),
        ("layer_types", Field::Texts(vec!["full_attention"; 30])),
    ];
    assert_eq!(biases(&qwen2), Ok((true, false, false)));
    for (key, value, part) in [
        ("use_sliding_window", Field::Bool(true), "\"use_sliding_window\" is true"),
        ("attention_bias", Field::Bool(false), "\"attention_bias\" is false, which is not supported; supported: none"),
        ("mlp_bias", Field::Bool(true), "\"mlp_bias\" is true"),
    ] {
        let message = biases(&[&[(key, value)], &qwen2[..]].concat()).unwrap_err();
        assert!(message.contains(part), "{key}: {message}");
    }
    let config = read(&qwen2).unwrap();
    let names: Vec<String> = parameters(&config).into_iter().map(|row| row.name).collect();
    let of_first: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("model.layers.0.self_attn.")).collect();
    let expected = [
        "q_proj.weight",
        "q_proj.bias",
        "k_proj.weight",
        "k_proj.bias",
        "v_proj.weight",
        "v_proj.bias",
        "o_proj.weight",
    ];
    assert_eq!(of_first, expected);
}

#[test]
fn a_configuration_made_by_hand_is_checked_where_it_is_loaded() {
    let scaled = |scaling| Config { rope_scaling: Some(scaling), ..tiny() };
    let llama3 = |factor, low_freq_factor, high_freq_factor, original| RopeScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original,
    };
    for (wrong, word) in [
        (Config { heads: 3, kv_heads: 2, ..tiny() }, "num_attention_heads 3 is no multiple of num_key_value_heads 2"),
        (Config { kv_heads: 0, ..tiny() }, "\"num_key_value_heads\" is 0"),
        (Config { layers: 0, ..tiny() }, "\"num_hidden_layers\" is 0"),
        (Config { head_dim: 5, ..tiny() }, "head_dim 5 is odd"),
        (Config { rope_theta: 0.5, ..tiny() }, "\"rope_theta\" is 0.5"),
        (scaled(RopeScaling::Linear { factor: 0.5 }), "\"rope_scaling.factor\" is 0.5"),
        (scaled(llama3(f64::NAN, 1.0, 4.0, 8192)), "\"rope_scaling.factor\" is NaN"),
        (scaled(llama3(8.0, 0.0, 4.0, 8192)), "\"rope_scaling.low_freq_factor\" is 0"),
        (scaled(llama3(8.0, 1.0, f64::INFINITY, 8192)), "\"rope_scaling.high_freq_factor\" is inf"),
        (scaled(llama3(8.0, 4.0, 4.0, 8192)), "low_freq_factor 4 is not below high_freq_factor 4"),
        (scaled(llama3(8.0, 1.0, 4.0, 0)), "\"rope_scaling.original_max_position_embeddings\" is 0"),
        (Config { rms_norm_eps: 0.0, ..tiny() }, "\"rms_norm_eps\" is 0"),
        (Config { eos: vec![5], ..tiny() }, "eos_token_id 5"),
    ] {
        let Err(LoadError::Config(error)) = Model::load(wrong, &|_| None) else { panic!("{word}") };
        assert!(error.to_string().contains(word), "{error}");
    }
}
