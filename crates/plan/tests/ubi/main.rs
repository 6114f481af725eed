//! Writing UBI images: what is decided, and what is left when the power goes or eraseblocks wear out.

mod common;
mod costs;
mod cuts;
mod decide;
mod faults;
