//! Reads all of an image and holds it against the rules of the format, and against what Linux needs beyond them.
//!
//! In this order: master copies, index of the last commit, LPT, how full each LEB is, journal, every inode with its names,
//! xattrs and data, orphans. Nothing stops at the first finding unless what follows cannot be found without it.

mod finding;
mod nodes;
mod space;

use super::index::Index;
use super::limits::Budget;
use super::{Image, ReadError, journal};
use finding::Finding;
pub use finding::Report;

impl Image {
    /// Checks the whole image: every node that the index knows, every block of data, which are all unpacked, the
    /// properties of every LEB, and how inodes, names and xattrs go together.
    ///
    /// # Errors
    /// [`ErrorClass::Io`](super::ErrorClass::Io) and [`ErrorClass::Limit`](super::ErrorClass::Limit). What is wrong with the
    /// image itself is in the report.
    pub fn check(&self) -> Result<Report, ReadError> {
        let mut report = Report::new(self.input.leb_size);
        let mut budget = self.limits.budget(self.input.len());
        let recoverable = self.master.recoverable;
        for doubt in &self.master.doubts {
            report.add(if recoverable { Finding::left(doubt) } else { Finding::from(doubt) });
        }
        self.length(&mut report);
        let mut usage = space::Usage::new(self, &mut budget)?;
        let mut visit = |place, len, is_index| usage.add(place, len, is_index);
        let index = Index::read(&self.facts, &self.master, &self.input, &mut budget, &mut visit);
        let mut index = match index {
            Ok(index) => index,
            Err(error) => {
                report.note(error)?;
                return Ok(report);
            }
        };
        let mut committed = Index::default();
        std::mem::swap(&mut committed.size, &mut index.size);
        let journal = journal::replay(&self.facts, &self.master, &self.input, &mut budget, &mut index);
        let journal = match journal {
            Ok(journal) => journal,
            Err(error) => {
                report.note(error)?;
                return Ok(report);
            }
        };
        report.journal_nodes = journal.nodes;
        if self.master.is_dirty() {
            let found = format!("mounted, {} nodes in its journal", journal.nodes);
            report.add(Finding::note("file system", "unmounted in order", found));
        }
        journal.torn.iter().for_each(|torn| report.add(Finding::left(torn)));
        journal.damaged.iter().for_each(|damage| report.add(Finding::from(damage)));
        self.space(&usage, committed.size, (&journal, &index), &mut report)?;
        self.nodes(&index, &journal, &mut budget, &mut report)?;
        Ok(report)
    }

    /// LEBs that are missing at the end are erased to Linux: what is missed in them is found elsewhere. LEBs beyond the file
    /// system are the volume's.
    fn length(&self, report: &mut Report) {
        let (lebs, expected) = (self.input.lebs(), u64::from(self.facts.leb_cnt));
        if lebs < expected {
            let expected = format!("{expected} LEBs of {} bytes", self.input.leb_size);
            let found = format!("{} bytes, so {lebs} LEBs", self.input.len());
            let whole = self.input.len().is_multiple_of(self.input.leb_size.into());
            let found = if whole { format!("{found}, and the others erased") } else { found };
            let image = "image";
            report.add(if whole {
                Finding::note(image, expected, found)
            } else {
                Finding::error(image, expected, found)
            });
        } else if !self.input.len().is_multiple_of(self.input.leb_size.into()) {
            let expected = format!("a multiple of {} bytes, whole LEBs", self.input.leb_size);
            report.add(Finding::warning("image", expected, format!("{} bytes", self.input.len())));
        }
    }
}

/// Memory set aside for `count` things of `each` bytes.
fn charge(budget: &mut Budget, count: u64, each: u64, what: &'static str) -> Result<(), ReadError> {
    budget.charge(count.saturating_mul(each), what)
}
