//! Results as Markdown, and what they fall short of.

use std::fmt::Write;

use super::measure::{Usage, median, range};

/// What a row must not exceed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time, ours / theirs; `None` for any.
    pub(super) time: Option<f64>,
    /// Size, ours / theirs.
    pub(super) size: f64,
    /// Peak memory of ours, bytes.
    pub(super) memory: u64,
}

/// Runs of one program, in order.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) runs: Vec<Usage>,
    /// Length of the image, bytes.
    pub(super) size: u64,
}

impl Side {
    fn wall(&self) -> impl Iterator<Item = f64> {
        self.runs.iter().map(|run| run.wall.as_secs_f64())
    }

    fn cpu(&self) -> impl Iterator<Item = f64> {
        self.runs.iter().map(|run| run.cpu.as_secs_f64())
    }

    fn peak_memory(&self) -> u64 {
        self.runs.iter().map(|run| run.peak_memory).max().unwrap_or_default()
    }
}

/// One compressor.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) limits: Limits,
    pub(super) ours: Side,
    pub(super) theirs: Side,
}

impl Row {
    /// Run by run, so that what slows the machine down for a while slows both.
    fn time_ratio(&self) -> f64 {
        median(self.ours.wall().zip(self.theirs.wall()).map(|(ours, theirs)| ours / theirs))
    }

    fn size_ratio(&self) -> f64 {
        ratio(self.ours.size, self.theirs.size)
    }

    /// One sentence for each limit that is exceeded.
    fn misses(&self) -> Vec<String> {
        let Row { name, limits, .. } = self;
        let mut misses = Vec::new();
        if let Some(time) = limits.time.filter(|&time| self.time_ratio() > time) {
            misses.push(format!("{name}: time {:.3} of theirs, at most {time:.2}", self.time_ratio()));
        }
        if self.size_ratio() > limits.size {
            misses.push(format!(
                "{name}: size {:.4} of theirs, at most {:.3}",
                self.size_ratio(),
                limits.size
            ));
        }
        let memory = self.ours.peak_memory();
        if memory > limits.memory {
            let (memory, limit) = (megabytes(memory), megabytes(limits.memory));
            misses.push(format!("{name}: {memory} of memory, at most {limit}"));
        }
        misses
    }
}

/// All rows as a table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | time, ours | time, theirs | ours / theirs | at most | CPU, ours | CPU, theirs | size, ours | size, theirs \
         | ours / theirs | at most | memory, ours | memory, theirs |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    rows.iter().for_each(|row| add(&mut text, row));
    text
}

fn add(text: &mut String, row: &Row) {
    let Row { name, limits, ours, theirs } = row;
    let cells = [
        (*name).to_owned(),
        time(ours),
        time(theirs),
        format!("{:.3}", row.time_ratio()),
        limits.time.map_or_else(|| "-".into(), |time| format!("{time:.2}")),
        format!("{:.2} s", median(ours.cpu())),
        format!("{:.2} s", median(theirs.cpu())),
        megabytes(ours.size),
        megabytes(theirs.size),
        format!("{:.4}", row.size_ratio()),
        format!("{:.3}", limits.size),
        megabytes(ours.peak_memory()),
        megabytes(theirs.peak_memory()),
    ];
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Everything that falls short of its limit.
pub(super) fn misses(rows: &[Row]) -> Vec<String> {
    rows.iter().flat_map(Row::misses).collect()
}

fn time(side: &Side) -> String {
    let (low, high) = range(side.wall());
    format!("{:.2} s ({low:.2} to {high:.2})", median(side.wall()))
}

/// Millions of bytes.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}

#[allow(clippy::cast_precision_loss, reason = "images have far less than 2^53 bytes")]
fn ratio(ours: u64, theirs: u64) -> f64 {
    ours as f64 / theirs as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn side(milliseconds: &[u64], size: u64, peak_memory: u64) -> Side {
        let run = |&wall| Usage {
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(2 * wall),
            peak_memory,
        };
        Side { runs: milliseconds.iter().map(run).collect(), size }
    }

    fn row(ours: Side) -> Row {
        let limits = Limits { time: Some(0.5), size: 0.99, memory: 200_000_000 };
        Row { name: "xz", limits, ours, theirs: side(&[1000, 4000, 1000], 1_000_000, 300_000_000) }
    }

    #[test]
    fn runs_are_compared_in_pairs() {
        // Both were slow in the second run.
        let row = row(side(&[500, 2000, 500], 980_000, 150_000_000));
        assert_eq!(misses(&[row]), [""; 0]);
    }

    #[test]
    fn every_limit_is_held_against_it() {
        let row = row(side(&[600, 2400, 600], 995_000, 200_000_001));
        assert_eq!(misses(&[row]).len(), 3);
    }

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let text = table(&[row(side(&[500, 2000, 500], 980_000, 150_000_000))]);
        let line = text.lines().nth(2).unwrap();
        assert!(
            line.starts_with("| xz | 0.50 s (0.50 to 2.00) | 1.00 s (1.00 to 4.00) | 0.500 | 0.50 |"),
            "{line}"
        );
        assert!(line.ends_with("| 0.98 MB | 1.00 MB | 0.9800 | 0.990 | 150.00 MB | 300.00 MB |"), "{line}");
    }
}
