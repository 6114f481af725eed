//! A run that failed: exit code, what is wrong, the remedy; shown as a picture on a terminal, as lines elsewhere and
//! as one JSON object with `--json`.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use flashwright_manifest as manifest;
use flashwright_tree::Tree;
use miette::Diagnostic;
use serde_json::{Value, json};

use crate::exit::Exit;

/// Why there is no result.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    message: String,
    help: Option<String>,
    /// An error about an input, which knows file, line and column.
    input: Option<manifest::Error>,
    /// Path in the image of the node that is the trouble.
    node: Option<Vec<u8>>,
    /// Standard output was closed by its reader: nothing is wrong and nobody is told.
    closed: bool,
}

impl Failure {
    /// A failure with that exit code and message: what, where, expected, found.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure(Box::new(Inner { exit, message, help: None, input: None, node: None, closed: false }))
    }

    /// Adds the remedy.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Says which node of the image is the trouble.
    pub(crate) fn about(mut self, path: &[u8]) -> Self {
        self.0.node = Some(path.to_vec());
        self
    }

    /// Adds the file and line that the node comes from, when it is known which.
    pub(crate) fn locate(self, tree: &Tree, origins: &manifest::Origins) -> Self {
        let id = self.0.node.as_ref().and_then(|path| tree.resolve(path));
        match id.and_then(|id| origins.place(id)) {
            Some(place) => manifest::Error::limit(self.0.message, self.0.help, place.clone()).into(),
            None => self,
        }
    }

    /// `cannot {doing} {path}: {error}`, with a remedy that fits the error.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Failure::new(Exit::Io, format!("cannot {doing} {}: {error}", path.display()));
        match io_remedy(error) {
            Some(remedy) => failure.help(remedy),
            None => failure,
        }
    }

    /// A failure to write to standard output; a reader that went away (`| head`) is no failure.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        let mut failure = Failure::new(Exit::Io, format!("cannot write to standard output: {error}"));
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.0.closed = true;
            failure.0.exit = Exit::Done;
        }
        failure
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.0.exit
    }

    /// Tells the user, on standard error.
    pub(crate) fn report(&self, json: bool) {
        if self.0.closed {
            return;
        }
        let mut stderr = io::stderr().lock();
        // Nobody is left to tell when standard error cannot be written to.
        let _ = if json {
            writeln!(stderr, "{}", self.to_json())
        } else if stderr.is_terminal() {
            self.picture().and_then(|picture| stderr.write_all(picture.as_bytes()))
        } else {
            write!(stderr, "{}", Plain(self))
        };
    }

    fn picture(&self) -> io::Result<String> {
        let mut picture = String::new();
        let diagnostic: &dyn Diagnostic = self.0.input.as_ref().map_or(self, |input| input);
        // The cause is in the message already.
        miette::GraphicalReportHandler::new()
            .without_cause_chain()
            .render_report(&mut picture, diagnostic)
            .map_err(io::Error::other)?;
        Ok(picture)
    }

    fn to_json(&self) -> Value {
        let mut error = json!({
            "exit_code": self.0.exit.code(),
            "class": self.0.exit.word(),
            "message": self.0.message,
            "help": self.0.help,
        });
        if let Some(input) = &self.0.input {
            place(&mut error, input.place());
            error["related"] = input.related().iter().map(related).collect();
        }
        json!({ "error": error })
    }
}

fn related(error: &manifest::Error) -> Value {
    let mut value = json!({ "message": error.message() });
    place(&mut value, error.place());
    value
}

/// Adds `file`, and `line` and `column` from 1, where they are known.
fn place(value: &mut Value, place: Option<&manifest::Place>) {
    let Some(place) = place else { return };
    value["file"] = place.document().name().into();
    if let Some((line, column)) = place.line_column() {
        value["line"] = line.into();
        value["column"] = column.into();
    }
}

/// What to do about an error of the host, where that is known.
fn io_remedy(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => {
            "check the permissions of the file and of the directories above it"
        }
        io::ErrorKind::StorageFull => "free space on that file system, or write elsewhere",
        io::ErrorKind::QuotaExceeded => "free space within your quota, or write elsewhere",
        io::ErrorKind::FileTooLarge => {
            "the file system or `ulimit -f` allows no file of that size; write elsewhere"
        }
        io::ErrorKind::ReadOnlyFilesystem => "that file system is mounted read-only; write elsewhere",
        _ => return None,
    })
}

/// The failure as lines for logs: the first is greppable, the others are indented.
struct Plain<'a>(&'a Failure);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &self.0.0;
        match &failure.input {
            Some(input) => writeln!(f, "error: {input}")?,
            None => writeln!(f, "error: {}", failure.message)?,
        }
        let related = failure.input.iter().flat_map(manifest::Error::related);
        related.into_iter().try_for_each(|also| writeln!(f, "  also: {also}"))?;
        failure.help.iter().try_for_each(|help| writeln!(f, "  help: {help}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

impl Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("flashwright::{}", self.0.exit.word())))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as _)
    }
}

impl From<manifest::Error> for Failure {
    fn from(error: manifest::Error) -> Self {
        let exit = match error.class() {
            manifest::Class::Usage => Exit::Usage,
            manifest::Class::Invalid => Exit::Invalid,
            manifest::Class::Refused => Exit::Refused,
            _ => Exit::Io,
        };
        let mut failure = Failure::new(exit, error.message());
        failure.0.help = error.help().map(str::to_owned);
        failure.0.input = Some(error);
        failure
    }
}
