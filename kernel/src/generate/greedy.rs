//! Greedy choice.

/// The token with the largest logit, the lowest one among equals (N7).
///
/// # Errors
/// The lowest token whose logit is not finite (N9).
pub(super) fn choose(logits: &[f32]) -> Result<u32, usize> {
    if let Some(token) = logits.iter().position(|v| !v.is_finite()) {
        return Err(token);
    }
    let mut best = 0;
    for (token, v) in logits.iter().enumerate() {
        if logits[best] < *v {
            best = token;
        }
    }
    Ok(best as u32)
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn n7_the_lowest_token_wins_a_tie() {
        assert_eq!(choose(&[1.0, 3.0, 3.0, 2.0]), Ok(1));
        assert_eq!(choose(&[-0.0, 0.0]), Ok(0));
        assert_eq!(choose(&[-5.0]), Ok(0));
    }

    #[test]
    fn n9_values_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(choose(&[1.0, bad, 9.0, bad]), Err(1));
        }
    }
}
