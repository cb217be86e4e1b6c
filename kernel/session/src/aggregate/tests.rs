use super::*;
use crate::adapter::{attach, export};
use kernel::golden::Tiny;
use kernel::model::{Config, parameters};

const TARGETS: [&str; 2] = ["q_proj", "down_proj"];
const RANK: usize = 2;

fn model() -> Model {
    let config = Config {
        vocab: 11,
        dim: 20,
        hidden: 24,
        heads: 2,
        kv_heads: 1,
        head_dim: 6,
        context: 16,
        ..Tiny::One.config()
    };
    let table = parameters(&config);
    let source = |name: &str| {
        let row = table.iter().find(|row| row.name == name)?;
        let count: usize = row.shape.iter().product();
        Some(RawTensor::from_f32(row.shape.clone(), &vec![0.5; count]))
    };
    Model::load(config, &source).unwrap()
}

/// The model with an adapter of its own for each seed, of which no element is zero.
fn adapted(seed: u64, rank: usize, alpha: f64, targets: &[&str]) -> Model {
    let model = model();
    let lora = LoraConfig::new(model.config(), rank, alpha, targets).unwrap();
    let tensors = lora.initial(model.config(), seed);
    let source = |name: &str| {
        let (row, values) = tensors.iter().find(|(row, _)| row.name == name)?;
        let other = |i: usize| ((i as u64 * 7 + seed * 13) % 17) as f32 / 17.0 + 0.03;
        let values: Vec<f32> = values.iter().enumerate().map(|(i, v)| v + other(i)).collect();
        Some(RawTensor::from_f32(row.shape.clone(), &values))
    };
    model.with_adapter(&lora, &source).unwrap()
}

fn client(seed: u64, weight: u32) -> Client {
    Client::new(format!("client {seed}"), adapted(seed, RANK, 4.0, &TARGETS), weight).unwrap()
}

fn aggregate(clients: &[Client]) -> Model {
    Round::new(clients.to_vec()).unwrap().aggregate(Exec::serial())
}

/// The part that a client has of the weights, its A and its B.
type Part = (f64, Vec<f32>, Vec<f32>);

fn tensors(model: &Model) -> Vec<Vec<f32>> {
    model.adapter_tensors().into_iter().map(|weights| weights.widened().into_owned()).collect()
}

/// `B A` in binary64, of a pair of tensors.
fn product(a: &[f32], b: &[f32], rank: usize) -> Vec<f64> {
    let (rows, cols) = (b.len() / rank, a.len() / rank);
    let at = |o: usize, i: usize| (0..rank).map(|r| f64::from(b[o * rank + r]) * f64::from(a[r * cols + i])).sum();
    (0..rows).flat_map(|o| (0..cols).map(move |i| (o, i))).map(|(o, i)| at(o, i)).collect()
}

#[test]
fn the_product_is_the_weighted_mean_of_the_products() {
    let clients = [client(1, 3), client(2, 1), client(3, 2)];
    let whole = tensors(&aggregate(&clients));
    let mut worst_of_means: f64 = 0.0;
    for pair in 0..whole.len() / 2 {
        let found = product(&whole[2 * pair], &whole[2 * pair + 1], 3 * RANK);
        let parts: Vec<Part> = clients
            .iter()
            .map(|client| {
                let mut all = tensors(&client.adapted);
                let (b, a) = (all.swap_remove(2 * pair + 1), all.swap_remove(2 * pair));
                (f64::from(client.weight) / 6.0, a, b)
            })
            .collect();
        let products: Vec<Vec<f64>> =
            parts.iter().map(|(part, a, b)| product(a, b, RANK).iter().map(|v| v * part).collect()).collect();
        let mean = |index: fn(&Part) -> &Vec<f32>| -> Vec<f32> {
            let at = |i: usize| parts.iter().map(|part| part.0 * f64::from(index(part)[i])).sum::<f64>() as f32;
            (0..index(&parts[0]).len()).map(at).collect()
        };
        let of_means = product(&mean(|part| &part.1), &mean(|part| &part.2), RANK);
        for (i, found) in found.iter().enumerate() {
            let exact: f64 = products.iter().map(|product| product[i]).sum();
            // All values are positive: one rounding of the part and one of each product.
            let bound = exact.abs() * 1.01 * 2.0_f64.powi(-23);
            assert!((found - exact).abs() <= bound, "{found} {exact}");
            worst_of_means = worst_of_means.max((of_means[i] - exact).abs() / exact.abs());
        }
    }
    assert!(worst_of_means > 1e-3, "the mean of A and the mean of B would be another thing: {worst_of_means}");
}

/// The rule of the contract, a second time.
#[test]
fn the_adapters_stand_in_rising_order_of_digest() {
    let mut clients = vec![client(1, 3), client(2, 1), client(3, 2)];
    let model = aggregate(&clients);
    let lora = model.adapter().unwrap();
    assert_eq!((lora.rank(), lora.alpha(), lora.targets()), (3 * RANK, 12.0, &TARGETS.map(String::from)[..]));
    clients.sort_by_key(|client| client.digest);
    let whole = tensors(&model);
    for (index, found) in whole.iter().enumerate() {
        for (place, client) in clients.iter().enumerate() {
            let mine = &tensors(&client.adapted)[index];
            let part = (f64::from(client.weight) / 6.0) as f32;
            if index % 2 == 0 {
                assert_eq!(found[place * mine.len()..][..mine.len()], mine[..]);
                continue;
            }
            for (i, value) in mine.iter().enumerate() {
                let (row, column) = (i / RANK, i % RANK);
                let there = found[row * 3 * RANK + place * RANK + column];
                assert_eq!(there.to_bits(), (part * value).to_bits(), "{index} {place} {i}");
            }
        }
    }
    // In whatever order they come.
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(adapter_digest(&aggregate(&order.map(|i| clients[i].clone()))), adapter_digest(&model));
    }
}

#[test]
fn an_aggregate_is_an_adapter_like_any_other() {
    let model = aggregate(&[client(1, 1), client(2, 1)]);
    let files = export(&model, "base").unwrap();
    let again = attach(&self::model(), &files.adapter_config, files.adapter_model).unwrap();
    assert_eq!(adapter_digest(&again), adapter_digest(&model));
}

#[test]
fn equal_adapters_both_count_and_one_alone_is_itself() {
    let alone = aggregate(&[client(1, 7)]);
    assert_eq!(adapter_digest(&alone).unwrap(), client(1, 7).digest);
    let twice = aggregate(&[client(1, 1), client(1, 1), client(2, 2)]);
    assert_eq!(twice.adapter().unwrap().rank(), 3 * RANK);
    // Among equals the smaller weight stands first, whoever comes first.
    let orders = [[client(1, 1), client(1, 3)], [client(1, 3), client(1, 1)]];
    assert_eq!(adapter_digest(&aggregate(&orders[0])), adapter_digest(&aggregate(&orders[1])));
    // The weights count as parts of their sum.
    let digest = |weights: [u32; 2]| adapter_digest(&aggregate(&[client(1, weights[0]), client(2, weights[1])]));
    assert_eq!(digest([1, 3]), digest([1_000_000_000, 3_000_000_000]));
    assert_ne!(digest([1, 3]), digest([3, 1]));
}

#[test]
fn what_cannot_be_put_together_is_refused_by_name() {
    let refused = |clients: Vec<Client>| Round::new(clients).unwrap_err().to_string();
    let other =
        |rank, alpha, targets: &[&str]| Client::new("odd".to_string(), adapted(9, rank, alpha, targets), 1).unwrap();
    for (odd, words) in [
        (other(3, 4.0, &TARGETS), ["odd", "rank 3", "rank 2"]),
        (other(2, 5.0, &TARGETS), ["odd", "alpha 5", "alpha 4"]),
        (other(2, 4.0, &["q_proj"]), ["odd", "the targets q_proj,", "q_proj, down_proj"]),
    ] {
        let why = refused(vec![client(1, 1), odd]);
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
    }
    assert!(refused(vec![]).contains("at least one"));
    assert!(refused(vec![client(1, 1), client(2, 0)]).contains("weight 2 is 0"));
    let many = refused(vec![client(1, 1); 11]);
    assert!(many.contains("11 adapters of rank 2") && many.contains("22") && many.contains("20"), "{many}");
    assert!(Round::new(vec![client(1, 1); 10]).is_ok());
    let large = |seed| Client::new("large".to_string(), adapted(seed, RANK, 3e38, &TARGETS), 1).unwrap();
    assert!(refused(vec![large(1), large(2)]).contains("alpha would become 6"));
    assert!(Client::new("bare".to_string(), model(), 1).unwrap_err().to_string().contains("bare has no adapter"));
    assert_eq!(weights(&[], 3).unwrap(), [1, 1, 1]);
    assert_eq!(weights(&[5, 2], 2).unwrap(), [5, 2]);
    assert!(weights(&[5], 2).unwrap_err().to_string().contains("1 weights and 2 adapters"));
}
