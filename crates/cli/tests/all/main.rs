//! The program as its users run it: arguments in, files, messages and exit codes out.

mod atomic;
mod bad_input;
mod build;
mod common;
mod determinism;
mod generated;
mod jffs2;
mod large;
mod mistakes;
mod reading;
mod summary;
mod ubi;
mod ubifs;
