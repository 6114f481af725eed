//! How to work, whatever the format: threads, messages, times.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use clap::{ArgAction, Args};

use crate::exit::Exit;
use crate::failure::Failure;

/// Most threads that make sense on any machine.
const MAX_JOBS: usize = 1024;

/// Flags of every command that writes images.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    /// Threads that compress; default: all that the machine has. The image does not depend on it
    #[arg(short, long, value_name = "N", value_parser = jobs, help_heading = "Running", allow_negative_numbers = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Time of everything that states none, and the latest time of a host file; seconds since 1970. Default:
    /// $SOURCE_DATE_EPOCH
    #[arg(long, value_name = "SECONDS", value_parser = epoch, help_heading = "Running", allow_negative_numbers = true)]
    source_date_epoch: Option<u32>,
    /// Let pseudo files run commands of the host (types f and F)
    #[arg(long, help_heading = "Running")]
    pub(crate) allow_commands: bool,
    /// Print the result as one JSON object on standard output, with the SHA-256, and an error as one on standard error
    #[arg(long, help_heading = "Running")]
    pub(crate) json: bool,
    /// Say more: what a later source replaced, which mount points were left out
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet", help_heading = "Running")]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, help_heading = "Running")]
    pub(crate) quiet: bool,
}

impl RunFlags {
    /// The number of threads to use.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.jobs.unwrap_or_else(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// The flag, or else the environment variable `SOURCE_DATE_EPOCH`.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the variable is set and is no time.
    pub(crate) fn source_date_epoch(&self) -> Result<Option<u32>, Failure> {
        if self.source_date_epoch.is_some() {
            return Ok(self.source_date_epoch);
        }
        let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
        epoch(&text.to_string_lossy()).map(Some).map_err(|message| {
            let message = format!("bad SOURCE_DATE_EPOCH in the environment: {text:?}: {message}");
            Failure::new(Exit::Usage, message)
                .help("for example: export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); or unset it")
        })
    }
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let jobs = text.parse::<NonZeroUsize>().ok().filter(|jobs| jobs.get() <= MAX_JOBS);
    jobs.ok_or_else(|| format!("a number of threads, 1 to {MAX_JOBS}"))
}

/// Seconds since 1970, as SOURCE_DATE_EPOCH is specified: decimal digits, nothing else. Up to the year 2106, the last
/// that SquashFS, cpio and JFFS2 hold.
pub(super) fn epoch(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a whole number of seconds since 1970".into());
    }
    text.parse().map_err(|_| format!("beyond {} (in 2106), the last time that image formats hold", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_decimal_digits() {
        assert_eq!(epoch("0"), Ok(0));
        assert_eq!(epoch("4294967295"), Ok(u32::MAX));
        for text in ["", " 1", "-1", "+1", "1.5", "now", "0x10", "4294967296"] {
            assert!(epoch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn jobs_are_one_or_more() {
        assert_eq!(jobs("2"), Ok(NonZeroUsize::new(2).unwrap()));
        for text in ["0", "-1", "1025", "two", ""] {
            assert!(jobs(text).is_err(), "{text}");
        }
    }
}
