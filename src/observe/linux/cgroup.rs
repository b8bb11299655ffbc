//! Control groups: from the ID that a socket carries to a path, and from a path to a systemd unit and a container.
//!
//! The ID is the inode of the group's directory in the cgroup2 tree, so one pass over the directories names all groups.
//! On a system that only uses cgroup v1 the IDs name nothing, and nothing is guessed.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, fstat, fstatfs, openat};

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2: i64 = 0x6367_7270;
/// The depth to which a tree is followed; systemd and Kubernetes stay far below it.
const DEPTH: usize = 32;

/// Returns the paths of the groups with the wanted IDs, as far as the tree shows them; the root group is `/`.
pub(super) fn paths(wanted: &HashSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let open =
        |path: &CStr| openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    // The unified hierarchy, or its place in a hybrid setup.
    let tree = [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"]
        .into_iter()
        .filter_map(|path| open(path).ok())
        .find(|folder| fstatfs(folder).is_ok_and(|fs| fs.f_type == CGROUP2));
    let Some(tree) = tree else { return found };
    if let Ok(root) = fstat(&tree)
        && wanted.contains(&root.st_ino)
    {
        found.insert(root.st_ino, "/".to_owned());
    }
    descend(&tree, "", DEPTH, wanted, &mut found);
    found
}

fn descend(
    folder: &OwnedFd,
    path: &str,
    depth: usize,
    wanted: &HashSet<u64>,
    found: &mut HashMap<u64, String>,
) {
    if depth == 0 || found.len() == wanted.len() {
        return;
    }
    let mut below = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let name = entry.file_name().to_owned();
            let path = format!("{path}/{}", name.to_string_lossy());
            if wanted.contains(&entry.ino()) {
                found.insert(entry.ino(), path.clone());
            }
            below.push((name, path));
        }
    }
    for (name, path) in below {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(child) = openat(folder, &name, flags, Mode::empty()) {
            descend(&child, &path, depth - 1, wanted, found);
        }
    }
}

/// Returns the systemd unit of a path: the innermost service, scope or socket in it.
#[must_use]
pub(super) fn unit(path: &str) -> Option<&str> {
    path.split('/').rfind(|part| {
        [".service", ".scope", ".socket", ".mount", ".swap"]
            .iter()
            .any(|kind| part.len() > kind.len() && part.ends_with(kind))
    })
}

/// Returns the container of a path: an ID of 64 hexadecimal digits, or a name if the manager uses names.
///
/// Forms: `docker-ID.scope`, `/docker/ID`, `libpod-ID.scope`, `libpod-payload-ID`, `cri-containerd-ID.scope`,
/// `crio-ID.scope`, `/kubepods/…/ID`, `/default/ID` (containerd), `lxc.payload.NAME`, `/lxc/NAME`, `machine-NAME.scope`
/// (systemd-nspawn).
#[must_use]
pub(super) fn container(path: &str) -> Option<&str> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    let mut found = None;
    while let Some(part) = parts.next() {
        let bare = part.strip_suffix(".scope").or_else(|| part.strip_suffix(".service")).unwrap_or(part);
        let id = bare.rsplit(['-', ':']).next().unwrap_or(bare);
        if id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            found = Some(id);
        } else if let Some(name) = part.strip_prefix("lxc.payload.") {
            found = Some(name);
        } else if part == "lxc" {
            found = parts.peek().copied().or(found);
        } else if let Some(name) = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"))
        {
            found = Some(name);
        }
    }
    found.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";

    #[test]
    fn units() {
        for (path, unit) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service", Some("dev.service")),
            ("/user.slice/user-1000.slice/session-4.scope", Some("session-4.scope")),
            ("/system.slice/foo.service/payload", Some("foo.service")),
            ("/system.slice/ssh.socket", Some("ssh.socket")),
            ("/init.scope", Some("init.scope")),
            ("/user.slice", None),
            ("/.service", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(super::unit(path), unit, "{path}");
        }
    }

    #[test]
    fn containers() {
        for (path, name) in [
            (format!("/system.slice/docker-{ID}.scope"), Some(ID)),
            (format!("/docker/{ID}"), Some(ID)),
            (format!("/docker/{ID}/init.scope"), Some(ID)),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some(ID)),
            (format!("/user.slice/user-1.slice/user@1.service/user.slice/libpod-{ID}.scope"), Some(ID)),
            (format!("/libpod_parent/libpod-{ID}"), Some(ID)),
            (format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"), Some(ID)),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), Some(ID)),
            (format!("/kubepods/besteffort/pod12/{ID}"), Some(ID)),
            (format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"), Some(ID)),
            (format!("/default/{ID}"), Some(ID)),
            ("/lxc.payload.web1/system.slice/x.service".to_owned(), Some("web1")),
            ("/lxc/web2/system.slice".to_owned(), Some("web2")),
            ("/machine.slice/machine-deb.scope".to_owned(), Some("deb")),
            ("/system.slice/nginx.service".to_owned(), None),
            (format!("/x/{}", &ID[1..]), None),
            ("/lxc".to_owned(), None),
        ] {
            assert_eq!(container(&path), name, "{path}");
        }
    }
}
