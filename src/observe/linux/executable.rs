//! The file a process runs: its path, what became of it, and who may write into the folders above it.
//!
//! Nothing is opened but links and the names of folders; the file itself is never read.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat, stat, statat};
use rustix::io::Errno;

use crate::model::{Exe, ExeState, Pid};

/// Folders are looked at so deep; the kernel's longest path has room for 2,048, and nothing real comes near.
const DEEPEST: usize = 64;

/// Reads executables, remembering the folders above each: most programs lie beside others.
#[derive(Debug, Default)]
pub(super) struct Executables {
    /// The mount namespace of this process.
    own: OnceCell<Option<PathBuf>>,
    /// What is known of a folder and those above it, by the mount namespace and the root it is seen from.
    folders: HashMap<Seen, Option<Vec<String>>>,
}

/// A mount namespace, the root it is seen from, and the path of a folder.
type Seen = (PathBuf, Vec<u8>, Vec<u8>);

impl Executables {
    /// What this process runs. The kernel marks a file that is gone by appending " (deleted)" to its path, which a
    /// file may also be called: the link count tells.
    pub(super) fn of(&mut self, pid: Pid) -> Option<Exe> {
        let link = format!("/proc/{pid}/exe");
        let target = fs::read_link(&link).ok()?.into_os_string().into_vec();
        let mounts = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
        let its = mounts(&pid.to_string());
        let own = self.own.get_or_init(|| mounts("self"));
        let view = if its.is_some() && its == *own { View::own() } else { View::of(pid) };
        let (path, state) = match target.strip_suffix(b" (deleted)") {
            None => (&*target, ExeState::Present),
            Some(stripped) => {
                let state = fate(&view, &target, stripped, stat(&*link).ok().as_ref());
                (if state == ExeState::Present { &*target } else { stripped }, state)
            }
        };
        let open_folders = match (its, path.iter().rposition(|byte| *byte == b'/')) {
            _ if state == ExeState::Memfd => None,
            (Some(its), Some(end)) => {
                let key = (its, view.prefix.clone(), path[..=end].to_owned());
                self.folders.entry(key).or_insert_with(|| open_folders(&view, path)).clone()
            }
            _ => open_folders(&view, path),
        };
        Some(Exe { path: String::from_utf8_lossy(path).into_owned(), state, open_folders })
    }
}

/// Where the paths that the kernel gives of a process's files lead. They start at the root of its mount namespace, not
/// at its own, which a server may have changed.
#[derive(Debug)]
struct View {
    /// A folder that can be reached from here.
    from: PathBuf,
    /// What stands before every path that can be followed from there.
    prefix: Vec<u8>,
}

impl View {
    /// Of a process in the mount namespace of this one.
    fn own() -> Self {
        View { from: PathBuf::from("/"), prefix: Vec::new() }
    }

    /// Of a process elsewhere: only what lies below its own root can be reached.
    fn of(pid: Pid) -> Self {
        let from = PathBuf::from(format!("/proc/{pid}/root"));
        let prefix = fs::read_link(&from).map(|root| root.into_os_string().into_vec()).unwrap_or_default();
        View { from, prefix: prefix.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(prefix) }
    }

    /// Where a path leads; `None` where it cannot be followed.
    fn path(&self, path: &[u8]) -> Option<PathBuf> {
        let rest =
            path.strip_prefix(&*self.prefix).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))?;
        Some(self.from.join(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest))))
    }
}

/// What became of a file whose link ends as that of a deleted one.
fn fate(view: &View, whole: &[u8], stripped: &[u8], running: Option<&Stat>) -> ExeState {
    let seen = |path: &[u8]| stat(&view.path(path)?).ok();
    let same = |other: &Stat| {
        running.is_some_and(|running| (running.st_dev, running.st_ino) == (other.st_dev, other.st_ino))
    };
    if seen(whole).as_ref().is_some_and(same) {
        ExeState::Present
    } else if stripped.starts_with(b"/memfd:") && running.is_some_and(|running| running.st_nlink == 0) {
        ExeState::Memfd
    } else if seen(stripped).is_some() {
        ExeState::Replaced
    } else {
        ExeState::Deleted
    }
}

/// The folders above `path` into which anybody may write, nearest first; `None` where that could not be read. Whether
/// the sticky bit keeps others' files safe there does not matter: anybody could have put the file there.
fn open_folders(view: &View, path: &[u8]) -> Option<Vec<String>> {
    const ANYBODY: Mode = Mode::WOTH.union(Mode::XOTH);
    if !path.starts_with(b"/") {
        return None; // the kernel knows no path to it
    }
    let mut open = Vec::new();
    let mut whole = true;
    for (depth, (at, _)) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').enumerate() {
        let folder = &path[..at];
        if depth == DEEPEST {
            whole = false;
            break;
        }
        let Some(place) = view.path(folder) else {
            whole = false; // above the root of a process in another mount namespace
            continue;
        };
        // No link is followed but the one to a root: the kernel's path has none, so one that stands there now is
        // somebody else's.
        let root = folder.len() == view.prefix.len();
        let follow = if root { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        match statat(CWD, &place, follow) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if Mode::from_raw_mode(stat.st_mode).contains(ANYBODY) {
                    let folder = if folder.is_empty() { b"/" } else { folder };
                    open.push(String::from_utf8_lossy(folder).into_owned());
                }
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break, // gone, with all below it
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    open.reverse();
    (whole || !open.is_empty()).then_some(open)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn folders_that_anybody_may_write_into() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (folder, mode) in [
            ("", 0o755),
            ("a", 0o755),
            ("a/open", 0o777),
            ("a/open/own", 0o700),
            ("sticky", 0o1777),
            ("deaf", 0o776),
            ("group", 0o775),
        ] {
            let path = root.join(folder);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(root.join("sticky"), root.join("link")).unwrap();
        let view = View { from: root.to_owned(), prefix: Vec::new() };
        let open_folders = |path: &str| open_folders(&view, path.as_bytes());
        for (path, open) in [
            ("/a/x", Some(vec![])),
            ("/x", Some(vec![])),
            ("/a/open/x", Some(vec!["/a/open"])),
            ("/a/open/own/x", Some(vec!["/a/open"])),
            ("/sticky/x", Some(vec!["/sticky"])),
            // Without the right to search it, nobody can put anything there.
            ("/deaf/x", Some(vec![])),
            ("/group/x", Some(vec![])),
            // What is gone tells nothing more; what replaced it is somebody else's.
            ("/a/open/gone/x", Some(vec!["/a/open"])),
            ("/link/x", Some(vec![])),
            ("relative", None),
            ("(unreachable)/x", None),
        ] {
            let open = open.map(|folders| folders.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(open_folders(path), open, "{path}");
        }
        let deep = format!("/a{}/x", "/b".repeat(DEEPEST));
        fs::create_dir_all(root.join(&deep[1..])).unwrap();
        assert_eq!(open_folders(&deep), None, "what was not looked at is not known");
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(open_folders(&deep), Some(vec!["/a".to_owned()]));
    }

    #[test]
    fn a_root_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/x"), "").unwrap();
        let view = View { from: root.to_owned(), prefix: b"/srv/jail".to_vec() };
        assert_eq!(view.path(b"/srv/jail/bin/x"), Some(root.join("bin/x")));
        for outside in ["/bin/x", "/srv/jailbreak/x", "/srv"] {
            assert_eq!(view.path(outside.as_bytes()), None, "{outside}");
        }
        // What lies above the root is out of sight: that nothing is open there is not said.
        assert_eq!(open_folders(&view, b"/srv/jail/bin/x"), None);
        fs::set_permissions(root.join("bin"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(open_folders(&view, b"/srv/jail/bin/x"), Some(vec!["/srv/jail/bin".to_owned()]));
        let gone = stat(root.join("bin/x")).unwrap();
        let fate = |whole: &str, path: &str| fate(&view, whole.as_bytes(), path.as_bytes(), Some(&gone));
        assert_eq!(fate("/srv/jail/bin/x (deleted)", "/srv/jail/bin/x"), ExeState::Replaced);
        assert_eq!(fate("/srv/jail/bin/y (deleted)", "/srv/jail/bin/y"), ExeState::Deleted);
        assert_eq!(fate("/srv/jail/bin/x", "/srv/jail/bin/x"), ExeState::Present);
    }
}
