//! Writes `src/registry/data/registry.tsv` from the packages it is made from; `src/registry/README.md` tells
//! how to get them. The work is done by `portolan::registry::compile`; this is its front.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portolan::registry::compile::{Package, Sources, compile};

const USAGE: &str = "usage: generate-registry --iana FILE --names FILE [--services FILE] [--output FILE]";
const OUTPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/data/registry.tsv");

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "generate-registry: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let (mut iana, mut names, mut services, mut output) = (None, None, None, PathBuf::from(OUTPUT));
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or(USAGE);
        match option.to_str() {
            Some("--iana") => iana = Some(value()?),
            Some("--names") => names = Some(value()?),
            Some("--services") => services = Some(value()?),
            Some("--output") => output = value()?,
            _ => return Err(USAGE.into()),
        }
    }
    let (Some(iana), Some(names)) = (iana, names) else { return Err(USAGE.into()) };
    let (iana, names) = (read("iana", &iana)?, read("names", &names)?);
    let services = services.map(|path| read("services", &path)).transpose()?;
    let text = compile(Sources {
        iana: iana.0.source(&iana.1),
        names: Some(names.0.source(&names.1)),
        services: services.as_ref().map(|(package, bytes)| package.source(bytes)),
    })?;
    // Whole or not at all: a file half written would compile.
    let mut temporary = output.clone().into_os_string();
    temporary.push(".new");
    std::fs::write(&temporary, text).map_err(|e| format!("{}: {e}", temporary.display()))?;
    std::fs::rename(&temporary, &output).map_err(|e| format!("{}: {e}", output.display()))?;
    Ok(())
}

fn read(role: &str, path: &Path) -> Result<(Package, Vec<u8>), Box<dyn Error>> {
    let package = Package::of(role).ok_or_else(|| format!("sources.tsv names no package for {role}"))?;
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((package, bytes))
}
