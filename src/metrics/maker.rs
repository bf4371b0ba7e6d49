//! Makes metrics and registers them, each with all its children.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Upper bounds in seconds, from a tenth of a millisecond (one write on loopback) to the longest `wait`.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Makes metrics and registers them.
pub struct Maker(pub Registry);

impl Maker {
    pub fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A labelled gauge with all its children at zero.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        (label, values): (&str, &[&str]),
    ) -> prometheus::Result<IntGaugeVec> {
        let gauge = self.gauge_vec(name, help, &[label])?;
        for value in values {
            gauge.with_label_values(&[*value]).set(0);
        }
        Ok(gauge)
    }

    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    pub fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
    }

    /// A labelled counter with all its children at zero.
    pub fn children(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &[&str])],
    ) -> prometheus::Result<IntCounterVec> {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let counter = self.register(IntCounterVec::new(Opts::new(name, help), &names)?)?;
        let mut combinations: Vec<Vec<&str>> = vec![vec![]];
        for (_, values) in labels {
            combinations = combinations
                .iter()
                .flat_map(|head| values.iter().map(move |value| [head.as_slice(), &[*value]].concat()))
                .collect();
        }
        for combination in combinations {
            counter.with_label_values(&combination);
        }
        Ok(counter)
    }
}
