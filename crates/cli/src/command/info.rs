//! `info`: what an image is.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::args::InfoArgs;
use crate::command::build::print_json;
use crate::command::ubi;
use crate::failure::Failure;
use crate::formats::{Facts, Image};

pub(crate) fn run(args: &InfoArgs) -> Result<(), Failure> {
    let facts = match ubi::open(&args.image)? {
        Some(volumes) => ubi::info(args, &volumes)?,
        None => of_format(args)?,
    };
    if args.image.json {
        let facts = facts.into_iter().map(|(key, value)| (key.to_owned(), value));
        return print_json(&facts.collect::<Map<_, _>>().into());
    }
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut stdout = io::stdout().lock();
    let mut rows = facts
        .iter()
        .map(|(key, value)| (key.replace('_', " "), rows(value).join(&format!("\n{:width$}  ", ""))));
    rows.try_for_each(|(key, value)| writeln!(stdout, "{key:width$}  {value}"))
        .map_err(|error| Failure::stdout(&error))
}

fn of_format(args: &InfoArgs) -> Result<Facts, Failure> {
    let image = Image::open(&args.image.image, &args.known)?;
    let mut facts = vec![("format", Value::from(image.format.name))];
    facts.extend((image.format.info)(&image)?);
    Ok(facts)
}

/// A value as lines: a list of objects takes one for each.
fn rows(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) if values.iter().any(Value::is_object) => values.iter().map(show).collect(),
        other => vec![show(other)],
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let name = fields.get("name").map(|name| format!("{}: ", show(name))).unwrap_or_default();
            let rest = fields.iter().filter(|(key, _)| *key != "name");
            let rest: Vec<String> =
                rest.map(|(key, value)| format!("{} {}", key.replace('_', " "), show(value))).collect();
            name + &rest.join(", ")
        }
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}
