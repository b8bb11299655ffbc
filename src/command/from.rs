//! Reads a saved observation. The file is hostile input: bounded, checked, and refused in one line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::error::Category;

use super::Error;
use crate::model::{OBSERVATION_SCHEMA, Observation};

/// Larger files are refused: 64 MiB hold some 50,000 sockets with their processes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The schema alone, whatever else the file holds.
#[derive(Deserialize)]
struct Schema {
    schema: Option<serde_json::Value>,
}

/// Reads `path`, or standard input where it is `-`.
pub(super) fn read(path: &Path) -> Result<Observation, Error> {
    let (name, bytes) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), bounded(io::stdin().lock()))
    } else {
        (path.display().to_string(), File::open(path).and_then(bounded))
    };
    let said = |why: &str| Error::Said(format!("{name}: {why}"));
    let bytes = bytes.map_err(|error| said(&error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        return Err(said("too large for a saved observation (the limit is 64 MiB)"));
    }
    parse(&bytes).map_err(|why| said(&why))
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the bytes of a saved observation.
///
/// # Errors
/// One line: what is wrong, and the remedy.
pub fn parse(bytes: &[u8]) -> Result<Observation, String> {
    const REMEDY: &str = "make one with: portolan capture > FILE";
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("empty; {REMEDY}"));
    }
    let trouble = |error: serde_json::Error| match error.classify() {
        Category::Eof => format!("cut off at line {}, column {}; {REMEDY}", error.line(), error.column()),
        Category::Syntax | Category::Io => format!("not JSON ({error}); {REMEDY}"),
        Category::Data => format!("not a saved observation ({error}); {REMEDY}"),
    };
    let schema: Schema = serde_json::from_slice(bytes).map_err(trouble)?;
    match schema.schema {
        Some(serde_json::Value::String(schema)) if schema == OBSERVATION_SCHEMA => {
            serde_json::from_slice(bytes).map_err(trouble)
        }
        Some(serde_json::Value::String(schema)) => {
            Err(format!("schema {schema:?} where {OBSERVATION_SCHEMA:?} is needed; {REMEDY}"))
        }
        _ => Err(format!("no schema where {OBSERVATION_SCHEMA:?} is needed; {REMEDY}")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn bad_files_say_what_is_wrong() {
        for (text, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("nonsense", "not JSON"),
            ("{\"schema\": \"portolan.observation/1\"", "cut off"),
            ("{\"schema\": \"portolan/1\"}", "schema \"portolan/1\""),
            ("{\"schema\": \"portolan.observation/2\"}", "schema \"portolan.observation/2\""),
            ("{\"schema\": 1}", "no schema"),
            ("{}", "no schema"),
            ("[]", "not a saved observation"),
            ("{\"schema\": \"portolan.observation/1\"}", "not a saved observation (missing field"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }
}
