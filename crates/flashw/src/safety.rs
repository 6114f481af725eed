//! What is refused because somebody would lose something.

use std::fmt::Write as _;

use flashwright_plan::Refusal;

use crate::args::Args;
use crate::exit::{Exit, Failure, Result};
use crate::target::Target;

/// Word of the refusal of what is in use.
const IN_USE: &str = "in-use";

/// Why a target that is mounted, attached or otherwise in use is not touched; `overridable` with `--force in-use`.
pub(crate) fn in_use(target: &Target, overridable: bool) -> Result<Vec<Refusal>> {
    let reason = |user| format!("{target} is in use: {user}; end that first");
    let users = target.users()?.into_iter();
    Ok(users.map(|user| Refusal { word: IN_USE, overridable, reason: reason(user) }).collect())
}

/// Fails with the refusals that `--force` does not override.
pub(crate) fn judge(refusals: &[Refusal], args: &Args) -> Result {
    let forced =
        |refusal: &Refusal| refusal.overridable && args.values("force").any(|word| word == refusal.word);
    let mut left = refusals.iter().filter(|refusal| !forced(refusal));
    let Some(first) = left.next() else { return Ok(()) };
    let mut message = first.reason.clone();
    for other in left {
        let _ = write!(message, "\nflashw: {}", other.reason);
    }
    let failure = Failure::new(Exit::of_refusal(first.word), format_args!("{message}"));
    Err(if first.overridable {
        failure.help(format_args!("--force {} does it all the same", first.word))
    } else {
        failure
    })
}
