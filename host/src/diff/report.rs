//! What was found, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use session::receipt::Verdict;

use crate::terminal::{line, print_json};
use crate::{Outcome, cli};

/// What a comparison gave.
pub(super) enum Finding {
    /// No difference; of what, where it is not all.
    Equal(Option<String>),
    /// The first difference.
    Differ(Box<Difference>),
    /// The two cannot be compared.
    Cannot(String),
    /// A file is not what it should be.
    Malformed(String),
}

/// The first difference.
#[derive(Serialize, Default)]
pub(super) struct Difference {
    /// The step, from 1: of values the position of the text, of receipts what they call a step.
    pub step: Option<usize>,
    /// The layer, from 0, where the operator is in one.
    pub layer: Option<usize>,
    /// The operator whose output differs, or the member of a receipt.
    pub op: Option<String>,
    /// The element of the output at this step, from 0.
    pub element: Option<usize>,
    /// How many binary32 numbers one is away from the other; none where one is NaN.
    pub ulps: Option<u64>,
    pub a: Value,
    pub b: Value,
    /// How much differs beside the first difference.
    pub extent: Option<Extent>,
    /// The members of receipts that differ and are of no step.
    pub members: Vec<String>,
    /// What the model that is here says of receipts.
    pub computed: Option<Computed>,
}

/// How much differs.
#[derive(Serialize, Default)]
pub(super) struct Extent {
    pub tensors: usize,
    pub tensors_differ: usize,
    pub values: usize,
    pub values_differ: usize,
    /// The largest distance; none where one of two is NaN.
    pub max_ulps: Option<u64>,
    /// The largest absolute difference; null in JSON where one of two is NaN.
    pub max_difference: f32,
    /// Tensors that only one side has.
    pub not_compared: Vec<String>,
}

/// Two receipts, computed again.
#[derive(Serialize)]
pub(super) struct Computed {
    a: Option<Value>,
    b: Option<Value>,
    why_not: Option<String>,
}

impl Computed {
    pub fn new(a: Verdict, b: Verdict) -> Computed {
        let told = |verdict: &Verdict| json!({"verdict": verdict.word(), "step": verdict.step(), "why": verdict.why()});
        Computed { a: Some(told(&a)), b: Some(told(&b)), why_not: None }
    }

    pub fn not(why: String) -> Computed {
        Computed { a: None, b: None, why_not: Some(why) }
    }
}

impl Difference {
    /// Of two receipts, or a receipt and values.
    pub fn of_member(step: usize, member: &str, a: Value, b: Value) -> Difference {
        Difference { step: Some(step), op: Some(member.to_string()), a, b, ..Difference::default() }
    }
}

impl Finding {
    pub fn code(&self) -> u8 {
        match self {
            Finding::Equal(_) => 0,
            Finding::Differ(_) => 3,
            Finding::Cannot(_) => 4,
            Finding::Malformed(_) => 5,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Finding::Equal(_) => "EQUAL",
            Finding::Differ(_) => "DIFFER",
            Finding::Cannot(_) => "CANNOT_COMPARE",
            Finding::Malformed(_) => "MALFORMED",
        }
    }
}

/// Prints the finding, as JSON if that is asked for.
pub(super) fn print(arguments: &cli::Diff, finding: &Finding) -> Outcome {
    if !arguments.json {
        return Ok(text(arguments, finding)?);
    }
    #[derive(Serialize)]
    struct Report<'a> {
        verdict: &'static str,
        #[serde(flatten)]
        difference: Option<&'a Difference>,
        /// What is equal, or why there is no comparison.
        what: Option<&'a str>,
    }
    let (difference, what) = match finding {
        Finding::Equal(what) => (None, what.as_deref()),
        Finding::Differ(difference) => (Some(&**difference), None),
        Finding::Cannot(why) | Finding::Malformed(why) => (None, Some(why.as_str())),
    };
    print_json(&Report { verdict: finding.word(), difference, what })
}

fn text(arguments: &cli::Diff, finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout();
    write!(out, "{}", finding.word())?;
    let difference = match finding {
        Finding::Equal(None) => return writeln!(out),
        Finding::Equal(Some(why)) | Finding::Cannot(why) | Finding::Malformed(why) => {
            return writeln!(out, ": {}", line(why));
        }
        Finding::Differ(difference) => &**difference,
    };
    let Difference { step, layer, op, element, ulps, a, b, extent, members, computed } = difference;
    let place = [
        step.map(|step| format!("step {step}")),
        layer.map(|layer| format!("layer {layer}")),
        op.clone(),
        element.map(|element| format!("element {element}")),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        write!(out, " at {}", line(&place.join(", ")))?;
    }
    match ulps {
        Some(ulps) => writeln!(out, ": {ulps} ULP")?,
        None => writeln!(out)?,
    }
    if step.is_some() {
        let [a, b] = [a, b].map(shown);
        writeln!(out, "  A {} ({})\n  B {} ({})", line(&a), arguments.a, line(&b), arguments.b)?;
    }
    if let Some(Extent { tensors, tensors_differ, values, values_differ, max_ulps, max_difference, not_compared }) =
        extent
    {
        let most = max_ulps.map_or("more than numbers can be".to_string(), |ulps| format!("at most {ulps} ULP"));
        writeln!(
            out,
            "  {values_differ} of {values} values differ, in {tensors_differ} of {tensors} tensors, by {most}, {max_difference:e}"
        )?;
        if !not_compared.is_empty() {
            writeln!(out, "  not compared, since one side has them alone: {} tensors", not_compared.len())?;
        }
    }
    if !members.is_empty() {
        writeln!(out, "  these differ too: {}", line(&members.join(", ")))?;
    }
    match computed {
        Some(Computed { why_not: Some(why), .. }) => writeln!(out, "  not computed here: {}", line(why)),
        Some(Computed { a: Some(a), b: Some(b), .. }) => {
            let [a, b] = [a, b].map(verdict);
            writeln!(out, "  computed here: A {}, B {}", line(&a), line(&b))
        }
        _ => Ok(()),
    }
}

/// A value with its bits, or a digest.
fn shown(value: &Value) -> String {
    match (value.as_str(), &value["bits"]) {
        (Some(text), _) => text.to_string(),
        (None, Value::String(bits)) => format!("{} (bits {bits})", value["value"]),
        _ => value.to_string(),
    }
}

fn verdict(told: &Value) -> String {
    let word = told["verdict"].as_str().unwrap_or_default();
    match (told["step"].as_u64(), told["why"].as_str()) {
        (Some(step), _) => format!("{word} at step {step}"),
        (None, Some(why)) => format!("{word} ({why})"),
        (None, None) => word.to_string(),
    }
}
