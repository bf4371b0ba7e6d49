//! One line on a terminal that says what is going on; nothing where standard error is not one.

use std::io::{IsTerminal, Write};

pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    pub fn say(&self, what: &str) {
        if self.shown {
            // A terminal that is gone shows nothing.
            let _ = write!(std::io::stderr(), "\r\x1b[K{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}
