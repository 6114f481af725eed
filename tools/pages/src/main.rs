//! Writes man pages and completions of flashw into a folder: made from the tables of options that flashw itself parses by, with
//! the libraries that make those of the host program. Not part of flashw, which has to be small.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

/// Programs for administrators.
const SECTION: &str = "8";
const ABOUT: &str = "Writes flash on the device, verified, every erase count kept";

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: flashw-pages FOLDER")?;
    write_all(Path::new(&folder))
}

/// `man8/flashw.8`, `man8/flashw-write.8`, …; those of other programs' names in `applets/man8`; `completions/flashw.bash`, ….
fn write_all(folder: &Path) -> Result<()> {
    let mut command = program();
    command.build();
    write_pages(&command, "flashw", &made(&folder.join("man8"))?)?;
    let applets = made(&folder.join("applets").join("man8"))?;
    for applet in flashw::applets() {
        write_pages(&described(applet.name, applet), applet.name, &applets)?;
    }
    let completions = made(&folder.join("completions"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program(), "flashw", &completions)
            .with_context(|| format!("cannot write to {}", completions.display()))?;
    }
    Ok(())
}

fn made(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.into())
}

/// The page of a command, and those of the commands that it has.
fn write_pages(command: &Command, name: &str, folder: &Path) -> Result<()> {
    let path = folder.join(format!("{name}.{SECTION}"));
    let mut page = Vec::new();
    Man::new(command.clone().name(name.to_owned())).section(SECTION).render(&mut page)?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), folder)?;
    }
    Ok(())
}

/// flashw as clap would have it.
fn program() -> Command {
    let mut program = Command::new("flashw").about(ABOUT).version(env!("CARGO_PKG_VERSION"));
    let mut groups: Vec<Command> = Vec::new();
    for command in flashw::commands() {
        let Some((group, name)) = command.name.split_once(' ') else {
            program = program.subcommand(described(command.name, command));
            continue;
        };
        let sub = described(name, command);
        match groups.iter_mut().find(|known| known.get_name() == group) {
            Some(known) => *known = known.clone().subcommand(sub),
            None => groups.push(Command::new(group).about(format!("Commands for {group}")).subcommand(sub)),
        }
    }
    program.subcommands(groups)
}

fn described(name: &'static str, command: &flashw::Command) -> Command {
    let described = Command::new(name).about(command.about).after_help(command.more);
    described.args(command.flags.iter().map(option)).args(operands(command.operands))
}

fn option(flag: &flashw::Flag) -> Arg {
    let id = if flag.long.is_empty() { flag.help } else { flag.long };
    let mut arg = Arg::new(id).help(flag.help);
    if !flag.long.is_empty() {
        arg = arg.long(flag.long);
    }
    if flag.short != ' ' {
        arg = arg.short(flag.short);
    }
    if flag.value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(flag.value) }
}

/// `IMAGE [TARGET]`, `UBI OLD NEW [OLD NEW]…`: a name that comes again is the last one, once more.
fn operands(words: &'static str) -> Vec<Arg> {
    let mut args: Vec<Arg> = Vec::new();
    for word in words.split_whitespace() {
        let name = word.trim_matches(['[', ']', '…']);
        let is_known = args.iter().any(|arg| arg.get_id() == name);
        if !is_known {
            let arg = Arg::new(name).value_name(name).value_hint(ValueHint::AnyPath);
            args.push(arg.required(!word.starts_with('[')));
        }
        if word.ends_with('…') {
            let last = args.pop().map(|last| last.num_args(1..));
            args.extend(last);
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_place() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path()).unwrap();
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        let bash = read("completions/flashw.bash");
        for command in flashw::commands() {
            let page = read(&format!("man8/flashw-{}.8", command.name.replace(' ', "-")));
            assert!(page.contains(command.about), "{}", command.name);
            for flag in command.flags {
                let name = format!("--{}", flag.long);
                assert!(page.replace("\\-", "-").contains(&name), "{}: {name}", command.name);
                assert!(bash.contains(&name), "{name}");
            }
        }
        for applet in flashw::applets() {
            assert!(read(&format!("applets/man8/{}.8", applet.name)).contains(applet.about));
        }
        for file in ["completions/_flashw", "completions/flashw.fish", "man8/flashw.8", "man8/flashw-ubi.8"] {
            assert!(read(file).contains("trust-crc") || file.starts_with("man8"), "{file}");
        }
    }

    #[test]
    fn definitions_make_sense() {
        program().debug_assert();
        for applet in flashw::applets() {
            described(applet.name, applet).debug_assert();
        }
    }
}
