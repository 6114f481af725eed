//! What is refused because somebody would lose something.

use std::fmt::Write as _;

use flashwright_plan::Refusal;

use crate::args::Args;
use crate::exit::{Exit, Failure, Result};
use crate::target::Target;

/// Word of the refusal of what is in use.
const IN_USE: &str = "in-use";

/// Words that `--force` takes: those of all refusals that can be overridden.
const FORCEABLE: [&str; 11] = [
    IN_USE,
    "erase-counts",
    "checksum",
    "empty",
    "endian",
    "geometry",
    "kind",
    "reserve",
    "static",
    "truncated",
    "vid-offset",
];

/// Why a target that is mounted, attached or otherwise in use is not touched; `overridable` with `--force in-use`.
pub(crate) fn in_use(target: &Target, overridable: bool) -> Result<Vec<Refusal>> {
    let reason = |user| format!("{target} is in use: {user}; end that first");
    let users = target.users()?.into_iter();
    Ok(users.map(|user| Refusal { word: IN_USE, overridable, reason: reason(user) }).collect())
}

/// Fails with the refusals that `--force` does not override.
pub(crate) fn judge(refusals: &[Refusal], args: &Args) -> Result {
    if let Some(word) = args.values("force").find(|word| !FORCEABLE.iter().any(|known| word == known)) {
        let failure = Failure::usage(format_args!("--force {}: there is no such refusal", word.display()));
        return Err(failure.help(format_args!("one of {}", FORCEABLE.join(", "))));
    }
    let forced =
        |refusal: &Refusal| refusal.overridable && args.values("force").any(|word| word == refusal.word);
    let mut left = refusals.iter().filter(|refusal| !forced(refusal));
    let Some(first) = left.next() else { return Ok(()) };
    let (mut message, mut words) = (first.reason.clone(), format!("--force {}", first.word));
    let mut overridable = first.overridable;
    for other in left {
        let _ = write!(message, "\nflashw: {}", other.reason);
        let _ = write!(words, " --force {}", other.word);
        overridable &= other.overridable;
    }
    let failure = Failure::new(Exit::of_refusal(first.word), format_args!("{message}"));
    Err(if overridable { failure.help(format_args!("{words} does it all the same")) } else { failure })
}
