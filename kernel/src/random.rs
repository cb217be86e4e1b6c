//! The one random generator: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2,
//! 3"), a function of key and counter, so that every value can be made anywhere, in any order.

use alloc::vec::Vec;

/// Multipliers of the two products of a round.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What is added to the key after each round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Four random words for `key` and `counter`, by ten rounds.
pub fn philox(key: u64, counter: [u32; 4]) -> [u32; 4] {
    let mut key = [key as u32, (key >> 32) as u32];
    let mut c = counter;
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(b >> 32) as u32 ^ c[1] ^ key[0], b as u32, (a >> 32) as u32 ^ c[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    c
}

/// What random numbers are drawn for: the first word of the counter, so that no two uses share a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Purpose {
    /// The weights of the tiny model of [`crate::golden`].
    Golden = 1,
    /// The first factor of a new adapter.
    Lora = 2,
    /// The order in which a trainer takes its data.
    Shuffle = 3,
    /// The choice of tokens.
    Sample = 4,
    /// Which data is set apart to evaluate a model.
    Split = 5,
}

/// Number `index` of stream `stream`, uniform in `0.0..1.0`: the upper 24 bits of a word, times 2^-24.
pub fn uniform(seed: u64, purpose: Purpose, stream: u32, index: u64) -> f32 {
    let words = philox(seed, [purpose as u32, stream, index as u32, (index >> 32) as u32]);
    (words[0] >> 8) as f32 * f32::from_bits(0x3380_0000)
}

/// Number `index` of stream `stream` as 64 random bits: the first word is the lower half, the second the upper.
pub fn random_u64(seed: u64, purpose: Purpose, stream: u32, index: u64) -> u64 {
    let [low, high, ..] = philox(seed, [purpose as u32, stream, index as u32, (index >> 32) as u32]);
    u64::from(low) | (u64::from(high) << 32)
}

/// The numbers below `count` in a random order, by Fisher and Yates: for `i` from the last place down to the second, places `i`
/// and `(u * (i + 1)) >> 32` change their numbers, with `u` the first word of number `i` of stream `stream`.
pub fn shuffled(seed: u64, purpose: Purpose, stream: u32, count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for i in (1..count).rev() {
        let [u, ..] = philox(seed, [purpose as u32, stream, i, 0]);
        let other = (u64::from(u) * (u64::from(i) + 1)) >> 32;
        order.swap(i as usize, other as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_number_and_each_order_occurs() {
        let mut found = [[[0_u32; 3]; 3]; 3];
        for epoch in 0..6000 {
            let order = shuffled(1, Purpose::Shuffle, epoch, 3);
            found[order[0] as usize][order[1] as usize][order[2] as usize] += 1;
        }
        let counts: Vec<u32> = found.as_flattened().as_flattened().iter().copied().filter(|n| *n > 0).collect();
        assert_eq!((counts.len(), counts.iter().sum::<u32>()), (6, 6000));
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
        let shuffled = |seed, count| shuffled(seed, Purpose::Shuffle, 0, count);
        assert_eq!((shuffled(1, 0), shuffled(1, 1)), (Vec::new(), Vec::from([0])));
        assert_ne!(shuffled(1, 100), shuffled(2, 100));
    }

    /// The known answers that the authors publish with Random123.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(0x299f_31d0_a409_3822, counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn uniform_stays_below_one() {
        let values = (0..10_000).map(|i| uniform(7, Purpose::Golden, 0, i));
        let (mut low, mut high) = (1.0_f32, 0.0_f32);
        for v in values {
            assert!((0.0..1.0).contains(&v));
            low = if v < low { v } else { low };
            high = if v > high { v } else { high };
        }
        assert!(low < 0.001 && high > 0.999, "{low} {high}");
    }
}
