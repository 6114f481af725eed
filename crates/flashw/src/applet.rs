//! The programs that `flashw` stands in for when it is called by their names: their options, done by the commands here. What
//! they would do and this program does not is refused, and the exit code is that of what was done.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use crate::args::{Args, Command, Flag, option, switch};
use crate::command::{ATTACH, DETACH, ERASE, FORMAT, MKVOL, READ, RENAME, RMVOL, RSVOL, WRITE};
use crate::exit::{Failure, Result};
use crate::output::say;
use crate::target::{Target, last_name};

const QUIET: Flag = switch("quiet", 'q', "Say nothing when all went well");
const VERBOSE: Flag = switch("verbose", 'v', "Taken; progress is shown on terminals");

/// All of them, by the name of the program.
pub(crate) const APPLETS: &[&Command] = &[
    &Command {
        name: "flashcp",
        operands: "FILE MTD",
        about: "Writes a file to an MTD, verified",
        more: "Done as by `flashw write`: only eraseblocks that differ are erased.",
        flags: &[
            VERBOSE,
            switch("partition", 'p', "Taken: only what differs is written anyway"),
            switch("erase-all", 'A', "Erase what is behind the file too"),
        ],
        run: flashcp,
    },
    &Command {
        name: "flash_erase",
        operands: "MTD START COUNT",
        about: "Erases COUNT eraseblocks (0: all) from byte START on",
        more: "Done as by `flashw erase`.",
        flags: &[
            QUIET,
            switch("silent", ' ', "As --quiet"),
            switch("unlock", 'u', "Taken: what is write-protected is unlocked anyway"),
            switch(
                "jffs2",
                'j',
                "Refused: cleanmarkers come with the image, see `flashwright pack jffs2 --pad`",
            ),
            switch("noskipbad", 'N', "Refused: bad eraseblocks stay as they are"),
        ],
        run: flash_erase,
    },
    &Command {
        name: "flash_eraseall",
        operands: "MTD",
        about: "Erases an MTD",
        more: "Done as by `flashw erase`.",
        flags: &[QUIET, switch("jffs2", 'j', "Refused: cleanmarkers come with the image")],
        run: |args| {
            refuse(args, &["jffs2"])?;
            run(&ERASE, &[], &args.operands)
        },
    },
    &Command {
        name: "nandwrite",
        operands: "MTD [FILE]",
        about: "Writes a file to NAND, bad eraseblocks skipped, verified",
        more: "Done as by `flashw write`: what differs is erased before.",
        flags: &[
            switch("pad", 'p', "Taken: the last page is filled up anyway"),
            switch("markbad", 'm', "Taken: eraseblocks that fail are marked anyway"),
            switch("noecc", 'n', "Refused"),
            switch("noskipbad", 'N', "Refused"),
            switch("oob", 'o', "Refused: spare bytes are not written"),
            switch("onlyoob", 'O', "Refused"),
            option("start", 's', "BYTES", "Where to begin"),
            option("input-size", ' ', "BYTES", "Bytes of the file"),
            QUIET,
        ],
        run: nandwrite,
    },
    &Command {
        name: "nanddump",
        operands: "MTD",
        about: "Reads NAND",
        more: "Done as by `flashw read`.",
        flags: &[
            option("bb", ' ', "HOW", "skipbad (as without), or dumpbad"),
            option("file", 'f', "FILE", "Where to"),
            option("length", 'l', "BYTES", "How much"),
            option("startaddress", 's', "BYTES", "Where to begin"),
            switch("omitoob", ' ', "Taken: spare bytes are never read"),
            switch("oob", 'o', "Refused: spare bytes are not read"),
            switch("noecc", 'n', "Refused"),
            switch("prettyprint", 'p', "Refused: pipe it to hexdump"),
            switch("canonicalprint", 'c', "Refused: pipe it to hexdump -C"),
            QUIET,
        ],
        run: nanddump,
    },
    &Command {
        name: "ubiformat",
        operands: "MTD",
        about: "Writes a UBI image, or an empty UBI; every erase count is kept",
        more: "Done as by `flashw write` and `flashw ubi format`.",
        flags: &[
            option("flash-image", 'f', "FILE", "UBI image; - for the standard input"),
            option("image-size", 'S', "BYTES", "Bytes of the image; needed for -"),
            option("erase-counter", 'e', "N", "Erase count of PEBs without a header"),
            option("vid-hdr-offset", 'O', "BYTES", "Where VID headers are"),
            option("image-seq", 'Q', "N", "Image sequence number"),
            option(
                "sub-page-size",
                's',
                "BYTES",
                "Refused: the kernel tells it; give the VID header's offset",
            ),
            switch("no-volume-table", 'n', "Refused"),
            switch("yes", 'y', "Taken: nothing is asked"),
            QUIET,
            VERBOSE,
        ],
        run: ubiformat,
    },
    &Command {
        name: "ubiattach",
        operands: "[CONTROL]",
        about: "Attaches UBI to an MTD",
        more: "Done as by `flashw ubi attach`.",
        flags: &[
            option("dev-path", 'p', "PATH", "The MTD"),
            option("mtdn", 'm', "N", "Its number"),
            option("devn", 'd', "N", "Number of the UBI device to be"),
            option("vid-hdr-offset", 'O', "BYTES", "Where VID headers are"),
            option("max-beb-per1024", 'b', "N", "Bad PEBs of 1024 that are provided for"),
        ],
        run: |args| {
            let options = [
                ("devn", "number"),
                ("vid-hdr-offset", "vid-hdr-offset"),
                ("max-beb-per1024", "max-beb-per1024"),
            ];
            run(&ATTACH, &taken(args, &options), &[device(args)?])
        },
    },
    &Command {
        name: "ubidetach",
        operands: "[CONTROL]",
        about: "Detaches a UBI device",
        more: "Done as by `flashw ubi detach`.",
        flags: &[
            option("dev-path", 'p', "PATH", "Its MTD"),
            option("mtdn", 'm', "N", "Number of its MTD"),
            option("devn", 'd', "N", "Its number"),
        ],
        run: |args| {
            let ubi = args.text("devn")?.map(|number| format!("ubi{number}").into());
            run(&DETACH, &[], &[ubi.map_or_else(|| device(args), Ok)?])
        },
    },
    &Command {
        name: "ubimkvol",
        operands: "UBI",
        about: "Makes a volume",
        more: "Done as by `flashw ubi mkvol`.",
        flags: &[
            option("name", 'N', "NAME", "Its name"),
            option("size", 's', "BYTES", "Its size"),
            option("lebs", 'S', "N", "Its size in LEBs"),
            switch("maxavsize", 'm', "All that is free"),
            option("vol_id", 'n', "N", "Its id"),
            option("alignment", 'a', "BYTES", "LEBs have a multiple of this size"),
            option("type", 't', "TYPE", "static or dynamic"),
            switch("skipcheck", 'k', "A static volume that is not read as a whole when it is opened"),
        ],
        run: ubimkvol,
    },
    &Command {
        name: "ubirmvol",
        operands: "UBI",
        about: "Removes a volume",
        more: "Done as by `flashw ubi rmvol`.",
        flags: &[option("vol_id", 'n', "N", "Its id"), option("name", 'N', "NAME", "Its name")],
        run: |args| run(&RMVOL, &[], &[volume(args)?]),
    },
    &Command {
        name: "ubirsvol",
        operands: "UBI",
        about: "Makes a volume larger or smaller",
        more: "Done as by `flashw ubi rsvol`.",
        flags: &[
            option("vol_id", 'n', "N", "Its id"),
            option("name", 'N', "NAME", "Its name"),
            option("size", 's', "BYTES", "Its size"),
            option("lebs", 'S', "N", "Its size in LEBs"),
        ],
        run: |args| run(&RSVOL, &taken(args, &[("size", "size"), ("lebs", "lebs")]), &[volume(args)?]),
    },
    &Command {
        name: "ubirename",
        operands: "UBI OLD NEW [OLD NEW]…",
        about: "Gives volumes other names, all at once",
        more: "Done as by `flashw ubi rename --replace`.",
        flags: &[],
        run: |args| run(&RENAME, &[("replace", OsString::new())], &args.operands),
    },
    &Command {
        name: "ubiupdatevol",
        operands: "VOLUME [FILE]",
        about: "Puts a file into a volume",
        more: "Done as by `flashw write`: a new volume takes the old one's place where there is room.",
        flags: &[
            option("size", 's', "BYTES", "Bytes of the file; needed for -"),
            switch("truncate", 't', "Refused: remove the volume and make it again"),
        ],
        run: ubiupdatevol,
    },
];

/// The program of that name, as the command line has it, with any folders before it.
pub(crate) fn by_name(called: &OsStr) -> Option<&'static Command> {
    let name = last_name(called);
    APPLETS.iter().find(|applet| name == applet.name).copied()
}

/// Names, for the help.
pub(crate) fn names() -> String {
    let mut text = String::new();
    for applet in APPLETS {
        let _ = write!(text, " {}", applet.name);
    }
    text
}

/// Runs a command with those options and operands.
fn run(command: &'static Command, given: &[(&str, OsString)], operands: &[OsString]) -> Result {
    (command.run)(&Args::made(command, given, operands))
}

/// Options that were given, under the names that the command has.
fn taken(args: &Args, names: &[(&str, &'static str)]) -> Vec<(&'static str, OsString)> {
    let given = names.iter().filter_map(|(own, name)| Some((*name, args.value(own)?.to_owned())));
    given.collect()
}

fn refuse(args: &Args, names: &[&str]) -> Result {
    match names.iter().find(|name| args.has(name)) {
        Some(name) => {
            Err(Failure::usage(format_args!("--{name} is not done here"))
                .help(format_args!("--help says why")))
        }
        None => Ok(()),
    }
}

/// The MTD of `--dev-path` or `--mtdn`.
fn device(args: &Args) -> Result<OsString> {
    let number = args.text("mtdn")?.map(|number| format!("/dev/mtd{number}").into());
    let path = args.value("dev-path").map(OsStr::to_owned);
    path.or(number).ok_or_else(|| Failure::usage(format_args!("expected one of --dev-path and --mtdn")))
}

/// The volume of `--vol_id` or `--name` on the device that is the first operand.
fn volume(args: &Args) -> Result<OsString> {
    let Target::Ubi(ubi) = Target::find(args.operand(0).unwrap_or_default())? else {
        return Err(Failure::usage(format_args!("expected a UBI device, as in /dev/ubi0")));
    };
    let id = args.text("vol_id")?.map(|id| format!("ubi{ubi}_{id}"));
    let name = args.text("name")?.map(|name| format!("ubi{ubi}:{name}"));
    let volume =
        id.or(name).ok_or_else(|| Failure::usage(format_args!("expected one of --vol_id and --name")))?;
    Ok(volume.into())
}

/// Bytes of an eraseblock, and of all, of the MTD that is the operand at that place.
fn sizes(args: &Args, index: usize) -> Result<(u64, u64)> {
    let flash = Target::find(args.operand(index).unwrap_or_default())?.open_flash(false, None)?;
    let geometry = flash.geometry();
    Ok((geometry.eraseblock_size.into(), geometry.len()))
}

fn flashcp(args: &Args) -> Result {
    run(&WRITE, &[], &args.operands)?;
    if !args.has("erase-all") {
        return Ok(());
    }
    let path = std::path::Path::new(args.operand(0).unwrap_or_default());
    let len = std::fs::metadata(path).map_err(crate::exit::at("look at", path))?.len();
    let (eraseblock, all) = sizes(args, 1)?;
    let end = len.next_multiple_of(eraseblock);
    if end >= all {
        return Ok(());
    }
    run(&ERASE, &[("offset", end.to_string().into())], args.operands.get(1..).unwrap_or_default())
}

fn flash_erase(args: &Args) -> Result {
    refuse(args, &["jffs2", "noskipbad"])?;
    let number = |index: usize| {
        let text = args.operand(index).and_then(OsStr::to_str).unwrap_or_default();
        let error = || Failure::usage(format_args!("{text}: expected a number"));
        crate::args::parse_size(text).ok_or_else(error)
    };
    let (start, count) = (number(1)?, number(2)?);
    let mut given = vec![("offset", OsString::from(start.to_string()))];
    if count > 0 {
        let (eraseblock, _) = sizes(args, 0)?;
        given.push(("length", count.saturating_mul(eraseblock).to_string().into()));
    }
    run(&ERASE, &given, args.operands.get(..1).unwrap_or_default())
}

fn nandwrite(args: &Args) -> Result {
    refuse(args, &["noecc", "noskipbad", "oob", "onlyoob"])?;
    let given = taken(args, &[("start", "offset"), ("input-size", "length")]);
    let file = args.operand(1).unwrap_or(OsStr::new("-")).to_owned();
    run(&WRITE, &given, &[file, args.operand(0).unwrap_or_default().to_owned()])
}

fn nanddump(args: &Args) -> Result {
    refuse(args, &["oob", "noecc", "prettyprint", "canonicalprint"])?;
    let mut given = taken(args, &[("file", "output"), ("length", "length"), ("startaddress", "offset")]);
    match args.text("bb")? {
        None | Some("skipbad") => {}
        Some("dumpbad") => given.push(("physical", OsString::new())),
        Some(other) => return Err(Failure::usage(format_args!("--bb={other}: expected skipbad or dumpbad"))),
    }
    run(&READ, &given, &args.operands)
}

fn ubiformat(args: &Args) -> Result {
    refuse(args, &["no-volume-table", "sub-page-size"])?;
    let mtd = args.operand(0).unwrap_or_default().to_owned();
    let mut names = vec![("erase-counter", "erase-counter")];
    let Some(image) = args.value("flash-image") else {
        names.extend([("vid-hdr-offset", "vid-hdr-offset"), ("image-seq", "image-seq")]);
        return run(&FORMAT, &taken(args, &names), &[mtd]);
    };
    if args.has("image-seq") {
        say(format_args!(
            "flashw: the image sequence number is that of the device where a PEB stays, else the image's"
        ));
    }
    names.push(("image-size", "length"));
    run(&WRITE, &taken(args, &names), &[image.to_owned(), mtd])
}

fn ubimkvol(args: &Args) -> Result {
    let names = [("size", "size"), ("lebs", "lebs"), ("maxavsize", "rest"), ("vol_id", "id")];
    let more = [("alignment", "align"), ("skipcheck", "skip-check")];
    let mut given = taken(args, &[&names[..], &more].concat());
    match args.text("type")? {
        None | Some("dynamic") => {}
        Some("static") => given.push(("static", OsString::new())),
        Some(other) => {
            return Err(Failure::usage(format_args!("--type {other}: expected static or dynamic")));
        }
    }
    let name = args.value("name").ok_or_else(|| Failure::usage(format_args!("a volume needs a --name")))?;
    run(&MKVOL, &given, &[args.operand(0).unwrap_or_default().to_owned(), name.to_owned()])
}

fn ubiupdatevol(args: &Args) -> Result {
    refuse(args, &["truncate"])?;
    let file = args.operand(1).unwrap_or(OsStr::new("-")).to_owned();
    run(&WRITE, &taken(args, &[("size", "length")]), &[file, args.operand(0).unwrap_or_default().to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_names() {
        assert_eq!(by_name(OsStr::new("/usr/sbin/flashcp")).unwrap().name, "flashcp");
        assert!(by_name(OsStr::new("/usr/sbin/flashw")).is_none());
        assert!(names().contains(" ubiformat "));
    }

    #[test]
    fn options_of_the_programs_are_those_of_commands() {
        let cases: [(&str, &[&str], &str); 8] = [
            ("flashcp", &["-v", "/none", "/dev/null"], "/dev/null is no MTD and no UBI volume"),
            ("flash_erase", &["-j", "/dev/null", "0", "0"], "--jffs2 is not done here"),
            ("flash_erase", &["/dev/null", "x", "0"], "x: expected a number"),
            ("nanddump", &["--bb=padbad", "/dev/null"], "--bb=padbad: expected skipbad or dumpbad"),
            ("ubiattach", &[], "expected one of --dev-path and --mtdn"),
            ("ubidetach", &["-d", "31"], "there is no /dev/ubi31"),
            ("ubimkvol", &["-t", "tape", "/dev/ubi0"], "--type tape: expected static or dynamic"),
            ("ubiformat", &["-y", "-n", "/dev/null"], "--no-volume-table is not done here"),
        ];
        for (name, words, message) in cases {
            let given = words.iter().map(OsString::from).collect();
            let failure = by_name(OsStr::new(name)).unwrap().run(given).unwrap_err();
            assert_eq!(failure.message, message, "{name} {words:?}");
        }
    }

    /// Every option that is handed on exists there: `Args::made` would not find it.
    #[test]
    fn options_that_are_handed_on_exist() {
        let handed_on = [
            (&ATTACH, &["number", "vid-hdr-offset", "max-beb-per1024"][..]),
            (&MKVOL, &["size", "lebs", "rest", "id", "align", "skip-check", "static"]),
            (&RSVOL, &["size", "lebs"]),
            (&RENAME, &["replace"]),
            (&WRITE, &["offset", "length", "erase-counter"]),
            (&READ, &["output", "length", "offset", "physical"]),
            (&ERASE, &["offset", "length"]),
            (&FORMAT, &["erase-counter", "vid-hdr-offset", "image-seq"]),
        ];
        for (command, names) in handed_on {
            let given: Vec<_> = names.iter().map(|name| (*name, OsString::new())).collect();
            let args = Args::made(command, &given, &[]);
            assert!(names.iter().all(|name| args.has(name)), "{}", command.name);
        }
    }
}
