//! Reads the database of dpkg: files, checksums, versions and diversions (dpkg's `lib/dpkg/dbmodify.c`,
//! `db-fsys-files.c`, `parse.c`; `dpkg-divert(1)`).

use std::collections::{HashMap, HashSet};

use memchr::memmem;

use super::change_time::Installation;
use super::root::{Layout, Root};
use super::{Checksum, PackagedFile, PackagedFiles, WantedFiles, from_hex, lines, text};

const STATUS: &str = "var/lib/dpkg/status";
const INFO: &str = "var/lib/dpkg/info";
/// The maximum size of the status file in bytes. For all packages of Debian together, it has 80 MiB.
const LARGEST_STATUS: usize = 128 * 1024 * 1024;
/// The maximum size of any other file in bytes. The list of a package with 100,000 files has 10 MiB.
const LARGEST: usize = 64 * 1024 * 1024;

/// The number of files of a package that are selected to compare times. More are selected than are needed, because some
/// may have been removed.
const SPREAD: usize = 16;

/// A diversion: dpkg installs the file `from` at the path `to` instead. This applies to every package except one.
#[derive(Debug, PartialEq, Eq)]
struct Diversion<'d> {
    from: &'d [u8],
    to: &'d [u8],
    /// The package whose file stays at `from`; `:` if the file at `from` is the administrator's own.
    package: &'d [u8],
}

/// A file that is searched in the lists of packages.
#[derive(Debug, PartialEq, Eq)]
struct Search<'d> {
    file: usize,
    /// The only package that counts, because a diversion moves the files of all other packages.
    only: Option<&'d [u8]>,
    /// A package that does not count, because the diversion does not move its file.
    except: Option<&'d [u8]>,
}

struct Searches<'d> {
    by_path: HashMap<&'d [u8], Vec<Search<'d>>>,
    /// For each [`ending`], whether a searched path has it. Most lines have none of these endings. To exclude them this
    /// way is ten times as fast as a look-up by path.
    endings: Box<[bool; 1 << ENDING_BITS]>,
}

const ENDING_BITS: u32 = 12;

/// Returns a hash of the last bytes of a path.
fn ending(path: &[u8]) -> usize {
    let last = path.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
    // The multiplier is 2³² divided by the golden ratio, which spreads similar endings over the upper bits.
    (last.wrapping_mul(0x9E37_79B9) >> (u32::BITS - ENDING_BITS)) as usize
}

impl<'d> Searches<'d> {
    /// Returns the searches for the files. A diverted file is searched by its original path, which is the path in the
    /// lists.
    fn new(wanted: &WantedFiles<'d>, diversions: &[Diversion<'d>]) -> Self {
        let mut searches = Searches { by_path: HashMap::new(), endings: Box::new([false; 1 << ENDING_BITS]) };
        for (path, file) in wanted {
            let diversion = diversions.iter().find(|diversion| diversion.from == *path);
            let only = diversion.map(|diversion| diversion.package);
            searches.add(path, Search { file: *file, only, except: None });
        }
        for diversion in diversions {
            if let Some(file) = wanted.get(diversion.to) {
                let search = Search { file: *file, only: None, except: Some(diversion.package) };
                searches.add(diversion.from, search);
            }
        }
        searches
    }

    fn add(&mut self, path: &'d [u8], search: Search<'d>) {
        self.endings[ending(path)] = true;
        self.by_path.entry(path).or_default().push(search);
    }

    fn at(&self, path: &[u8]) -> Option<(&'d [u8], &[Search<'d>])> {
        let found = self.endings[ending(path)].then(|| self.by_path.get_key_value(path))?;
        found.map(|(path, searches)| (*path, searches.as_slice()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stanza {
    version: Option<String>,
    /// Whether the files of the package are installed completely.
    is_complete: bool,
    /// The configuration files, which may change.
    configuration: HashSet<Vec<u8>>,
}

/// Returns what packages record about the requested files; `None` if there is no database of dpkg.
pub(super) fn records(root: &Root, wanted: &WantedFiles<'_>) -> Result<Option<PackagedFiles>, String> {
    let Some(status) = root.read(STATUS, LARGEST_STATUS)? else { return Ok(None) };
    let diverted = root.read("var/lib/dpkg/diversions", LARGEST)?.unwrap_or_default();
    let searches = Searches::new(wanted, &diversions(&diverted, &root.layout));
    let mut owners: Vec<(String, &[u8], usize)> = Vec::new();
    for name in root.names(INFO)? {
        let Some(package) = name.to_str().ok().and_then(|name| name.strip_suffix(".list")) else { continue };
        let list = root.read(&format!("{INFO}/{package}.list"), LARGEST)?.unwrap_or_default();
        for (path, file) in listed(&list, package, &root.layout, &searches) {
            owners.push((package.to_owned(), path, file));
        }
    }
    let packages = owners.iter().map(|(package, ..)| package.as_str()).collect();
    let stanzas = stanzas(&status, &packages, &root.layout);
    let mut records = PackagedFiles::new();
    for (package, path, file) in owners {
        let Some(stanza) = stanzas.get(&package) else { continue };
        let (mut checksum, mut installed) = (None, None);
        if stanza.is_complete && !stanza.configuration.contains(path) {
            let sums_path = format!("{INFO}/{package}.md5sums");
            let sums = root.read(&sums_path, LARGEST)?.unwrap_or_default();
            checksum = self::checksum(&sums, &root.layout, path);
            let others = others(&sums, &root.layout, path);
            installed = Installation::of(root, &format!("{INFO}/{package}.list"), &sums_path, &others);
        }
        let package = without_architecture(&package).to_owned();
        records.entry(file).or_default().push(PackagedFile {
            package,
            version: stanza.version.clone(),
            checksum,
            installed,
        });
    }
    Ok(Some(records))
}

/// Returns whether dpkg is changing packages. During a change, the files and the checksums of a package can belong to
/// different versions.
pub(super) fn is_at_work(root: &Root) -> bool {
    root.names("var/lib/dpkg/updates")
        .is_ok_and(|names| names.iter().any(|name| name.to_bytes().iter().all(u8::is_ascii_digit)))
}

/// Removes the architecture from `NAME:ARCHITECTURE`. The names of some files in the database have this form.
fn without_architecture(package: &str) -> &str {
    package.split(':').next().unwrap_or(package)
}

/// Parses the diversions. Each has three lines: from, to and package.
fn diversions<'d>(text: &'d [u8], layout: &Layout) -> Vec<Diversion<'d>> {
    let lines: Vec<&[u8]> = lines(text).collect();
    let (threes, _) = lines.as_chunks::<3>();
    let diversion = |[from, to, package]: &[&'d [u8]; 3]| Diversion {
        from: layout.canonical(from),
        to: layout.canonical(to),
        package,
    };
    threes.iter().map(diversion).collect()
}

/// Returns the searched paths that are in the list of a package, each with the index of its file.
fn listed<'d>(
    list: &[u8],
    package: &str,
    layout: &Layout,
    searches: &Searches<'d>,
) -> Vec<(&'d [u8], usize)> {
    let package = without_architecture(package).as_bytes();
    let mut found = Vec::new();
    for line in lines(list) {
        let Some((path, those)) = searches.at(layout.canonical(line)) else { continue };
        let those = those.iter().filter(|search| {
            search.only.is_none_or(|only| only == package) && search.except != Some(package)
        });
        found.extend(those.map(|search| (path, search.file)));
    }
    found
}

/// Returns the checksum of a path in an `md5sums` file. A line has 32 hexadecimal digits, two spaces and a relative
/// path.
fn checksum(sums: &[u8], layout: &Layout, path: &[u8]) -> Option<Checksum> {
    lines(sums).find_map(|line| {
        let (digits, rest) = line.split_at_checked(32)?;
        let listed = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
        (layout.canonical(listed) == path).then(|| from_hex(digits).map(Checksum::Md5))?
    })
}

/// Returns the paths of some other files, evenly spread over an `md5sums` file.
fn others<'s>(sums: &'s [u8], layout: &Layout, path: &[u8]) -> Vec<&'s [u8]> {
    let paths: Vec<&[u8]> = lines(sums)
        .filter_map(|line| line.split_at_checked(34).map(|(_, listed)| listed))
        .filter(|listed| layout.canonical(listed) != path)
        .collect();
    paths.iter().copied().step_by(paths.len().div_ceil(SPREAD).max(1)).collect()
}

/// Parses the stanzas of these packages in the status file. A name may contain an architecture: `NAME:ARCHITECTURE`.
fn stanzas(status: &[u8], packages: &HashSet<&str>, layout: &Layout) -> HashMap<String, Stanza> {
    let mut stanzas = HashMap::new();
    let mut from = 0;
    let ends = memmem::find_iter(status, b"\n\n").chain([status.len()]);
    for end in ends {
        let stanza = &status[from.min(end)..end];
        from = end;
        let mut name = "";
        let mut architecture = "";
        let mut read = Stanza::default();
        let mut in_configuration = false;
        for line in lines(stanza) {
            if let Some(value) = line.strip_prefix(b"Package: ") {
                name = std::str::from_utf8(value).unwrap_or_default();
                if !packages.iter().any(|package| without_architecture(package) == name) {
                    break;
                }
            } else if let Some(value) = line.strip_prefix(b"Architecture: ") {
                architecture = std::str::from_utf8(value).unwrap_or_default();
            } else if let Some(value) = line.strip_prefix(b"Version: ") {
                read.version = Some(text(value));
            } else if let Some(value) = line.strip_prefix(b"Status: ") {
                let state = value.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                read.is_complete = !matches!(state, b"half-installed" | b"not-installed" | b"config-files");
            }
            if in_configuration && let Some(path) = line.strip_prefix(b" /") {
                let path = path.split(|byte| *byte == b' ').next().unwrap_or_default();
                read.configuration.insert(layout.canonical(path).to_owned());
            } else {
                in_configuration = line == b"Conffiles:";
            }
        }
        for package in [name.to_owned(), format!("{name}:{architecture}")] {
            if packages.contains(package.as_str()) {
                stanzas.insert(package, read.clone());
            }
        }
    }
    stanzas
}

/// For a fuzzer: parses the same bytes as each kind of file in the database.
pub(super) fn parse(bytes: &[u8], layout: &Layout) -> usize {
    let wanted: WantedFiles<'_> = lines(bytes).take(8).map(|line| layout.canonical(line)).zip(0..).collect();
    let searches = Searches::new(&wanted, &diversions(bytes, layout));
    let listed = listed(bytes, "p", layout, &searches);
    let sums = listed.iter().filter(|(path, _)| checksum(bytes, layout, path).is_some()).count();
    sums + stanzas(bytes, &HashSet::from(["p", "p:amd64"]), layout).len()
}
