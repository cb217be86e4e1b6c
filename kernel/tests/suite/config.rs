//! Configurations: what is read, and what is refused with which words.

use kernel::model::{Config, DType, Field, LoadError, Model, RawTensor, parameters};

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
        ("model_type", Field::Text("mistral"), "\"model_type\" is \"mistral\", which is not supported"),
        ("model_type", Field::Absent, "no \"model_type\""),
        ("hidden_act", Field::Text("gelu"), "\"hidden_act\" is \"gelu\""),
        ("rope_scaling", Field::Other, "\"rope_scaling\""),
        ("rope_parameters.rope_type", Field::Text("llama3"), "\"rope_parameters.rope_type\" is \"llama3\""),
        ("rope_interleaved", Field::Bool(true), "\"rope_interleaved\" is true"),
        ("quantization_config", Field::Other, "\"quantization_config\""),
        ("hidden_size", Field::Number(577.0), "hidden_size 577 is no multiple of num_attention_heads 9"),
        ("hidden_size", Field::Number(0.0), "\"hidden_size\" is 0; expected a whole number"),
        ("hidden_size", Field::Number(57.6), "\"hidden_size\" is 57.6; expected a whole number"),
        ("num_hidden_layers", Field::Number(1e30), "\"num_hidden_layers\" is 1000000000000000000000000000000"),
        ("vocab_size", Field::Number(f64::NAN), "\"vocab_size\" is NaN"),
        ("vocab_size", Field::Text("many"), "\"vocab_size\" is \"many\""),
        ("num_key_value_heads", Field::Number(2.0), "num_attention_heads 9 is no multiple of num_key_value_heads 2"),
        ("head_dim", Field::Number(63.0), "head_dim 63 is odd"),
        ("rope_theta", Field::Number(-1.0), "\"rope_theta\" is -1; expected a positive number"),
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
