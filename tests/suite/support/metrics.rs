//! Prometheus text, read back into numbers.

use std::collections::BTreeMap;

/// One scrape of one node.
#[derive(Debug)]
pub struct Metrics {
    samples: BTreeMap<Series, f64>,
}

/// A sample's name with its labels, sorted.
type Series = (String, Vec<(String, String)>);

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let samples =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect();
        Self { samples }
    }

    /// The sample with exactly these labels, if it is exported.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut labels: Vec<_> =
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// The sample with exactly these labels; panics when it is not exported.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.get(name, labels) {
            Some(value) => value,
            None => panic!("no sample {name}{labels:?}; there are {:#?}", self.of(name)),
        }
    }

    /// All samples of that name with their labels.
    pub fn of(&self, name: &str) -> Vec<(&[(String, String)], f64)> {
        self.samples
            .iter()
            .filter(|((sample, _), _)| sample == name)
            .map(|((_, labels), value)| (labels.as_slice(), *value))
            .collect()
    }
}

fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    let Some((name, labels)) = series.split_once('{') else {
        return ((series.to_owned(), Vec::new()), value);
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels do not end: {line}"));
    let mut labels: Vec<_> = labels
        .split("\",")
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("not a label: {line}"));
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect();
    labels.sort();
    ((name.to_owned(), labels), value)
}
