//! Reads the database of pacman. Each package has a directory with a description, a list of files, and a compressed
//! mtree with the checksums (pacman's `lib/libalpm/be_local.c`, `mtree(5)`).

use memchr::memmem;

use super::root::{Layout, Root, trouble};
use super::{Checksum, PackagedFile, PackagedFiles, WantedFiles, from_hex, lines, text};

const LOCAL: &str = "var/lib/pacman/local";
/// The maximum size, in bytes, of the description, the list of files or the compressed mtree. The largest have about 10
/// MiB.
const LARGEST: usize = 64 * 1024 * 1024;
const LARGEST_MTREE: usize = 256 * 1024 * 1024;

/// Returns what packages record about the requested files; `None` if there is no database of pacman.
pub(super) fn records(root: &Root, wanted: &WantedFiles<'_>) -> Result<Option<PackagedFiles>, String> {
    if !root.has(&format!("{LOCAL}/ALPM_DB_VERSION")) {
        return Ok(None);
    }
    let mut records = PackagedFiles::new();
    for name in root.names(LOCAL)? {
        let Ok(name) = name.to_str() else { continue };
        let Some(files) = root.read(&format!("{LOCAL}/{name}/files"), LARGEST)? else { continue };
        let found = listed(&files, &root.layout, wanted);
        if found.is_empty() {
            continue;
        }
        let description = root.read(&format!("{LOCAL}/{name}/desc"), LARGEST)?.unwrap_or_default();
        let mtree = format!("{LOCAL}/{name}/mtree");
        let sums = match root.read(&mtree, LARGEST)? {
            Some(compressed) => inflate(&compressed).map_err(|why| trouble(&mtree, why))?,
            None => Vec::new(),
        };
        for (path, file, is_configuration) in found {
            records.entry(file).or_default().push(PackagedFile {
                package: value(&description, b"%NAME%").unwrap_or_else(|| name.to_owned()),
                version: value(&description, b"%VERSION%"),
                checksum: if is_configuration { None } else { checksum(&sums, &root.layout, path) },
                installed: None,
            });
        }
    }
    Ok(Some(records))
}

/// Returns the requested paths that are in the list `%FILES%`. The flag of a path is true if the path is also in
/// `%BACKUP%`. The files in `%BACKUP%` may change.
fn listed<'w>(files: &[u8], layout: &Layout, wanted: &WantedFiles<'w>) -> Vec<(&'w [u8], usize, bool)> {
    let mut found: Vec<(&[u8], usize, bool)> = Vec::new();
    let mut section: &[u8] = b"";
    for line in lines(files) {
        match (line, section) {
            ([b'%', ..], _) => section = line,
            (path, b"%FILES%") => {
                let path = wanted.get_key_value(layout.canonical(path));
                found.extend(path.map(|(path, file)| (*path, *file, false)));
            }
            (backup, b"%BACKUP%") => {
                let path = backup.split(|byte| *byte == b'\t').next().unwrap_or_default();
                for (_, _, is_configuration) in
                    found.iter_mut().filter(|(listed, ..)| *listed == layout.canonical(path))
                {
                    *is_configuration = true;
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the line after a heading; `None` if it is missing or empty.
fn value(description: &[u8], heading: &[u8]) -> Option<String> {
    let mut lines = lines(description);
    lines.find(|line| *line == heading)?;
    lines.next().filter(|value| !value.is_empty()).map(text)
}

/// Decompresses a gzip file (RFC 1952) with one member.
fn inflate(file: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_GZIP: &str = "not a gzip file";
    const NAME: u8 = 8;
    let [31, 139, 8, flags, _, _, _, _, _, _, rest @ ..] = file else { return Err(NOT_GZIP) };
    let deflated = match *flags {
        0 => rest,
        NAME => memchr::memchr(0, rest).map(|end| &rest[end + 1..]).ok_or(NOT_GZIP)?,
        _ => return Err("a gzip file of an unusual form"),
    };
    miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, LARGEST_MTREE)
        .map_err(|_| "the file is damaged or too large")
}

/// Returns the checksum of a path. A line of the mtree has the form `./PATH KEYWORD=VALUE…`.
fn checksum(mtree: &[u8], layout: &Layout, path: &[u8]) -> Option<Checksum> {
    // To save time, only lines with the first letters of the file's name are decoded.
    let plain = path.rsplit(|byte| *byte == b'/').next()?;
    let plain = plain.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
    let finder = memmem::Finder::new(plain);
    lines(mtree).filter(|line| finder.find(line).is_some()).find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let listed = decode(words.next()?);
        if layout.canonical(&listed) != path {
            return None;
        }
        let mut words = words.filter_map(|word| {
            let (keyword, value) = word.split_at(word.iter().position(|byte| *byte == b'=')?);
            match keyword {
                b"sha256digest" | b"sha256" => from_hex(value.get(1..)?).map(Checksum::Sha256),
                b"md5digest" | b"md5" => from_hex(value.get(1..)?).map(Checksum::Md5),
                _ => None,
            }
        });
        words.next()
    })
}

/// Decodes `\ooo`, a byte in three octal digits.
fn decode(word: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(match (*first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                rest = after;
                (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
            }
            _ => *first,
        });
    }
    decoded
}

/// For a fuzzer: parses the same bytes as each kind of file in the database.
pub(super) fn parse(bytes: &[u8], layout: &Layout) -> usize {
    let wanted: WantedFiles<'_> = lines(bytes).take(8).map(|line| layout.canonical(line)).zip(0..).collect();
    let listed = listed(bytes, layout, &wanted);
    let inflated = inflate(bytes).unwrap_or_default();
    let sums = wanted.keys().filter(|path| checksum(bytes, layout, path).is_some()).count();
    listed.len() + sums + inflated.len().min(1) + usize::from(value(bytes, b"%NAME%").is_some())
}
