//! One run of a program: how long, how much CPU and memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// From start to end.
    pub(super) wall: Duration,
    /// User and system time of all threads.
    pub(super) cpu: Duration,
    /// Most memory that was resident at one time, bytes. Linux: `ru_maxrss`, in whole KiB.
    pub(super) peak_memory: u64,
}

impl Usage {
    /// What programs took that ran one after the other.
    pub(super) fn one_after_the_other(usages: &[Usage]) -> Self {
        Usage {
            wall: usages.iter().map(|usage| usage.wall).sum(),
            cpu: usages.iter().map(|usage| usage.cpu).sum(),
            peak_memory: usages.iter().map(|usage| usage.peak_memory).max().unwrap_or_default(),
        }
    }
}

/// Runs a program to its end; what it prints is shown only when it fails.
pub(super) fn measure(command: &mut Command) -> Result<Usage> {
    let shown = format!("{command:?}");
    let errors = tempfile::tempfile().context("cannot make a temporary file")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.try_clone()?);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    let ended = child.wait4().with_context(|| format!("cannot wait for {shown}"))?;
    let wall = start.elapsed();
    if !ended.status.success() {
        bail!("{shown} failed ({}): {}", ended.status, text_of(errors)?.trim());
    }
    let usage = ended.rusage;
    Ok(Usage { wall, cpu: usage.utime + usage.stime, peak_memory: usage.maxrss })
}

fn text_of(mut file: std::fs::File) -> Result<String> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value in the middle, or between the two in the middle. 0 for none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    f64::midpoint(at(low), at(high))
}

/// Smallest and largest value; 0 for none.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values
        .into_iter()
        .fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
        assert_eq!(range([3.0, 1.0, 2.0]), (1.0, 3.0));
    }

    #[test]
    fn a_run_is_measured() {
        let usage = measure(Command::new("sleep").arg("0.05")).unwrap();
        assert!(usage.wall >= Duration::from_millis(50));
        assert!(usage.peak_memory > 100_000, "{usage:?}");
        let error = measure(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}
