//! The committed registry and evidence are what the generator makes from their packages.
//!
//! `PORTOLAN_REGISTRY_SOURCES` names a directory with the files of the packages; `.ci/registry-sources FOLDER` fills
//! it. If the variable is not set, or the directory does not exist, the tests are reported as ignored.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::model::Life;
use portolan::registry::compile::{Package, Packaged, Sources, compile_with};

const REGISTRY: &str = include_str!("../src/registry/data/registry.tsv");
const EVIDENCE: &str = include_str!("../src/registry/data/evidence.tsv");

fn main() {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os("PORTOLAN_REGISTRY_SOURCES").map(PathBuf::from).filter(|f| f.is_dir());
    let absent = folder.is_none();
    let folder = folder.unwrap_or_default();
    let trial = Trial::test("committed_registry_is_what_its_packages_make", move || matches(&folder))
        .with_ignored_flag(absent);
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn package(role: &str) -> Result<Package, Failed> {
    Package::of(role).ok_or_else(|| format!("no package for {role}").into())
}

fn matches(folder: &Path) -> Result<(), Failed> {
    let read = |role: &str| -> Result<(Package, Vec<u8>), Failed> {
        let package = package(role)?;
        let path = folder.join(package.file);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((package, bytes))
    };
    let packaged = Life::PACKAGED
        .into_iter()
        .map(|kind| {
            let package = package(kind.name())?;
            let path = folder.join(package.file);
            let source = Packaged::read(kind, &path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok((package.dated(), source))
        })
        .collect::<Result<Vec<_>, Failed>>()?;
    let (iana, names) = (read("iana")?, read("names")?);
    let sources = Sources { iana: iana.0.source(&iana.1), names: Some(names.0.source(&names.1)) };
    let made = compile_with(sources, &packaged)?;
    same("registry.tsv", &made.registry, REGISTRY)?;
    same("evidence.tsv", &made.evidence, EVIDENCE)
}

fn same(file: &str, made: &str, committed: &str) -> Result<(), Failed> {
    if made == committed {
        return Ok(());
    }
    let differing = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    let at = differing.unwrap_or_else(|| made.lines().count().min(committed.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(no line)").to_owned();
    let (made, committed) = (line(made), line(committed));
    Err(format!("{file}: line {} differs\n     made: {made}\ncommitted: {committed}", at + 1).into())
}
