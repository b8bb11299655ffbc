//! Runs the program rpm to read its database, because the format changes and only rpm defines it.
//!
//! Only the database of this machine is read, with the program at a fixed path. A program of a container is never run,
//! and a database of a container is never given to rpm.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::super::external_program::{self, TimeBudget};
use super::root::{Layout, Root};
use super::{Checksum, PackagedFile, PackagedFiles, WantedFiles, from_hex, lines, text};

const RPM: &str = "/usr/bin/rpm";
/// The files of a database: one for each format in each directory.
const PLACES: [&str; 6] = [
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
];
/// A line `P` for a package, followed by a line `F` for each of its files. `FILEDIGESTALGO` is the number of the
/// checksum algorithm (RFC 4880, section 9.4).
const FORMAT: &str =
    "P\\t%{NAME}\\t%{EVR}\\t%{FILEDIGESTALGO}\\n[F\\t%{FILENAMES}\\t%{FILEDIGESTS}\\t%{FILEFLAGS}\\n]";
/// `RPMFILE_CONFIG` and `RPMFILE_GHOST` (`rpm/rpmfiles.h`).
const MAY_CHANGE: u32 = 1 | 1 << 6;

pub(super) fn has_database(root: &Root) -> bool {
    PLACES.iter().any(|place| root.has(place))
}

/// Returns what packages record about the requested files; `None` if portolan's root directory has no database of rpm.
pub(super) fn records(root: &Root, wanted: &WantedFiles<'_>) -> Result<Option<PackagedFiles>, String> {
    if !root.is_own() || !has_database(root) {
        return Ok(None);
    }
    let paths = wanted.keys().map(|path| [b"/", *path].concat());
    let options = ["--query", "--file", "--queryformat", FORMAT, "--"].map(OsString::from);
    let paths = paths.map(|path| OsStr::from_bytes(&path).to_owned());
    let output = external_program::output(RPM, options.into_iter().chain(paths), &TimeBudget::default())?;
    Ok(Some(parse(&output, &root.layout, wanted)))
}

/// Parses the output in [`FORMAT`]. Any other line says that a file belongs to no package.
pub(super) fn parse(output: &[u8], layout: &Layout, wanted: &WantedFiles<'_>) -> PackagedFiles {
    let mut records = PackagedFiles::new();
    let mut package: Option<(&[u8], &[u8], &[u8])> = None;
    for line in lines(output) {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        match (&*fields, package) {
            ([b"P", name, version, algorithm], _) => package = Some((name, version, algorithm)),
            ([b"F", path, digest, flags], Some((name, version, algorithm))) => {
                let Some(file) = wanted.get(layout.canonical(path)) else { continue };
                let flags = std::str::from_utf8(flags).ok().and_then(|flags| flags.parse::<u32>().ok());
                let may_change = flags.is_none_or(|flags| flags & MAY_CHANGE != 0);
                let record = PackagedFile {
                    package: text(name),
                    version: Some(text(version)),
                    checksum: if may_change { None } else { checksum(algorithm, digest) },
                    installed: None,
                };
                let those = records.entry(*file).or_default();
                if !those.contains(&record) {
                    those.push(record); // rpm prints a package once for each requested file of the package
                }
            }
            _ => package = None,
        }
    }
    records
}

/// Parses a checksum. The oldest packages name no algorithm, because they use MD5.
fn checksum(algorithm: &[u8], digest: &[u8]) -> Option<Checksum> {
    match algorithm {
        b"8" => from_hex(digest).map(Checksum::Sha256),
        b"2" => from_hex(digest).map(Checksum::Sha1),
        b"1" | b"0" | b"(none)" => from_hex(digest).map(Checksum::Md5),
        _ => None,
    }
}
