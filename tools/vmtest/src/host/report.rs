//! What the guest saw.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flashwright_tree::Tree;

use super::compare::{Rules, differences, expected};
use super::vm::{StepId, Visit};
use crate::Error;
use crate::protocol::{Line, LogMessage, NodeReport, Outcome};

/// Messages at this level and below are complaints whoever they come from: warning, error, and worse.
const WARNING: u8 = 4;
/// Starts of warnings that tell of a slow or busy host and of no file system.
const TIMING: [&str; 5] = ["hrtimer: ", "clocksource: ", "sched: ", "rcu: ", "TSC "];
/// Differences that a failed assertion shows.
const SHOWN: usize = 30;

/// What one step did.
#[derive(Debug, Clone, Default)]
pub struct StepReport {
    /// Nodes found, for [`Step::Walk`](crate::protocol::Step::Walk).
    pub nodes: Vec<NodeReport>,
    /// How it ended; `None` when it was not reached.
    pub outcome: Option<Outcome>,
    /// What the kernel said meanwhile.
    pub log: Vec<LogMessage>,
}

/// What the guest saw in one run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    steps: Vec<StepReport>,
    boot_log: Vec<LogMessage>,
    complete: bool,
}

impl Report {
    /// Reads the report disk: JSON lines, then zeros.
    pub(crate) fn read(path: &Path, step_count: usize) -> Result<Self, Error> {
        let mut report = Report { steps: vec![StepReport::default(); step_count], ..Report::default() };
        let mut input = BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::io(path))?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            // A line of zeros would be the rest of the disk.
            let starts_with_zero =
                input.fill_buf().map_err(Error::io(path))?.first().is_none_or(|&byte| byte == 0);
            if starts_with_zero || report.complete {
                break;
            }
            input.by_ref().take(1 << 30).read_until(b'\n', &mut line).map_err(Error::io(path))?;
            if line.pop() != Some(b'\n') {
                break;
            }
            let line = serde_json::from_slice(&line).map_err(|error| Error::Report { number, error })?;
            report.add(line);
        }
        Ok(report)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::End => self.complete = true,
            Line::Node { step, node } => self.steps[step].nodes.push(node),
            Line::Log { step: Some(step), message } => self.steps[step].log.push(message),
            // Before the first step, or after the last.
            Line::Log { step: None, message } if self.steps_done() == 0 => self.boot_log.push(message),
            Line::Log { step: None, message } => {
                self.steps.iter_mut().rev().take(1).for_each(|s| s.log.push(message.clone()))
            }
            Line::Done { step, outcome } => self.steps[step].outcome = Some(outcome),
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn steps_done(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome.is_some()).count()
    }

    /// What that step did.
    ///
    /// # Panics
    /// When the step is one of another machine.
    #[must_use]
    pub fn step(&self, id: StepId) -> &StepReport {
        &self.steps[id.0]
    }

    /// What the kernel said before the first step, the loading of modules included.
    #[must_use]
    pub fn boot_log(&self) -> &[LogMessage] {
        &self.boot_log
    }

    /// How that step ended.
    ///
    /// # Panics
    /// When it failed, with its error and what the kernel said meanwhile.
    #[must_use]
    pub fn outcome(&self, id: StepId) -> &Outcome {
        let step = self.step(id);
        let outcome = step.outcome.as_ref().expect("a run that is complete has done every step");
        if let Some(error) = &outcome.error {
            panic!("step {}: {error}; the kernel said: {}", id.0, lines(&step.log));
        }
        outcome
    }

    /// Messages of the steps from `first` to `last` that a sound image never causes: warnings and worse from anybody,
    /// and anything that has one of `words` in it, upper or lower case.
    #[must_use]
    pub fn complaints(&self, first: StepId, last: StepId, words: &[&str]) -> Vec<&LogMessage> {
        let messages = self.steps[first.0..=last.0].iter().flat_map(|step| &step.log);
        messages.filter(|message| is_complaint(message, words)).collect()
    }

    /// Fails unless all steps of the visit went well, the kernel had nothing to say about the file system, and the walk
    /// found just what is in `tree`.
    ///
    /// # Panics
    /// When any of that is not so; the message has every difference, up to 30, or the kernel's words.
    pub fn assert_visit(&self, visit: &Visit, tree: &Tree, rules: &Rules) {
        for step in [visit.mount, visit.statfs, visit.walk, visit.unmount] {
            let _ = self.outcome(step);
        }
        let complaints = self.complaints(visit.mount, visit.unmount, &[&visit.fs]);
        assert!(complaints.is_empty(), "the kernel complained: {}", lines(complaints));
        self.assert_walk(visit.walk, tree, rules);
    }

    /// Fails unless the walk found just what is in `tree`.
    ///
    /// # Panics
    /// When it did not, or when the tree's own data cannot be read.
    pub fn assert_walk(&self, walk: StepId, tree: &Tree, rules: &Rules) {
        let _ = self.outcome(walk);
        let expected = expected(tree, rules).expect("the data of the tree can be read");
        let found = differences(&expected, &self.step(walk).nodes, rules);
        let shown = found.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
        assert!(
            found.is_empty(),
            "{} differences between the tree and what the kernel sees:\n  {shown}",
            found.len()
        );
    }
}

fn is_complaint(message: &LogMessage, words: &[&str]) -> bool {
    let text = message.text.to_lowercase();
    if words.iter().any(|word| text.contains(&word.to_lowercase())) {
        return true;
    }
    message.level <= WARNING && !TIMING.iter().any(|start| message.text.starts_with(start))
}

fn lines<'a>(log: impl IntoIterator<Item = &'a LogMessage>) -> String {
    log.into_iter().map(|message| format!("\n  {message}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: u8, text: &str) -> LogMessage {
        LogMessage { level, microseconds: 0, text: text.into() }
    }

    #[test]
    fn a_complaint_is_a_warning_or_a_word_of_the_file_system() {
        let cases = [
            (4, "anything", true),
            (6, "SQUASHFS error: xz decompression failed", true),
            (6, "loop0: detected capacity change", false),
            (4, "clocksource: Long readout interval", false),
            (4, "TSC synchronization failed", false),
        ];
        for (level, text, complaint) in cases {
            assert_eq!(is_complaint(&message(level, text), &["squashfs"]), complaint, "{text}");
        }
    }
}
