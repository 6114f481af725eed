//! Raw images onto simulated flash: what is done, what is refused, what is left when something breaks, and the proof that
//! a power cut at any operation does no harm.

mod cuts;
mod faults;
mod sources;
mod tools;
mod verify_erase;
mod write;
