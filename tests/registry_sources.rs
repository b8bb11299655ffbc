//! The committed registry is what the generator makes of its packages.
//!
//! `PORTOLAN_REGISTRY_SOURCES` names a folder with their files, as `.ci/registry-sources FOLDER` fills it.
//! Where it is not set, or the folder is not there, the trials are told as ignored.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::registry::compile::{Package, Sources, compile};

const COMMITTED: &str = include_str!("../src/registry/data/registry.tsv");

fn main() {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os("PORTOLAN_REGISTRY_SOURCES").map(PathBuf::from).filter(|f| f.is_dir());
    let absent = folder.is_none();
    let folder = folder.unwrap_or_default();
    let trial = Trial::test("committed_registry_is_what_its_packages_make", move || matches(&folder))
        .with_ignored_flag(absent);
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn matches(folder: &Path) -> Result<(), Failed> {
    let read = |role: &str| -> Result<(Package, Vec<u8>), Failed> {
        let package = Package::of(role).ok_or_else(|| format!("no package for {role}"))?;
        let path = folder.join(package.file);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((package, bytes))
    };
    let (iana, names, services) = (read("iana")?, read("names")?, read("services")?);
    let made = compile(Sources {
        iana: iana.0.source(&iana.1),
        names: Some(names.0.source(&names.1)),
        services: Some(services.0.source(&services.1)),
    })?;
    if made == COMMITTED {
        return Ok(());
    }
    let differing = made.lines().zip(COMMITTED.lines()).position(|(made, committed)| made != committed);
    let at = differing.unwrap_or_else(|| made.lines().count().min(COMMITTED.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(no line)").to_owned();
    Err(format!("line {} differs\n     made: {}\ncommitted: {}", at + 1, line(&made), line(COMMITTED)).into())
}
