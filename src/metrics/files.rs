//! What is counted of files that are read again while the node runs.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::labels::{Reload, WatchedFile};
use super::maker::Maker;

pub struct FileMetrics {
    reloads: IntCounterVec,
    failing: IntGaugeVec,
}

impl FileMetrics {
    pub fn new(make: &Maker) -> prometheus::Result<Self> {
        Ok(Self {
            reloads: make.children(
                "relay_reloads_total",
                "Changed files that were read again, by result; a failed one leaves in force what was read before.",
                &[("file", WatchedFile::LABELS), ("result", Reload::LABELS)],
            )?,
            failing: make.gauges(
                "relay_reload_failing",
                "1 while the newest content of a file is not in force.",
                ("file", WatchedFile::LABELS),
            )?,
        })
    }

    pub fn reloaded(&self, file: WatchedFile, taken: bool) {
        let result = if taken { Reload::Ok } else { Reload::Failed };
        self.reloads.with_label_values(&[file.label(), result.label()]).inc();
        self.failing.with_label_values(&[file.label()]).set(i64::from(!taken));
    }
}
