//! The names of a program file in the tables of dangerous services and of tools.

use super::programs::stem;
use crate::model::interpreter::without_build;

/// The file names of each interpreter in the tables, without versions.
const INTERPRETERS: [(&str, &[&str]); 11] = [
    ("python", &["python", "pypy"]),
    ("node", &["node", "nodejs"]),
    ("java", &["java"]),
    ("ruby", &["ruby"]),
    ("perl", &["perl"]),
    ("php", &["php"]),
    ("beam", &["beam.smp"]),
    ("lua", &["lua", "luajit"]),
    ("dotnet", &["dotnet"]),
    ("mono", &["mono", "mono-sgen"]),
    ("busybox", &["busybox", "toybox"]),
];

/// The suffixes after `-`, `_` or `.` that are not a part of a program's name: a system, a processor, a kind of build,
/// or the mark of a backup copy. `chisel_linux_amd64` is `chisel`.
const SUFFIXES: [&str; 39] = [
    "x86_64", "amd64", "x64", "64bit", "64", "i386", "i486", "i586", "i686", "386", "x86", "32", "arm64",
    "aarch64", "armv5", "armv6", "armv7", "armv7l", "armhf", "arm", "riscv64", "ppc64le", "s390x", "mips",
    "mipsel", "linux", "gnu", "musl", "glibc", "unknown", "pc", "static", "notls", "real", "orig", "bin",
    "wrapped", "stripped", "upx",
];

/// Returns the name that the tables use for the interpreter with the file name `file`; `None` for other programs.
pub(super) fn interpreter(file: &str) -> Option<&'static str> {
    let names = [file, stem(file), stem(without_build(file))];
    let found = INTERPRETERS.iter().find(|(_, files)| names.iter().any(|name| files.contains(name)));
    found.map(|(name, _)| *name)
}

/// Returns the file name, then each name that remains without one more suffix or version: `chisel_1.9.1_linux_amd64`,
/// `chisel_1.9.1_linux`, `chisel_1.9.1`, `chisel`.
pub(super) fn names_of(file: &str) -> Vec<&str> {
    let mut names = vec![file];
    while let Some(shorter) = names.last().and_then(|name| without_suffix(name)) {
        names.push(shorter);
    }
    names
}

/// Returns a name without its last suffix or its version; `None` if the name has neither.
fn without_suffix(name: &str) -> Option<&str> {
    let without = SUFFIXES.iter().find_map(|suffix| {
        let at = name.len().checked_sub(suffix.len())?;
        let (rest, end) = name.split_at_checked(at)?;
        // A wrapper of Nix has the name `.NAME-wrapped`.
        let rest = if *suffix == "wrapped" { rest.trim_start_matches('.') } else { rest };
        end.eq_ignore_ascii_case(suffix).then(|| rest.strip_suffix(['-', '_', '.']))?
    });
    let without = without.or_else(|| {
        let bare = stem(name);
        let bare = ["-v", "_v", "-", "_"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
        (bare != name).then_some(bare)
    });
    without.filter(|shorter| !shorter.is_empty())
}
