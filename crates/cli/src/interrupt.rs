//! What is left behind when the run is interrupted: nothing.
//!
//! Temporary files are registered here. On SIGINT, SIGTERM, SIGHUP and SIGQUIT a thread removes them and lets the
//! signal do what it always does, so that the shell sees a program that was interrupted. A signal that was ignored
//! at the start (`nohup`, a background job) stays ignored.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn registered() -> MutexGuard<'static, Vec<PathBuf>> {
    // The list stays right whatever panicked while it was held: every change is one push or one removal.
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts watching for signals. Where that fails the program works on, and an interruption leaves its files.
pub(crate) fn watch() {
    // Past the limit on file sizes a write fails with an error instead of killing the program.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let ignored = ignored_signals();
    let wanted =
        [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let Ok(mut signals) = Signals::new(wanted) else { return };
    let watcher = thread::Builder::new().name("signals".into());
    let _ = watcher.spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Held to the end: nothing is created or renamed any more.
            let files = registered();
            files.iter().for_each(|file| drop(fs::remove_file(file)));
            let _ = emulate_default_handler(signal);
        }
    });
}

/// Bit n - 1 is set when signal n was ignored by whoever started the program.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A file that is removed unless [`Temporary::rename`] gives it its name.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Creates a file by `create` and registers it, with no interruption between the two.
    ///
    /// # Errors
    /// As `create`.
    pub(crate) fn create<T>(
        path: PathBuf,
        create: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        let mut files = registered();
        let created = create(&path)?;
        files.push(path.clone());
        Ok((Temporary { path }, created))
    }

    /// Gives the file its name, replacing what was there.
    ///
    /// # Errors
    /// As `rename(2)`; the temporary file is removed then.
    pub(crate) fn rename(self, target: &Path) -> io::Result<()> {
        // Dropping `self` takes the lock again, and finds that the file is gone.
        let mut files = registered();
        fs::rename(&self.path, target)?;
        files.retain(|file| *file != self.path);
        drop(files);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut files = registered();
        if let Some(index) = files.iter().position(|file| *file == self.path) {
            let _ = fs::remove_file(&self.path);
            files.swap_remove(index);
        }
    }
}
