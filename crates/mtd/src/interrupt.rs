//! Signals that ask the program to stop: it is to finish the eraseblock in hand.
#![allow(unsafe_code, reason = "a handler of signals is given to the C library as an address")]

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Nothing but what may be done while anything else is being done.
extern "C" fn note(_: c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP do not end the program, but [`is_asked`] tells of them. Those that it was started
/// without, as by `nohup`, stay ignored.
pub fn listen() {
    // A function has an address.
    let handler = note as extern "C" fn(c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic, and stays where it is. The numbers are those of signals that
        // can be handled, so the call cannot fail.
        unsafe {
            if libc::signal(signal, handler) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

/// Whether one of the signals came since [`listen`].
#[must_use]
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told() {
        listen();
        assert!(!is_asked());
        let process = rustix::process::getpid();
        rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
        // Sent to the process: any thread may get it, at its next moment.
        while !is_asked() {
            std::thread::yield_now();
        }
    }
}
