//! Exit codes: the contract with scripts. Numbers never change their meaning.

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All that was asked for is there.
    Done = 0,
    /// The host refused: a file is missing or unreadable, the disk is full.
    Io = 1,
    /// The command line or environment makes no sense.
    Usage = 2,
    /// It does not fit, or the geometry is impossible.
    DoesNotFit = 3,
    /// An input file says something that cannot be, or an image is damaged.
    Invalid = 4,
    /// A check found something wrong.
    Verification = 5,
    /// Possible, but not done, because something would be lost or run that nobody asked for.
    Refused = 6,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        // A fieldless `repr(u8)` enum: the cast is its definition.
        self as u8
    }

    /// The word in `--json` errors.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Io => "io",
            Exit::Usage => "usage",
            Exit::DoesNotFit => "does-not-fit",
            Exit::Invalid => "invalid",
            Exit::Verification => "verification",
            Exit::Refused => "refused",
        }
    }
}

/// The table below every `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  I/O: something is missing or unreadable, the disk is full
  2  usage: the command line or SOURCE_DATE_EPOCH makes no sense
  3  does not fit, or impossible geometry
  4  invalid input: a manifest or an image says what cannot be
  5  verification failed
  6  refused for safety
Whatever the code but 0, no new image is left behind and an older one stays as it was.";
