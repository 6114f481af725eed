//! Sources in, tree out: one program, so that it links once.

mod bad_input;
mod common;
mod image;
mod liminix;
mod never_panics;
mod pseudo;
mod scan;
