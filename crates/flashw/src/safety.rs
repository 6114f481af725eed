//! What is refused because somebody would lose something.

use crate::exit::{Exit, Failure, Result};
use crate::target::Target;

/// Refuses a target that is mounted, attached or otherwise in use.
pub(crate) fn refuse_used(target: &Target) -> Result {
    let users = target.users()?;
    let Some(first) = users.first() else { return Ok(()) };
    let mut message = format!("{} is in use: {first}", target.name());
    for user in users.iter().skip(1) {
        message.push_str(&format!("; {user}"));
    }
    Err(Failure::new(Exit::Refused, message).help("unmount or detach that first"))
}
