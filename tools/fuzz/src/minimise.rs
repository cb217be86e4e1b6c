//! Makes an input smaller that still fails.

/// The most attempts for one input.
const ATTEMPTS: usize = 20_000;

/// The smallest input that a simple search finds for which `fails` still holds: parts are left out, the largest first, and
/// then bytes are made `0`.
pub fn minimise(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut left = ATTEMPTS;
    let mut attempt = |candidate: &[u8]| {
        left = left.saturating_sub(1);
        (left > 0).then(|| fails(candidate))
    };
    let mut len = smallest.len().div_ceil(2);
    while len > 0 {
        let (mut at, mut shorter) = (0, false);
        while at < smallest.len() {
            let end = (at + len).min(smallest.len());
            let candidate = [&smallest[..at], &smallest[end..]].concat();
            match attempt(&candidate) {
                None => return smallest,
                Some(true) => (smallest, shorter) = (candidate, true),
                Some(false) => at = end,
            }
        }
        if !shorter || len > 1 {
            len /= 2;
        }
    }
    for at in 0..smallest.len() {
        let mut candidate = smallest.clone();
        candidate[at] = b'0';
        match attempt(&candidate) {
            None => break,
            Some(true) => smallest = candidate,
            Some(false) => {}
        }
    }
    smallest
}
