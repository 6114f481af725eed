//! What came out: a summary for people, one object for programs.

use std::path::PathBuf;
use std::time::Duration;

use flashwright_manifest::Note;
use serde_json::{Map, Value, json};

use crate::size;

/// What a format's writer tells about an image.
#[derive(Debug)]
pub(crate) struct Written {
    /// Nodes, the root included.
    pub(crate) nodes: u64,
    /// Bytes of file data that went in, holes included, every hard-linked file once.
    pub(crate) bytes_in: u64,
    /// What else there is to tell, in the format's own words.
    pub(crate) details: Vec<Detail>,
    /// What may be trouble on the device, one line each.
    pub(crate) warnings: Vec<String>,
}

impl Written {
    /// Without warnings.
    pub(crate) const fn new(nodes: u64, bytes_in: u64, details: Vec<Detail>) -> Self {
        Written { nodes, bytes_in, details, warnings: Vec::new() }
    }
}

/// One more fact of the format's own.
#[derive(Debug)]
pub(crate) struct Detail {
    /// Key in the JSON object.
    key: &'static str,
    /// The number, or whatever it is.
    value: Value,
    /// Words for people, when there is something to say.
    words: Option<String>,
}

impl Detail {
    pub(crate) fn new(key: &'static str, value: impl Into<Value>, words: Option<String>) -> Self {
        Detail { key, value: value.into(), words }
    }
}

/// One finished image.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Name of the output in `image.toml`.
    pub(crate) name: Option<String>,
    /// Where it is, as the user wrote it.
    pub(crate) path: PathBuf,
    /// Name of its format.
    pub(crate) format: &'static str,
    pub(crate) written: Written,
    /// Length of the image in bytes.
    pub(crate) bytes_out: u64,
    /// The most it may take, where that is known.
    pub(crate) max_size: Option<u64>,
    /// Lower-case hexadecimal; only made for JSON.
    pub(crate) sha256: Option<String>,
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Bytes out for each byte in; `None` when none went in.
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people: three digits are shown")]
    fn ratio(&self) -> Option<f64> {
        (self.written.bytes_in > 0).then(|| self.bytes_out as f64 / self.written.bytes_in as f64)
    }

    /// Several lines for people.
    pub(crate) fn lines(&self) -> String {
        let Finished { written, bytes_out, .. } = self;
        let ratio = self.ratio().map(|ratio| format!(", ratio {ratio:.3}")).unwrap_or_default();
        let mut lines = format!(
            "{}: {}, {} {}, {:.2} s\n  {} in\n  {} out{ratio}",
            self.path.display(),
            self.format,
            written.nodes,
            if self.format == "ubi" { "volumes" } else { "nodes" },
            self.elapsed.as_secs_f64(),
            size::show(written.bytes_in),
            size::show(*bytes_out),
        );
        if let Some(max) = self.max_size {
            lines += &format!("\n  {} left of {}", size::show(max - bytes_out), size::show(max));
        }
        written.details.iter().filter_map(|detail| detail.words.as_ref()).for_each(|words| {
            lines += "\n  ";
            lines += words;
        });
        lines
    }

    /// One object for programs.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        if let Some(name) = &self.name {
            put("name", name.as_str().into());
        }
        put("path", self.path.to_string_lossy().into());
        put("format", self.format.into());
        put("nodes", self.written.nodes.into());
        put("bytes_in", self.written.bytes_in.into());
        put("bytes_out", self.bytes_out.into());
        put("ratio", self.ratio().into());
        put("max_size", self.max_size.into());
        self.written.details.iter().for_each(|detail| put(detail.key, detail.value.clone()));
        put("sha256", self.sha256.as_deref().into());
        put("seconds", self.elapsed.as_secs_f64().into());
        object.into()
    }
}

/// The one object that `--json` prints.
pub(crate) fn json(finished: &[Finished], notes: &[Note]) -> Value {
    let notes = notes.iter().filter(|note| note.severity == flashwright_manifest::Severity::Warning);
    let warnings = finished.iter().flat_map(|report| report.written.warnings.iter().cloned());
    json!({
        "outputs": finished.iter().map(Finished::json).collect::<Vec<_>>(),
        "warnings": notes.map(ToString::to_string).chain(warnings).collect::<Vec<_>>(),
    })
}
