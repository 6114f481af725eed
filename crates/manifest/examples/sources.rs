//! Counts what sources hold, and tells the notes: `cargo run --example sources -- DIR pseudo:FILE …`. With
//! `--compare`, tells instead how the second source differs from the first.

use std::process::ExitCode;
use std::time::Instant;

use flashwright_manifest::{Error, Loaded, Options, Policy, SourceSpec, build};

fn load(sources: &[SourceSpec]) -> Result<Loaded, Error> {
    let start = Instant::now();
    let loaded = build(sources, &Policy::default(), &Options::default())?;
    println!("{} names in {:?}", loaded.tree.walk().count(), start.elapsed());
    loaded.notes.iter().for_each(|note| println!("{:?}: {note}", note.severity));
    Ok(loaded)
}

fn run() -> Result<(), Error> {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--compare");
    let sources = arguments.map(|argument| SourceSpec::parse(&argument)).collect::<Result<Vec<_>, _>>()?;
    if let (true, [first, second]) = (std::env::args().any(|argument| argument == "--compare"), &*sources) {
        let (first, second) = (load(std::slice::from_ref(first))?, load(std::slice::from_ref(second))?);
        match flashwright_tree::compare(&first.tree, &second.tree) {
            Ok(differences) => differences.iter().for_each(|difference| println!("{difference}")),
            Err(error) => println!("{error}"),
        }
        return Ok(());
    }
    load(&sources).map(|_| ())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(error.class().exit_code())
        }
    }
}
