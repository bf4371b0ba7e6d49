//! What a run found: figures with their names, beside the floor's; as a table for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Named figures in the order of the table; a name ends in its unit.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    named: Vec<(String, f64)>,
    /// What was found in each repetition.
    pub runs: Vec<Value>,
    /// How the server's memory was read.
    pub memory_source: Option<&'static str>,
    /// For each process of the generator its share of a core in the measured time; the coordinator is the last.
    pub generator_cpu_shares: Vec<f64>,
    /// For each generator process its share of that time in which it wanted a CPU and had none.
    pub generator_wait_shares: Vec<f64>,
    /// What makes the run incomplete: the figures stand, and the exit code tells.
    pub shortfall: Option<String>,
}

/// Above this share of waiting, other programs slowed the generator, and so its figures.
pub const CROWDED_SHARE: f64 = 0.2;
/// Above this share of a core, a process of the generator may be what was measured.
pub const BOUND_SHARE: f64 = 0.8;

impl Figures {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.named.push((name.into(), value));
    }

    pub fn add_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub fn generator_bound(&self) -> bool {
        self.generator_cpu_shares.iter().any(|share| *share > BOUND_SHARE)
    }

    fn crowded(&self) -> bool {
        self.generator_wait_shares.iter().any(|share| *share > CROWDED_SHARE)
    }

    /// What makes the figures worth less.
    fn warn(&self, table: &mut String, who: &str) {
        let percent = |shares: &[f64]| {
            shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect::<Vec<_>>().join(", ")
        };
        if self.generator_bound() {
            let _ = writeln!(
                table,
                "{who}the generator was the bottleneck: its processes used {} of a core (the last is the coordinator); \
                 give it more --processes or CPUs",
                percent(&self.generator_cpu_shares)
            );
        }
        if self.crowded() {
            let _ = writeln!(
                table,
                "{who}the machine was busy: the generator's processes waited for a CPU {} of the time",
                percent(&self.generator_wait_shares)
            );
        }
    }

    fn json(&self) -> Map<String, Value> {
        self.named.iter().map(|(name, value)| (name.clone(), rounded(*value))).collect()
    }
}

pub struct Report {
    pub scenario: String,
    pub target: String,
    /// The load and the machine.
    pub settings: Value,
    pub figures: Figures,
    pub floor: Option<Figures>,
}

impl Report {
    /// Each figure that the floor has too, divided by the floor's.
    fn ratios(&self) -> Map<String, Value> {
        let Some(floor) = &self.floor else { return Map::new() };
        let ratio = |(name, value): &(String, f64)| {
            let least = floor.get(name).filter(|least| *least > 0.0 && is_compared(name))?;
            Some((name.clone(), rounded(value / least)))
        };
        self.figures.named.iter().filter_map(ratio).collect()
    }

    pub fn json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "target": self.target,
            "settings": self.settings,
            "figures": self.figures.json(),
            "floor": self.floor.as_ref().map(Figures::json),
            "ratios": self.ratios(),
            "runs": self.figures.runs,
            "generator_bound": self.figures.generator_bound(),
            "generator_cpu_shares": self.figures.generator_cpu_shares.iter().map(|share| rounded(*share)).collect::<Vec<_>>(),
            "generator_wait_shares":
                self.figures.generator_wait_shares.iter().map(|share| rounded(*share)).collect::<Vec<_>>(),
            "memory_source": self.figures.memory_source,
            "shortfall": self.figures.shortfall,
        })
    }

    pub fn table(&self) -> String {
        let ratios = self.ratios();
        let width = self.figures.named.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(12);
        let mut table = format!("{} against {}\n", self.scenario, self.target);
        let heads = if self.floor.is_some() { ["value", "floor", "ratio"] } else { ["value", "", ""] };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{:<width$} {:>14} {:>14} {:>8}", "", heads[0], heads[1], heads[2]);
        for (name, value) in &self.figures.named {
            let least = self.floor.as_ref().and_then(|floor| floor.get(name)).map(shown).unwrap_or_default();
            let ratio = ratios.get(name).and_then(Value::as_f64).map(|ratio| format!("{ratio:.2}"));
            let ratio = ratio.unwrap_or_default();
            let _ = writeln!(table, "{name:<width$} {:>14} {least:>14} {ratio:>8}", shown(*value));
        }
        for (who, figures) in [("", Some(&self.figures)), ("in the floor's run ", self.floor.as_ref())] {
            if let Some(figures) = figures {
                figures.warn(&mut table, who);
            }
        }
        table
    }
}

/// Whether the floor's figure under that name is a cost of the same work, to the server.
fn is_compared(name: &str) -> bool {
    let unit = |suffix| name.ends_with(suffix) && !name.starts_with("generator");
    unit("_ms") || unit("_us") || unit("_per_delivery") || unit("_per_second")
}

fn rounded(value: f64) -> Value {
    let digits = if value.abs() < 100.0 { 10_000.0 } else { 100.0 };
    json!((value * digits).round() / digits)
}

fn shown(value: f64) -> String {
    if value.fract().abs() < f64::EPSILON {
        format!("{value:.0}")
    } else if value.abs() < 100.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1}")
    }
}
