//! Tells people and programs how a run goes, and listens to the signals that ask it to stop.

use std::ops::ControlFlow;

use flashwright_mtd::interrupt;
use flashwright_plan::{Event, Phase};

use crate::output::{Json, is_watched, say, show_progress};

/// Who is told, and how.
#[derive(Debug)]
pub(crate) struct Watch {
    json: bool,
    shows: bool,
    /// What was last told of progress: phase, and hundredths done.
    last: Option<(Phase, u32)>,
}

impl Watch {
    /// For a run that ends cleanly when a signal asks it to: the eraseblock in hand is finished.
    pub(crate) fn new(json: bool) -> Self {
        interrupt::listen();
        Watch { json, shows: !json && is_watched(), last: None }
    }

    /// Takes an event; says whether to stop.
    pub(crate) fn tell(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Progress { phase, done, total } => self.progress(phase, done, total),
            _ if self.json => self.tell_program(event),
            _ => self.tell_person(event),
        }
        if interrupt::is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Tells when another hundredth is done, not each eraseblock: a serial line is slow.
    fn progress(&mut self, phase: Phase, done: u32, total: u32) {
        let hundredths = u64::from(done) * 100 / u64::from(total.max(1));
        // At most 100, unless more is done than there is.
        let now = (phase, u32::try_from(hundredths).unwrap_or(100));
        if self.last == Some(now) {
            return;
        }
        self.last = Some(now);
        if self.json {
            let mut event = Json::event("progress");
            event.text("phase", phase.name());
            // Nobody is left to tell when that fails.
            let _ = event.number("done", done).number("total", total).print();
        } else if self.shows {
            show_progress(format_args!("{} {}% ({done} of {total})", phase.name(), now.1));
        }
    }

    fn tell_program(&self, event: Event) {
        let (name, eraseblock) = match event {
            Event::Corrected { offset, ecc } => {
                let mut event = Json::event("corrected");
                event.number("offset", offset);
                // As `progress`.
                let _ = event.number("bits", ecc.corrected).flag("worn", ecc.worn).print();
                return;
            }
            Event::Failed { eraseblock } => ("failed", eraseblock),
            Event::Tortured { eraseblock, passed: true } => ("torture-passed", eraseblock),
            Event::Tortured { eraseblock, passed: false } => ("torture-failed", eraseblock),
            Event::WentBad { eraseblock } => ("went-bad", eraseblock),
            Event::Unlocked { eraseblock } => ("unlocked", eraseblock),
            Event::Locked { eraseblock } => ("locked", eraseblock),
            _ => return,
        };
        // As `progress`.
        let _ = Json::event(name).number("eraseblock", eraseblock).print();
    }

    fn tell_person(&self, event: Event) {
        let line = match event {
            Event::Failed { eraseblock } => format!("eraseblock {eraseblock} failed"),
            Event::Tortured { eraseblock, passed: true } => {
                format!("eraseblock {eraseblock} passed all patterns and is used on")
            }
            Event::WentBad { eraseblock } => format!("eraseblock {eraseblock} is marked bad now"),
            _ => return,
        };
        self.clear();
        say(format_args!("{line}"));
    }

    /// Takes away what was shown of progress.
    pub(crate) fn clear(&self) {
        if self.shows {
            show_progress(format_args!(""));
        }
    }
}
