//! The arguments of the search for the first difference.

use clap::Args;

use super::train::not_negative;
use super::{Compute, Special};

/// `lockstep diff`
#[derive(Args, Clone, Debug)]
pub struct Diff {
    /// One side: a receipt, a file of values (see `lockstep logits --intermediates`), or the name of a backend, which is then computed
    #[arg(value_name = "A")]
    pub a: String,
    /// The other side
    #[arg(value_name = "B")]
    pub b: String,
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub prompt: DiffPrompt,
    #[command(flatten)]
    pub special: Special,
    /// Overlook values that are no farther apart than N units in the last place
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_ulps: u64,
    /// Overlook values that are no farther apart than X: for values of a program that does not compute by the contract
    #[arg(long, value_name = "X", value_parser = tolerance, default_value = "0")]
    pub tolerance: f32,
    /// Print one JSON object with the difference
    #[arg(long)]
    pub json: bool,
}

/// What a backend computes; not needed where a file of values tells it.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct DiffPrompt {
    /// Prompt for a backend, as text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Prompt for a backend, as token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub prompt_ids: Option<Vec<u32>>,
}

fn tolerance(text: &str) -> Result<f32, String> {
    not_negative(text).map(|tolerance| tolerance as f32)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn a_tolerance_is_a_number_from_0_on() {
        let tolerance = |flag: &str| match Cli::try_parse_from(["lockstep", "diff", "a", "b", flag]).ok()?.command {
            Command::Diff(diff) => Some(diff.tolerance),
            _ => None,
        };
        assert_eq!((tolerance("--json"), tolerance("--tolerance=0.001")), (Some(0.0), Some(0.001)));
        for wrong in ["nan", "-1", "-1e-9", "inf", "x", ""] {
            assert_eq!(tolerance(&format!("--tolerance={wrong}")), None, "{wrong}");
        }
    }
}
