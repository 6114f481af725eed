//! How a run ends: the codes are those of `flashwright`, and never change their meaning.

use std::fmt;
use std::io;
use std::path::Path;

use flashwright_media::{FlashError, FlashFault, UbiError};
use flashwright_plan::{Error, SourceError};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// A device or file refused, or is not there; what was begun may be unfinished.
    Io = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// It does not fit, or the geometry is another.
    DoesNotFit = 3,
    /// The image is damaged, or is not what it should be.
    Invalid = 4,
    /// What was read back is not what was written, or not what was expected.
    Verification = 5,
    /// Possible, but not done, because something would be lost; `--force` does it.
    Refused = 6,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        // A fieldless `repr(u8)` enum: the cast is its definition.
        self as u8
    }

    /// That of a refusal, by its word.
    pub(crate) fn of_refusal(word: &str) -> Self {
        match word {
            "size" | "geometry" | "offset" | "length" | "range" | "room" | "reserve" => Exit::DoesNotFit,
            "checksum" | "truncated" | "endian" | "kind" | "empty" => Exit::Invalid,
            "sha256" | "digest" => Exit::Verification,
            _ => Exit::Refused,
        }
    }

    /// The word in `--json` errors.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Exit::Io => "io",
            Exit::Usage => "usage",
            Exit::DoesNotFit => "does-not-fit",
            Exit::Invalid => "invalid",
            Exit::Verification => "verification",
            Exit::Refused => "refused",
        }
    }
}

/// A run that failed. One word in size, as it is handed up from everywhere.
#[derive(Debug)]
pub(crate) struct Failure(Box<Details>);

/// What is known of a failure.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) exit: Exit,
    /// What is wrong, where, and what was expected.
    pub(crate) message: String,
    /// What to do; empty when there is nothing to say.
    pub(crate) help: String,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl std::ops::Deref for Failure {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl Failure {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(exit: Exit, message: fmt::Arguments<'_>) -> Self {
        Failure(Box::new(Details { exit, message: fmt::format(message), help: String::new() }))
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn usage(message: fmt::Arguments<'_>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn io(message: fmt::Arguments<'_>) -> Self {
        Failure::new(Exit::Io, message)
    }

    /// A run that was asked to stop did.
    pub(crate) fn stopped() -> Self {
        Failure::io(format_args!("stopped as asked; what is done stays done"))
            .help(format_args!("the same command goes on from here"))
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn help(mut self, help: fmt::Arguments<'_>) -> Self {
        self.0.help = fmt::format(help);
        self
    }
}

/// What to do about an error of the host.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root",
        io::ErrorKind::AlreadyExists => "that name or number is taken already",
        io::ErrorKind::WouldBlock => "wait until the other flashw has ended",
        io::ErrorKind::ResourceBusy => "unmount or detach what uses it: `flashw info` says what does",
        _ => "",
    }
}

impl From<flashwright_mtd::Error> for Failure {
    fn from(error: flashwright_mtd::Error) -> Self {
        Failure::io(format_args!("{error}")).help(format_args!("{}", advice(error.cause())))
    }
}

impl From<FlashError> for Failure {
    fn from(error: FlashError) -> Self {
        let help = match &error.fault {
            FlashFault::Locked => {
                "the flash is write-protected: `flashw unlock` takes that away where the chip allows it"
            }
            FlashFault::Device(error) => advice(error),
            _ => "",
        };
        Failure::io(format_args!("{error}")).help(format_args!("{help}"))
    }
}

impl From<UbiError> for Failure {
    fn from(error: UbiError) -> Self {
        Failure::io(format_args!("{error}"))
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Failure::io(format_args!("{error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Ubi(_) | Error::Source(_) | Error::Again { .. } | Error::TooManyBad { .. } => Exit::Io,
            Error::Refused(refusal) => Exit::of_refusal(refusal.word),
            Error::Changed { .. } => Exit::Invalid,
            Error::NoRoom { .. } => Exit::DoesNotFit,
            _ => Exit::Verification,
        };
        match error {
            Error::Flash(error) => error.into(),
            Error::Stopped => Failure::stopped(),
            error => Failure::new(exit, format_args!("{error}")),
        }
    }
}

impl From<Box<Error>> for Failure {
    fn from(error: Box<Error>) -> Self {
        (*error).into()
    }
}

/// An error about a path.
pub(crate) fn at<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Failure + use<'a> {
    #[cold]
    #[inline(never)]
    fn failure(action: &str, path: &Path, error: &io::Error) -> Failure {
        let message = format_args!("cannot {action} {}: {error}", path.display());
        Failure::io(message).help(format_args!("{}", advice(error)))
    }
    move |error| failure(action, path, &error)
}
