//! UBI in the terms of this program. An image of volumes is no tree, so the commands that read branch off to here before
//! they look for one.

mod flashable;
mod read;
mod write;

pub(crate) use read::{check, extract, info, list, open};
pub(crate) use write::{UbiPlan, needed, pack, plans, write};
