//! Writes `src/registry/data/registry.tsv` and `evidence.tsv` from the packages they are made from;
//! `src/docs/registry.md` explains how to get them. `portolan::registry::compile` does the work; this program only
//! parses the options. Every source of evidence is optional: a source that is not named is left out, and the header
//! lists the sources that were read.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portolan::model::Life;
use portolan::registry::compile::{Package, Packaged, Sources, compile_with};

const USAGE: &str = "usage: generate-registry --sources FOLDER | --iana FILE --names FILE [--netbase FILE] \
    [--tshark FILE] [--selinux FILE] [--firewalld FOLDER] [--ndpi FILE] [--ufw FOLDER] [--output FOLDER]";
const OUTPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/data");

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
    let (mut iana, mut names, mut output) = (None, None, PathBuf::from(OUTPUT));
    let mut packaged: Vec<(Life, PathBuf)> = Vec::new();
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or(USAGE);
        let option = option.to_str().and_then(|option| option.strip_prefix("--")).ok_or(USAGE)?;
        match option {
            "sources" => {
                let folder = value()?;
                let of = |role: &str| Package::of(role).map(|package| folder.join(package.file)).ok_or(USAGE);
                (iana, names) = (Some(of("iana")?), Some(of("names")?));
                for kind in Life::PACKAGED {
                    packaged.push((kind, of(kind.name())?));
                }
            }
            "iana" => iana = Some(value()?),
            "names" => names = Some(value()?),
            "output" => output = value()?,
            _ => {
                let kind = Life::PACKAGED.into_iter().find(|kind| kind.name() == option).ok_or(USAGE)?;
                packaged.push((kind, value()?));
            }
        }
    }
    let (Some(iana), Some(names)) = (iana, names) else { return Err(USAGE.into()) };
    let (iana, names) = (read("iana", &iana)?, read("names", &names)?);
    packaged.sort_by_key(|(kind, _)| *kind);
    let packaged = packaged
        .into_iter()
        .map(|(kind, path)| {
            let package = package(kind.name())?;
            Ok((
                package.dated(),
                Packaged::read(kind, &path).map_err(|e| format!("{}: {e}", path.display()))?,
            ))
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let sources = Sources { iana: iana.0.source(&iana.1), names: Some(names.0.source(&names.1)) };
    let made = compile_with(sources, &packaged)?;
    for (file, text) in [("registry.tsv", made.registry), ("evidence.tsv", made.evidence)] {
        // The write is atomic: a partial file would compile.
        let (path, temporary) = (output.join(file), output.join(format!("{file}.new")));
        std::fs::write(&temporary, text).map_err(|e| format!("{}: {e}", temporary.display()))?;
        std::fs::rename(&temporary, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

fn package(role: &str) -> Result<Package, Box<dyn Error>> {
    Package::of(role).ok_or_else(|| format!("sources.tsv names no package for {role}").into())
}

fn read(role: &str, path: &Path) -> Result<(Package, Vec<u8>), Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((package(role)?, bytes))
}
