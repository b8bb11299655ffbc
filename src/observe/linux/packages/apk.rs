//! Reads the database of apk. It is a single file, and each line has a letter and a value (apk-tools'
//! `src/database.c`).

use super::root::{Layout, Root};
use super::{Checksum, PackagedFile, PackagedFiles, WantedFiles, lines, text};

/// The second path is for Alpine with a merged `/usr`.
const PLACES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
/// The maximum size of the database in bytes. The database of a desktop has about 20 MiB.
const LARGEST: usize = 256 * 1024 * 1024;

/// Returns what packages record about the requested files; `None` if there is no database of apk.
pub(super) fn records(root: &Root, wanted: &WantedFiles<'_>) -> Result<Option<PackagedFiles>, String> {
    for place in PLACES {
        if let Some(installed) = root.read(place, LARGEST)? {
            return Ok(Some(parse(&installed, &root.layout, wanted)));
        }
    }
    Ok(None)
}

/// Parses the lines `P:` package, `V:` version, `F:` directory, `R:` file and `Z:` checksum.
pub(super) fn parse(installed: &[u8], layout: &Layout, wanted: &WantedFiles<'_>) -> PackagedFiles {
    let mut records = PackagedFiles::new();
    let mut package: &[u8] = b"";
    let mut version = None;
    let mut directory: &[u8] = b"";
    let mut current = None;
    let mut path = Vec::new();
    for line in lines(installed) {
        match line {
            [b'P', b':', name @ ..] => (package, version, current) = (name, None, None),
            [b'V', b':', value @ ..] => version = Some(value),
            [b'F', b':', name @ ..] => (directory, current) = (name, None),
            [b'R', b':', name @ ..] => {
                path.clear();
                path.extend_from_slice(directory);
                path.push(b'/');
                path.extend_from_slice(name);
                current = wanted.get(layout.canonical(&path)).copied();
                if let Some(file) = current {
                    let record = PackagedFile {
                        package: text(package),
                        version: version.map(text),
                        checksum: None,
                        installed: None,
                    };
                    records.entry(file).or_default().push(record);
                }
            }
            [b'Z', b':', value @ ..] => {
                let record = current.and_then(|file| records.get_mut(&file)?.last_mut());
                if let Some(record) = record {
                    record.checksum = checksum(value);
                }
            }
            _ => {}
        }
    }
    records
}

/// Parses a SHA-1 sum, which is `Q1` and base64; `None` for other sums.
fn checksum(value: &[u8]) -> Option<Checksum> {
    let mut sum = [0; 20];
    let digits: &[u8; 28] = value.strip_prefix(b"Q1")?.try_into().ok()?;
    let (digits, padding) = digits.split_at(27);
    if padding != b"=" {
        return None;
    }
    let (mut held, mut bits, mut at) = (0_u32, 0, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [.., byte] = (held >> bits).to_be_bytes();
            *sum.get_mut(at)? = byte;
            at += 1;
        }
    }
    Some(Checksum::Sha1(sum))
}
