//! Takes a TOML table apart, and names all that is wrong with it.

use toml::{Table, Value};

/// Takes values out of a table, and notes every problem on the way instead of stopping at the first.
pub struct Fields<'a> {
    left: Table,
    known: Vec<&'static str>,
    name: String,
    problems: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    /// `name` stands before every problem.
    pub fn new(left: Table, name: String, problems: &'a mut Vec<String>) -> Self {
        Self { left, known: Vec::new(), name, problems }
    }

    /// A table within this one.
    pub fn below(&mut self, index: usize, table: Table) -> Fields<'_> {
        let name = format!("{}on {}: ", self.name, index + 1);
        Fields::new(table, name, self.problems)
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: &str) {
        self.problems.push(format!("{}{problem}", self.name));
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }

    /// What `parse` makes of a text under `key`, if it can.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text).map_err(|problem| self.problem(&format!("{key} {problem}"))).ok()
    }

    /// The text under `key`, if there is one.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        if !value.is_str() {
            self.problem(&format!("{key} must be a text"));
        }
        value.as_str().map(ToOwned::to_owned)
    }

    /// The text under `key`; empty, and a problem, if there is none.
    pub fn required_text(&mut self, key: &'static str) -> String {
        let is_there = self.left.contains_key(key);
        let text = self.text(key).unwrap_or_default();
        if !is_there {
            self.problem(&format!("has no {key}"));
        }
        text
    }

    /// A text, or a list of texts.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.take(key) else { return Vec::new() };
        one_or_several(&value).unwrap_or_else(|| {
            self.problem(&format!("{key} must be a text or a list of texts"));
            Vec::new()
        })
    }

    /// The table under `key`; empty if there is none.
    pub fn table(&mut self, key: &'static str) -> Table {
        match self.take(key) {
            Some(Value::Table(table)) => table,
            None => Table::new(),
            Some(_) => {
                self.problem(&format!("{key} must be a table"));
                Table::new()
            }
        }
    }

    /// The list of tables under `key`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let list = match value {
            Value::Array(list) => list,
            other => vec![other],
        };
        let tables: Option<Vec<Table>> = list
            .into_iter()
            .map(|value| match value {
                Value::Table(table) => Some(table),
                _ => None,
            })
            .collect();
        tables.unwrap_or_else(|| {
            self.problem(&format!("{key} must be tables, each under a line with [[...]]"));
            Vec::new()
        })
    }

    /// Keys that nobody took are problems.
    pub fn finish(mut self) {
        for (key, _) in std::mem::take(&mut self.left) {
            let near = self.known.iter().map(|known| (strsim::jaro_winkler(known, &key), known));
            let hint = near
                .filter(|(nearness, _)| *nearness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
            self.problem(&format!("unknown key {key}{hint}"));
        }
    }
}

/// A text, or a list of texts.
pub fn one_or_several(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}
