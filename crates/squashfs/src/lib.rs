//! SquashFS 4.0, the read-only compressed file system of Linux: a writer, and a reader that takes hostile images.

pub mod format;
