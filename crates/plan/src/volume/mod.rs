//! New content for a volume of an attached UBI device.
//!
//! By default a new volume gets the content, is read back, and takes the name of the old one, which is removed at the same
//! moment: at any time the name stands for all of the old content, or for all of the new. In place, for devices without
//! room for both, only LEBs that differ are changed, each at once, and until the last of them the volume has some of both.
//!
//! A run that was interrupted leaves a volume called `NAME.flashw-new`; the next run of the same command uses it or removes
//! it. When somebody reads from the old volume (a file system mounted read-only), it cannot be removed at once: it is called
//! `NAME.flashw-old` then, and is removed by the next run that finds it free.

mod execute;
mod plan;

pub use execute::VolumeReport;
pub use plan::{Method, Plan, plan};

use crate::report::Sha256;

/// What is put after a volume's name for the volume that is to take its place.
pub const NEW_SUFFIX: &[u8] = b".flashw-new";
/// What is put after a volume's name when another has taken its place.
pub const OLD_SUFFIX: &[u8] = b".flashw-old";

/// Words of refusals: what `--force` takes, where it takes any.
pub mod word {
    /// The image is larger than the volume. Nothing overrides that.
    pub const SIZE: &str = "size";
    /// The image is empty.
    pub const EMPTY: &str = "empty";
    /// Somebody uses the volume. Nothing overrides that.
    pub const IN_USE: &str = "in-use";
    /// There is no room for a second volume. Nothing overrides that, but in place none is needed.
    pub const ROOM: &str = "room";
    /// The name is too long for a suffix. Nothing overrides that, but in place none is needed.
    pub const NAME: &str = "name";
    /// In place a static volume is without content until its last byte is written.
    pub const STATIC: &str = "static";
    /// The image is not the one that was asked for. Nothing overrides that.
    pub const SHA256: &str = "sha256";
}

/// How a volume is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// LEB by LEB in the volume itself. Default no.
    pub in_place: bool,
    /// Whether what was written is read back and compared. Default yes.
    pub verify: bool,
    /// The SHA-256 that the image must have. Default none. That of a file is checked before anything is changed; that of a
    /// pipe before the new volume takes the place of the old one, and in place only at the end.
    pub sha256: Option<Sha256>,
}

impl Default for Options {
    fn default() -> Self {
        Options { in_place: false, verify: true, sha256: None }
    }
}
