//! The files whose code is in the memory of a process: its program file, its libraries, and code that was loaded into it.
//!
//! A program file says nothing about code that was loaded by `LD_PRELOAD`, by the dynamic loader that was started as the
//! program, or in place of the program file (`PR_SET_MM_EXE_FILE`). Memory without a file is ordinary: interpreters
//! translate their scripts into it. So are files that a process made for this purpose and removed.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, statat};
use rustix::io::{Errno, read, retry_on_intr};

use super::file_state::path_and_state;
use super::origin::Origins;
use super::tree::Tree;
use crate::model::{ExeState, Origin, OriginKind, Script};

/// Longer lists of mapped files are not read: 4 MiB are some forty thousand files, and large servers map a thousand.
const LONGEST: usize = 4 * 1024 * 1024;
/// A packed program (UPX) replaces its file in memory by the code that it unpacks. The packer leaves this mark near the
/// beginning of the file.
const PACKED: &[u8] = b"UPX!";
const PACKED_WITHIN: usize = 1024;

/// What is known about the files that a process has mapped to run them.
#[derive(Debug, Default)]
pub(super) struct MappedFiles {
    /// Whether code of the program file is among them.
    pub has_program: Option<bool>,
    /// The other files that a user who is not root can have put there.
    pub of_users: Vec<Script>,
    /// What could not be found out.
    pub trouble: Option<&'static str>,
}

/// A file that is mapped to be run, as `/proc/PID/maps` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mapping {
    /// The addresses, as the directory `map_files` spells them.
    range: String,
    /// The device and the inode, as text.
    id: String,
    inode: u64,
    path: Vec<u8>,
}

/// A mapped file: the mount namespace, the root of the process, its device and inode, and its path.
type Key = (u64, (u64, u64), String, Vec<u8>);

/// Judges mapped files and remembers them, because most processes map the same libraries.
#[derive(Debug, Default)]
pub(super) struct Libraries(HashMap<Key, (Option<(u64, u64)>, Judged)>);

/// Who can have put a file there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judged {
    /// Root only, or the process made it for code that it translated.
    Ordinary,
    User(Origin),
    Unknown,
}

impl Libraries {
    /// Returns what a process has mapped to run it. `program` is the target of the link `exe` and the file it leads to.
    pub(super) fn of(
        &mut self,
        process: &OwnedFd,
        tree: &Tree,
        program: (&[u8], Option<&Stat>),
        origins: &mut Origins,
    ) -> MappedFiles {
        let mappings = match read_maps(process) {
            // It is ending, and has no memory any more.
            Ok(maps) if maps.is_empty() => return MappedFiles::default(),
            Ok(maps) if maps.len() < LONGEST => mappings(&maps),
            Ok(_) => return trouble("it maps too many files to check them"),
            Err(_) => return trouble("the files that it maps could not be read"),
        };
        let mut found = MappedFiles { has_program: Some(false), ..MappedFiles::default() };
        // The links need a capability, and a thread has none.
        let has_links = statat(process, "map_files", AtFlags::empty()).is_ok();
        for mapping in mappings {
            let (id, judged) = self.judge(process, tree, &mapping, has_links, origins);
            let is_program = match (id, program.1) {
                (Some(id), Some(program)) => id == (program.st_dev, program.st_ino),
                _ => mapping.path == program.0,
            };
            match judged {
                _ if is_program => found.has_program = Some(true),
                Judged::Ordinary => {}
                Judged::Unknown => found.trouble = Some("who can replace its libraries could not be checked"),
                Judged::User(origin) => {
                    let path = String::from_utf8_lossy(&mapping.path).into_owned();
                    found.of_users.push(Script { path, origin: Some(origin), is_program: false });
                }
            }
        }
        if found.has_program == Some(false) && is_packed(process) {
            found.has_program = None;
        }
        found
    }

    fn judge(
        &mut self,
        process: &OwnedFd,
        tree: &Tree,
        mapping: &Mapping,
        has_links: bool,
        origins: &mut Origins,
    ) -> (Option<(u64, u64)>, Judged) {
        let key = (tree.namespace, tree.root_id, mapping.id.clone(), mapping.path.clone());
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        let link = format!("map_files/{}", mapping.range);
        let judged = match statat(process, &*link, AtFlags::empty()) {
            Ok(stat) => {
                (Some((stat.st_dev, stat.st_ino)), judge_file(process, tree, mapping, &stat, origins))
            }
            // The process unmapped it by now.
            Err(Errno::NOENT) if has_links => return (None, Judged::Ordinary),
            Err(_) => (None, judge_path(tree, mapping, origins)),
        };
        self.0.insert(key, judged.clone());
        judged
    }
}

fn trouble(why: &'static str) -> MappedFiles {
    MappedFiles { trouble: Some(why), ..MappedFiles::default() }
}

/// Judges a file that the kernel gives access to: `stat` is the file that is mapped.
fn judge_file(
    process: &OwnedFd,
    tree: &Tree,
    mapping: &Mapping,
    stat: &Stat,
    origins: &mut Origins,
) -> Judged {
    let (path, state) = path_and_state(tree, &mapping.path, Some(stat));
    let owner = || Judged::User(Origin { uid: Some(stat.st_uid), ..Origin::of(OriginKind::User) });
    match state {
        ExeState::Present | ExeState::Replaced => {
            let running = (state == ExeState::Present).then_some(stat);
            match origins.of(tree, path, running) {
                // Another mount covers the path: the owner of the file decides.
                Some(origin) if origin.kind == OriginKind::Elsewhere && stat.st_uid == 0 => Judged::Ordinary,
                Some(origin) if origin.kind == OriginKind::Elsewhere => owner(),
                Some(origin) => of_origin(origin),
                None => Judged::Unknown,
            }
        }
        // A file without a name whose content is no library contains code that the process translated.
        ExeState::Memfd | ExeState::Deleted if !is_library(process, mapping) => Judged::Ordinary,
        ExeState::Memfd => Judged::User(Origin::of(OriginKind::Memory)),
        ExeState::Deleted if stat.st_uid != 0 => owner(),
        // An upgrade removed the library: its directory says who can have put it there.
        ExeState::Deleted => origins.of_removed(tree, path).map_or(Judged::Unknown, of_origin),
    }
}

/// Judges a file of which only the path is known.
fn judge_path(tree: &Tree, mapping: &Mapping, origins: &mut Origins) -> Judged {
    let is_the_file = |stat: &Stat| stat.st_ino == mapping.inode;
    match tree.stat(&mapping.path) {
        Ok(stat) if is_the_file(&stat) => {
            origins.of(tree, &mapping.path, None).map_or(Judged::Unknown, of_origin)
        }
        // Memory that processes share, and memory that has only a name.
        _ if mapping.path.starts_with(b"/memfd:") || mapping.path.starts_with(b"/SYSV") => Judged::Ordinary,
        _ => {
            let path = mapping.path.strip_suffix(b" (deleted)").unwrap_or(&mapping.path);
            origins.of_removed(tree, path).map_or(Judged::Unknown, of_origin)
        }
    }
}

fn of_origin(origin: Origin) -> Judged {
    match origin.kind {
        OriginKind::User | OriginKind::Open | OriginKind::Memory => Judged::User(origin),
        _ => Judged::Ordinary,
    }
}

/// Returns whether a mapped file is a library or a program: it begins like every ELF file.
fn is_library(process: &OwnedFd, mapping: &Mapping) -> bool {
    let mut start = [0; 4];
    read_start(process, &format!("map_files/{}", mapping.range), &mut start) == Ok(4) && start == *b"\x7fELF"
}

fn is_packed(process: &OwnedFd) -> bool {
    let mut start = [0; PACKED_WITHIN];
    let length = read_start(process, "exe", &mut start).unwrap_or_default();
    start[..length].windows(PACKED.len()).any(|window| window == PACKED)
}

fn read_start(process: &OwnedFd, path: &str, start: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    read(openat(process, path, flags, Mode::empty())?, start)
}

/// Reads `maps`, which the kernel returns in pieces of any length.
fn read_maps(process: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let file = openat(process, "maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut maps, mut piece) = (Vec::new(), [0; 16 * 1024]);
    while maps.len() < LONGEST {
        match retry_on_intr(|| read(&file, &mut piece))? {
            0 => break,
            length => maps.extend(piece.get(..length).unwrap_or_default()),
        }
    }
    Ok(maps)
}

/// Returns the mapped files that may be run, each once, from the text of `maps`
/// (`START-END PERMISSIONS OFFSET DEVICE INODE PATH`).
fn mappings(maps: &[u8]) -> Vec<Mapping> {
    let mut seen = HashSet::new();
    let lines = maps.split(|byte| *byte == b'\n').filter_map(mapping);
    lines.filter(|mapping| seen.insert((mapping.id.clone(), mapping.path.clone()))).collect()
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (field, after) = (rest.get(..end)?, rest.get(end + 1..)?);
        rest = after;
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let may_be_run = field()?.as_bytes().get(2) == Some(&b'x');
    let (_offset, device) = (field()?, field()?);
    let inode = field()?.parse().ok().filter(|inode| *inode != 0 && may_be_run)?;
    let address = |text: &str| u64::from_str_radix(text, 16).ok();
    let range = format!("{:x}-{:x}", address(start)?, address(end)?);
    Some(Mapping { range, id: format!("{device} {inode}"), inode, path: unescaped(rest.trim_ascii_start()) })
}

/// Returns a path with its line ends, which the kernel writes as `\\012`.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                whole.push(b'\n');
                rest = after;
            }
            None => {
                whole.push(*first);
                rest = after;
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::tree::is_same;
    use super::*;

    #[test]
    fn files_that_may_be_run() {
        let maps = b"00400000-00401000 r--p 00000000 08:01 11                                 /usr/bin/x\n\
            00401000-00480000 r-xp 00001000 08:01 11                                 /usr/bin/x\n\
            7f0000000000-7f0000001000 r-xp 00000000 08:01 12                         /home/u/a b.so (deleted)\n\
            7f0000002000-7f0000003000 r-xp 00002000 08:01 12                         /home/u/a b.so (deleted)\n\
            7f0000004000-7f0000005000 rwxp 00000000 00:00 0 \n\
            7f0000006000-7f0000007000 r-xp 00000000 00:00 0                          [vdso]\n\
            7f0000008000-7f0000009000 rwxs 00000000 00:01 13                         /memfd:jit (deleted)\n\
            7f000000a000-7f000000b000 r-xp 00000000 08:01 14                         /srv/a\\012b\n\
            short r-xp\n";
        let found = mappings(maps);
        let found: Vec<_> =
            found.iter().map(|one| (&*one.range, one.inode, String::from_utf8_lossy(&one.path))).collect();
        let wanted = [
            ("401000-480000", 11, "/usr/bin/x".into()),
            ("7f0000000000-7f0000001000", 12, "/home/u/a b.so (deleted)".into()),
            ("7f0000008000-7f0000009000", 13, "/memfd:jit (deleted)".into()),
            ("7f000000a000-7f000000b000", 14, "/srv/a\nb".into()),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_code_of_this_program_is_in_its_memory() {
        let process = super::super::process::open(std::process::id()).unwrap();
        let mut origins = Origins::default();
        let tree = origins.tree(&process).unwrap();
        let target = rustix::fs::readlinkat(&process, "exe", Vec::new()).unwrap().into_bytes();
        let exe = statat(&process, "exe", AtFlags::empty()).unwrap();
        let mut of = |target: &[u8], exe: Option<&Stat>| {
            Libraries::default().of(&process, &tree, (target, exe), &mut origins).has_program
        };
        assert_eq!(of(&target, Some(&exe)), Some(true));
        assert_eq!(of(&target, None), Some(true), "by its path");
        let other = rustix::fs::stat("/proc/self/maps").unwrap();
        assert!(!is_same(&exe, &other));
        assert_eq!(of(b"/usr/sbin/sshd", None), Some(false));
    }
}
