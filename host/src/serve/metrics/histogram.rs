//! A histogram of durations that any thread may add to without waiting for another.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds of the buckets in seconds: of whole requests and of their first token.
const REQUESTS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
/// The same of the time between two tokens.
const TOKENS: [f64; 12] = [0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Counts durations by their size. The library's own histogram has a lock, which the thread that computes would have to take.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    buckets: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// For requests.
    pub fn of_requests() -> Histogram {
        Histogram::new(&REQUESTS)
    }

    /// For what lies between tokens.
    pub fn of_tokens() -> Histogram {
        Histogram::new(&TOKENS)
    }

    fn new(bounds: &'static [f64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Counts { bounds, buckets, nanoseconds: AtomicU64::new(0) }))
    }

    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let Counts { bounds, buckets, nanoseconds } = &*self.0;
        let bucket = bounds.partition_point(|&bound| bound < duration.as_secs_f64());
        // 64 bits of nanoseconds are five hundred years.
        nanoseconds.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
        buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Counts { bounds, buckets, nanoseconds } = &*self.0;
        let counts = buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        // The library sums up to each bound.
        let buckets: Vec<(f64, u64)> = bounds.iter().copied().chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_duration_is_in_the_buckets_from_its_own_on() {
        let histogram = Histogram::of_tokens();
        for microseconds in [500, 1000, 1001, 9_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let mut registry = Registry::default();
        registry.register("x", "y", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "x_sum 9.002501",
            "x_count 4",
            "x_bucket{le=\"0.001\"} 2",
            "x_bucket{le=\"0.0025\"} 3",
            "x_bucket{le=\"5.0\"} 3",
            "x_bucket{le=\"+Inf\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }
}
