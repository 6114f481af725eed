//! Sources in, tree out: one program, so that it links once.

mod archives;
mod bad_input;
mod common;
mod image;
mod liminix;
mod lists;
mod never_panics;
mod outside;
mod pseudo;
mod same_bytes;
mod scan;
mod tarball;
