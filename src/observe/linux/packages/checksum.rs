//! Calculates the checksum of the file that a process runs.

use std::fs::File;
use std::io::Read;

use md5::{Digest, Md5};
use rustix::fs::{Mode, OFlags, fstat, openat};
use sha1::Sha1;
use sha2::Sha256;

use super::RunningFile;
use super::root::identity;
use crate::observe::linux::process;

/// The maximum size of a program in bytes. The largest servers have about 200 MiB.
const LARGEST: u64 = 512 * 1024 * 1024;
const AT_ONCE: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Md5([u8; 16]),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// Returns the checksums of a program, one for each algorithm in `wanted`. The file is opened through a process,
/// because its path may now lead to another file.
pub(super) fn of_program(program: &RunningFile, wanted: &[&Checksum]) -> Result<Vec<Checksum>, String> {
    let opened = program.pids.iter().find_map(|pid| {
        let process = process::open(*pid).ok()?;
        let process = super::living_thread(&process, &super::executable::link(&process)).unwrap_or(process);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match program.is_loaded {
            false => openat(process, "exe", flags, Mode::empty()),
            true => openat(process, [b"root/", &*program.path].concat(), flags, Mode::empty()),
        };
        let file = file.ok()?;
        let stat = fstat(&file).ok().filter(|stat| identity(stat) == program.id)?;
        Some((file, stat))
    });
    let Some((file, stat)) = opened else { return Err("the program file could not be opened".to_owned()) };
    if u64::try_from(stat.st_size).is_ok_and(|size| size > LARGEST) {
        return Err(format!("the program file has more than {} MiB", LARGEST / 1024 / 1024));
    }
    of_file(File::from(file), wanted).map_err(|error| format!("the program file could not be read: {error}"))
}

fn of_file(mut file: impl Read, wanted: &[&Checksum]) -> std::io::Result<Vec<Checksum>> {
    let mut md5 = wanted.iter().any(|sum| matches!(sum, Checksum::Md5(_))).then(Md5::new);
    let mut sha1 = wanted.iter().any(|sum| matches!(sum, Checksum::Sha1(_))).then(Sha1::new);
    let mut sha256 = wanted.iter().any(|sum| matches!(sum, Checksum::Sha256(_))).then(Sha256::new);
    let mut buffer = vec![0; AT_ONCE];
    let mut left = LARGEST;
    loop {
        let length = file.read(&mut buffer)?;
        let bytes = &buffer[..length];
        left = left.saturating_sub(length as u64);
        if length == 0 || left == 0 {
            break;
        }
        md5.iter_mut().for_each(|sum| sum.update(bytes));
        sha1.iter_mut().for_each(|sum| sum.update(bytes));
        sha256.iter_mut().for_each(|sum| sum.update(bytes));
    }
    let md5 = md5.map(|sum| Checksum::Md5(sum.finalize().into()));
    let sha1 = sha1.map(|sum| Checksum::Sha1(sum.finalize().into()));
    let sha256 = sha256.map(|sum| Checksum::Sha256(sum.finalize().into()));
    Ok(md5.into_iter().chain(sha1).chain(sha256).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_by_the_wanted_algorithms() {
        let (md5, sha1, sha256) =
            (Checksum::Md5([0; 16]), Checksum::Sha1([0; 20]), Checksum::Sha256([0; 32]));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sums = |wanted: &[&Checksum]| {
            let found = of_file(&b"abc"[..], wanted).unwrap();
            found
                .iter()
                .map(|sum| match sum {
                    Checksum::Md5(sum) => hex(sum),
                    Checksum::Sha1(sum) => hex(sum),
                    Checksum::Sha256(sum) => hex(sum),
                })
                .collect::<Vec<_>>()
        };
        // The checksums are those of RFC 1321 and FIPS 180-4.
        let (one, two, three) = (
            "900150983cd24fb0d6963f7d28e17f72",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        assert_eq!(sums(&[&sha1]), [two]);
        assert_eq!(sums(&[&sha256, &md5, &md5]), [one, three]);
    }
}
