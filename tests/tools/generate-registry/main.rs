//! Writes `src/registry/data/registry.tsv` and `evidence.tsv` from their source packages; `src/docs/registry.md`
//! explains how to get the packages.

mod generator;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: generate-registry --sources DIRECTORY [--output DIRECTORY]";
const OUTPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/data");

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "generate-registry: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut sources, mut output) = (None, PathBuf::from(OUTPUT));
    let mut arguments = std::env::args_os().skip(1);
    while let Some(option) = arguments.next() {
        let value = PathBuf::from(arguments.next().ok_or(USAGE)?);
        match option.to_str() {
            Some("--sources") => sources = Some(value),
            Some("--output") => output = value,
            _ => return Err(USAGE.into()),
        }
    }
    let generated = generator::generate(&sources.ok_or(USAGE)?)?;
    for (file, text) in [("registry.tsv", generated.registry), ("evidence.tsv", generated.evidence)] {
        // The write is atomic: a partial file would compile.
        let (path, temporary) = (output.join(file), output.join(format!("{file}.new")));
        std::fs::write(&temporary, text).map_err(|e| format!("{}: {e}", temporary.display()))?;
        std::fs::rename(&temporary, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
