//! Checks the files with code in the memory of a process: its program file, its libraries, and other loaded code.
//!
//! The program file alone does not show:
//! - libraries of `LD_PRELOAD`
//! - a program that was started through the dynamic loader
//! - a program that replaced its program file (`PR_SET_MM_EXE_FILE`)
//!
//! Code in memory that does not come from a file causes a note instead of a finding. Many programs translate scripts,
//! patterns or queries into such code.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, statat};
use rustix::io::{Errno, read, retry_on_intr};

use super::file_state::path_and_state;
use super::origin::Origins;
use super::tree::Tree;
use super::users::effective_uid;
use crate::model::{ExeState, Origin, OriginKind, Script};

/// The maximum size of a list of mapped files in bytes, enough for about 40,000 files. Large servers map about a
/// thousand files.
const LONGEST: usize = 4 * 1024 * 1024;
/// The mark of the packer UPX, which is near the beginning of a program file. A packed program replaces its file in
/// memory with the unpacked code.
const PACKED: &[u8] = b"UPX!";
const PACKED_WITHIN: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct MappedFiles {
    /// Whether code of the program file is mapped. `None` if this could not be checked.
    pub has_program: Option<bool>,
    /// The other mapped files that a user other than root can replace.
    pub of_users: Vec<Script>,
    /// Whether the memory of the process contains code that does not come from a file. Always false for an interpreter.
    pub has_code_without_file: bool,
    /// The reason why the files could not be checked.
    pub trouble: Option<&'static str>,
}

/// A mapped file, from a line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mapping {
    /// The range of addresses. It is also the name of a link in the directory `map_files`.
    range: String,
    /// The device and the inode, as text.
    id: String,
    inode: u64,
    path: Vec<u8>,
}

/// The mount namespace, the root directory of the process, the device and inode of the file as text, and the path of
/// the file.
type Key = (u64, (u64, u64), String, Vec<u8>);

/// Judges mapped files and caches the results, because most processes map the same libraries.
#[derive(Debug, Default)]
pub(super) struct Libraries(HashMap<Key, (Option<(u64, u64)>, Judged)>);

/// Who can replace a mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judged {
    /// Only root can replace the file, or the file has code that the process translated itself.
    Ordinary,
    /// A user other than root can replace the file. The second field is the owner of the file, if known.
    User(Origin, Option<FileOwner>),
    Unknown,
}

/// The owner of a file, and whether the file is in a private directory of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileOwner {
    pub uid: u32,
    is_private: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Mapper<'p> {
    /// The directory of the process in `/proc`.
    pub process: &'p OwnedFd,
    pub tree: &'p Tree,
    /// The target of the link `exe`, and the state of the file to which the link leads.
    pub program: (&'p [u8], Option<&'p Stat>),
    pub is_interpreter: bool,
}

impl Libraries {
    /// Checks the executable files that a process has mapped.
    pub(super) fn of(&mut self, mapper: Mapper<'_>, origins: &mut Origins) -> MappedFiles {
        let Mapper { process, tree, program, .. } = mapper;
        let maps = match read_maps(process) {
            // The process is ending and has no memory any more.
            Ok(maps) if maps.is_empty() => return MappedFiles::default(),
            Ok(maps) if maps.len() < LONGEST => maps,
            Ok(_) => return trouble("the process maps too many files to check"),
            Err(_) => return trouble("the files that the process maps could not be read"),
        };
        let has_code_without_file =
            !mapper.is_interpreter && maps.split(|byte| *byte == b'\n').any(is_without_file);
        let mut found =
            MappedFiles { has_program: Some(false), has_code_without_file, ..MappedFiles::default() };
        // A thread (`/proc/PID/task/TID`) has no directory `map_files`. If the directory exists, only a process with a
        // capability can read its links.
        let has_links = statat(process, "map_files", AtFlags::empty()).is_ok();
        for mapping in mappings(&maps) {
            let (id, judged) = self.judge(process, tree, &mapping, has_links, origins);
            let is_program = program.1.is_some_and(|file| id == Some((file.st_dev, file.st_ino)));
            // On a layered file system, the device and inode of the mapped file can differ from the device and inode of
            // the program file. So an equal path also counts. If only the path is equal, the mapped file is still
            // judged.
            if is_program || mapping.path == program.0 {
                found.has_program = Some(true);
            }
            match judged.for_process(mapper) {
                _ if is_program => {}
                Judged::User(origin, _)
                    if origin.kind == OriginKind::User && is_own_code(program.0, &mapping.path) => {}
                Judged::Ordinary => {}
                Judged::Unknown => found.trouble = Some("the libraries of the process could not be checked"),
                Judged::User(origin, _) => {
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
            // The process unmapped the file after its list of files was read.
            Err(Errno::NOENT) if has_links => return (None, Judged::Ordinary),
            Err(_) => (None, judge_path(tree, mapping, origins)),
        };
        self.0.insert(key, judged.clone());
        judged
    }
}

/// The programs that compile their configuration into libraries. Each entry has the end of the path of the program
/// file, and the directory of the libraries. Only the user of the program can write to this directory.
const COMPILE_THEIR_CONFIGURATION: [(&[u8], &[u8]); 1] = [(b"/varnishd", b"/var/lib/varnish/")];

fn is_own_code(program: &[u8], path: &[u8]) -> bool {
    COMPILE_THEIR_CONFIGURATION
        .iter()
        .any(|(name, directory)| program.ends_with(name) && path.starts_with(directory))
}

impl Judged {
    /// Returns who can replace the file, for one of the processes that map it.
    ///
    /// Programs unpack libraries into `/tmp`, where any user can write. If the file there belongs to the user of the
    /// process, other users do not count in two cases:
    /// - the process is an interpreter
    /// - the file is in a private directory
    fn for_process(self, mapper: Mapper<'_>) -> Self {
        match self {
            Judged::User(origin, Some(FileOwner { uid, is_private }))
                if origin.kind == OriginKind::Open
                    && (mapper.is_interpreter || is_private)
                    && effective_uid(mapper.process) == Some(uid) =>
            {
                match uid {
                    0 => Judged::Ordinary,
                    uid => Judged::User(Origin { uid: Some(uid), ..Origin::of(OriginKind::User) }, None),
                }
            }
            judged => judged,
        }
    }
}

fn trouble(why: &'static str) -> MappedFiles {
    MappedFiles { trouble: Some(why), ..MappedFiles::default() }
}

/// Judges a file that portolan may open through `map_files`. `stat` describes the mapped file.
fn judge_file(
    process: &OwnedFd,
    tree: &Tree,
    mapping: &Mapping,
    stat: &Stat,
    origins: &mut Origins,
) -> Judged {
    let (path, state) = path_and_state(tree, &mapping.path, Some(stat));
    let owner = || Judged::User(Origin { uid: Some(stat.st_uid), ..Origin::of(OriginKind::User) }, None);
    let of_origin = |origin| of_origin(origin, owner_of(tree, path, stat));
    match state {
        ExeState::Present | ExeState::Replaced => {
            let running = (state == ExeState::Present).then_some(stat);
            match origins.of(tree, path, running) {
                // A mount covers the path, so only the owner of the mapped file is known.
                Some(origin) if origin.kind == OriginKind::Elsewhere && stat.st_uid == 0 => Judged::Ordinary,
                Some(origin) if origin.kind == OriginKind::Elsewhere => owner(),
                Some(origin) => of_origin(origin),
                None => Judged::Unknown,
            }
        }
        // If a file without a name is not a library, it contains code that the process translated itself.
        ExeState::Memfd | ExeState::Deleted if !is_library(process, mapping) => Judged::Ordinary,
        ExeState::Memfd => Judged::User(Origin::of(OriginKind::Memory), None),
        ExeState::Deleted if stat.st_uid != 0 => owner(),
        // Presumably an upgrade removed this library, which belongs to root. So the directory of the library is judged.
        ExeState::Deleted => origins.of_removed(tree, path).map_or(Judged::Unknown, of_origin),
    }
}

/// Judges a file that portolan may not open through `map_files`.
fn judge_path(tree: &Tree, mapping: &Mapping, origins: &mut Origins) -> Judged {
    let is_the_file = |stat: &Stat| stat.st_ino == mapping.inode;
    match tree.stat(&mapping.path) {
        Ok(stat) if is_the_file(&stat) => {
            let owner = owner_of(tree, &mapping.path, &stat);
            origins.of(tree, &mapping.path, None).map_or(Judged::Unknown, |origin| of_origin(origin, owner))
        }
        // Shared memory and named memory have no file, so their mappings are ordinary.
        _ if mapping.path.starts_with(b"/memfd:") || mapping.path.starts_with(b"/SYSV") => Judged::Ordinary,
        _ => {
            let path = mapping.path.strip_suffix(b" (deleted)").unwrap_or(&mapping.path);
            origins.of_removed(tree, path).map_or(Judged::Unknown, |origin| of_origin(origin, None))
        }
    }
}

/// Returns the owner of a file. `None` if other users can write or replace the file too.
pub(super) fn owner_of(tree: &Tree, path: &[u8], stat: &Stat) -> Option<FileOwner> {
    const OTHERS: Mode = Mode::WGRP.union(Mode::WOTH);
    if Mode::from_raw_mode(stat.st_mode).intersects(OTHERS) {
        return None;
    }
    let end = path.iter().rposition(|byte| *byte == b'/')?;
    let directory = tree.stat(&path[..end]).ok()?;
    let mode = Mode::from_raw_mode(directory.st_mode);
    // Anyone who can write to a directory that is not sticky can replace the files in it.
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return None;
    }
    let is_private = directory.st_uid == stat.st_uid && !mode.intersects(Mode::RWXG | Mode::RWXO);
    Some(FileOwner { uid: stat.st_uid, is_private })
}

fn of_origin(origin: Origin, owner: Option<FileOwner>) -> Judged {
    match origin.kind {
        OriginKind::User | OriginKind::Open | OriginKind::Memory => Judged::User(origin, owner),
        _ => Judged::Ordinary,
    }
}

/// Returns whether a mapped file is a library or a program. Both begin with the magic number of ELF.
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

/// Reads the whole file `maps`, which the kernel returns in pieces of any length.
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

/// Returns each mapped path once, with a range of addresses. With `only_executable`, files without code are left out.
pub(super) fn mapped_paths(
    process: &OwnedFd,
    only_executable: bool,
) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    let maps = read_maps(process)?;
    let lines = maps.split(|byte| *byte == b'\n').filter_map(|line| mapping(line, only_executable));
    let mut seen = HashSet::new();
    Ok(lines.map(|one| (one.range, one.path)).filter(|(_, path)| seen.insert(path.clone())).collect())
}

/// Returns the mapped files that contain code, without repetition. `maps` has lines of the form `START-END PERMISSIONS OFFSET DEVICE INODE
/// PATH`.
fn mappings(maps: &[u8]) -> Vec<Mapping> {
    let mut seen = HashSet::new();
    let lines = maps.split(|byte| *byte == b'\n').filter_map(|line| mapping(line, true));
    lines.filter(|mapping| seen.insert((mapping.id.clone(), mapping.path.clone()))).collect()
}

fn mapping(line: &[u8], only_executable: bool) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (field, after) = (rest.get(..end)?, rest.get(end + 1..)?);
        rest = after;
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let may_be_run = field()?.as_bytes().get(2) == Some(&b'x');
    let is_wanted = may_be_run || !only_executable;
    let (_offset, device) = (field()?, field()?);
    let inode = field()?.parse().ok().filter(|inode| *inode != 0 && is_wanted)?;
    let address = |text: &str| u64::from_str_radix(text, 16).ok();
    let range = format!("{:x}-{:x}", address(start)?, address(end)?);
    Some(Mapping { range, id: format!("{device} {inode}"), inode, path: unescaped(rest.trim_ascii_start()) })
}

/// Returns whether a line of `maps` describes executable memory without a file. Memory that the kernel provides has a
/// name, such as `[vdso]`, and does not count.
fn is_without_file(line: &[u8]) -> bool {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let may_be_run = fields.nth(1).is_some_and(|mode| mode.get(2) == Some(&b'x'));
    may_be_run && fields.nth(2) == Some(b"0") && fields.next().is_none()
}

/// Replaces `\012`, which the kernel writes instead of a line break in a path.
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
    fn code_without_a_file() {
        for (line, is) in [
            ("7f0000004000-7f0000005000 rwxp 00000000 00:00 0 ", true),
            ("7f0000004000-7f0000005000 r-xp 00000000 00:00 0", true),
            ("7f0000004000-7f0000005000 rw-p 00000000 00:00 0 ", false),
            ("7f0000006000-7f0000007000 r-xp 00000000 00:00 0                          [vdso]", false),
            ("00401000-00480000 r-xp 00001000 08:01 11                                 /usr/bin/x", false),
            ("", false),
        ] {
            assert_eq!(is_without_file(line.as_bytes()), is, "{line}");
        }
    }

    #[test]
    fn configuration_that_varnish_compiled() {
        let library: &[u8] = b"/var/lib/varnish/host/vcl_boot.1/vgc.so";
        for (program, path, is) in [
            ("/usr/sbin/varnishd", library, true),
            ("/usr/sbin/varnishd", b"/tmp/vgc.so", false),
            ("/usr/sbin/sshd", library, false),
        ] {
            assert_eq!(is_own_code(program.as_bytes(), path), is, "{program}");
        }
    }

    /// Java unpacks libraries into `/tmp`. Other users cannot replace them there.
    #[test]
    fn own_files_of_an_interpreter_are_ordinary() {
        let process = super::super::process::open(std::process::id()).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let tree = Origins::default().tree(&process).unwrap();
        let open = |owner| Judged::User(Origin::of(OriginKind::Open), owner);
        let of = |judged: Judged, is_interpreter| {
            judged.for_process(Mapper {
                process: &process,
                tree: &tree,
                program: (b"", None),
                is_interpreter,
            })
        };
        let own = |is_private| open(Some(FileOwner { uid, is_private }));
        let another = open(Some(FileOwner { uid: uid + 1, is_private: true }));
        assert_ne!(of(own(false), true), own(false));
        assert_ne!(of(own(true), false), own(true));
        assert_eq!(of(own(false), false), own(false), "a preloaded library");
        assert_eq!(of(another.clone(), true), another, "of another user");
        assert_eq!(of(open(None), true), open(None), "others can write it");
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory.path(), private).unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        let owner = owner_of(&tree, path.to_str().unwrap().as_bytes(), &stat);
        assert_eq!(owner, Some(FileOwner { uid, is_private: true }));
    }

    #[test]
    fn the_code_of_this_program_is_in_its_memory() {
        let process = super::super::process::open(std::process::id()).unwrap();
        let mut origins = Origins::default();
        let tree = origins.tree(&process).unwrap();
        let target = rustix::fs::readlinkat(&process, "exe", Vec::new()).unwrap().into_bytes();
        let exe = statat(&process, "exe", AtFlags::empty()).unwrap();
        let mut of = |target: &[u8], exe: Option<&Stat>| {
            let mapper =
                Mapper { process: &process, tree: &tree, program: (target, exe), is_interpreter: false };
            Libraries::default().of(mapper, &mut origins).has_program
        };
        assert_eq!(of(&target, Some(&exe)), Some(true));
        assert_eq!(of(&target, None), Some(true), "by its path");
        let other = rustix::fs::stat("/proc/self/maps").unwrap();
        assert!(!is_same(&exe, &other));
        assert_eq!(of(b"/usr/sbin/sshd", None), Some(false));
    }
}
