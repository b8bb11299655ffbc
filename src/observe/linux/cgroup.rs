//! Control groups: finds the path of a group by its ID, and the names of the systemd unit and the container in a path.
//!
//! The ID is the inode of the group's directory in the cgroup2 tree. So one pass over the directories finds the paths
//! of all groups. If the system has only cgroup v1, the paths stay unknown.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use super::files::slurp_at;
use crate::model::Pid;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, fstat, fstatfs, openat};

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2: i64 = 0x6367_7270;
/// The maximum depth of the search, much deeper than the trees of systemd and Kubernetes.
const DEPTH: usize = 32;
/// The maximum size of a group's list of processes, in bytes.
const PROCESSES: usize = 16 * 1024;

/// Returns the paths of the wanted groups by the ID of the group. Groups outside the tree are left out. The path of the
/// root group is `/`.
pub(super) fn paths(wanted: &HashSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let Some(tree) = tree() else { return found };
    if let Ok(root) = fstat(&tree)
        && wanted.contains(&root.st_ino)
    {
        found.insert(root.st_ino, "/".to_owned());
    }
    descend(&tree, "", DEPTH, wanted, &mut found);
    found
}

/// Opens the cgroup2 tree. Its mount point depends on whether cgroup v1 is mounted too.
fn tree() -> Option<OwnedFd> {
    let open =
        |path: &CStr| openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"]
        .into_iter()
        .filter_map(|path| open(path).ok())
        .find(|directory| fstatfs(directory).is_ok_and(|fs| fs.f_type == CGROUP2))
}

/// Returns the processes of a group. Processes of the groups below it are left out. `None` if the group cannot be read,
/// has too many processes, or has a process outside the pid namespace of portolan.
pub(super) fn processes(group: &str) -> Option<Vec<Pid>> {
    let group = group.trim_start_matches('/');
    if group.split('/').any(|part| part == "..") {
        return None;
    }
    let file = if group.is_empty() { "cgroup.procs".to_owned() } else { format!("{group}/cgroup.procs") };
    let text = slurp_at(tree()?, file, PROCESSES, PROCESSES).ok()?;
    let text = std::str::from_utf8(&text).ok().filter(|text| text.len() < PROCESSES)?;
    // The kernel writes 0 for a process outside the namespace.
    text.lines().map(|line| line.parse().ok().filter(|pid| *pid != 0)).collect()
}

fn descend(
    directory: &OwnedFd,
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
    let mut entries = RawDir::new(directory, &mut buffer);
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
        if let Ok(child) = openat(directory, &name, flags, Mode::empty()) {
            descend(&child, &path, depth - 1, wanted, found);
        }
    }
}

/// Returns the first part of a path that does not end in `.slice`. This part is a unit of the system manager, or a
/// group that root made. The groups below it may belong to another manager, such as the manager of a user.
fn outermost(path: &str) -> Option<&str> {
    path.split('/').find(|part| !matches!(*part, "" | "..") && !part.ends_with(".slice"))
}

/// Returns the systemd unit of a path. If the unit is inside another unit, the outermost unit comes first:
/// `user@1000.service/ssh.service`. Otherwise any user could start a unit that looks like the `ssh.service` of the
/// system.
#[must_use]
pub(super) fn unit(path: &str) -> Option<String> {
    let is_unit = |part: &&str| {
        [".service", ".scope", ".socket", ".mount", ".swap"]
            .iter()
            .any(|kind| part.len() > kind.len() && part.ends_with(kind))
    };
    let innermost = path.split('/').rfind(is_unit)?;
    match outermost(path) {
        Some(outermost) if outermost != innermost => Some(format!("{outermost}/{innermost}")),
        _ => Some(innermost.to_owned()),
    }
}

/// Returns the container of a path: an ID of 64 hexadecimal digits, or a name. If a user could have made the group of
/// the container, the outermost unit comes first (`user@1000.service/NAME`), because users can give their groups any
/// name.
#[must_use]
pub(super) fn container(path: &str) -> Option<String> {
    container_in(path, is_roots)
}

pub(super) fn container_in(path: &str, is_roots: impl Fn(&str) -> bool) -> Option<String> {
    let (name, parent) = container_name(path)?;
    match outermost(path) {
        Some(outermost) if !is_roots(parent) => Some(format!("{outermost}/{name}")),
        _ => Some(name),
    }
}

pub(super) fn is_in_nested_container(path: &str) -> bool {
    let Some((inner, parent)) = container_name(path) else { return false };
    container_name(parent).is_some_and(|(outer, _)| outer != inner)
}

/// Returns whether root owns a group. If so, only root can have made the groups directly below it. If the group cannot
/// be found in any hierarchy, its path decides: it counts as root's unless it is below the manager of a user
/// (`user@UID.service`).
fn is_roots(group: &str) -> bool {
    let owners = ["", "/unified", "/systemd", "/memory"].iter().filter_map(|hierarchy| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, format!("/sys/fs/cgroup{hierarchy}{group}"), flags, Mode::empty());
        Some(fstat(opened.ok()?).ok()?.st_uid)
    });
    let owners: Vec<u32> = if group.contains("..") { Vec::new() } else { owners.collect() };
    if owners.is_empty() { !group.contains("/user@") } else { owners.iter().all(|uid| *uid == 0) }
}

/// Returns the name of the innermost container of a path, and the path of the group above the container.
///
/// These forms are known:
/// - Docker: `docker-ID.scope`, `/docker/ID`
/// - Podman: `libpod-ID.scope`, `libpod-payload-ID`
/// - Kubernetes: `cri-containerd-ID.scope`, `crio-ID.scope`, `/kubepods/…/ID`
/// - containerd: `/default/ID`
/// - LXC: `lxc.payload.NAME`, `/lxc/NAME`
/// - systemd-nspawn: `machine-NAME.scope`, `systemd-nspawn@NAME.service`
/// - libvirt: `machine-lxc\x2dN\x2dNAME.scope`; a virtual machine (`machine-qemu…`) is not a container
/// - AWS Fargate: `/ecs/TASK/TASK-N`
fn container_name(path: &str) -> Option<(String, &str)> {
    let mut found = None;
    let mut above = None;
    let mut end = 0;
    for part in path.split('/') {
        let parent = &path[..end];
        end += part.len() + usize::from(end + part.len() < path.len());
        let bare = part.strip_suffix(".scope").or_else(|| part.strip_suffix(".service")).unwrap_or(part);
        let id =
            bare.bytes().rposition(|byte| matches!(byte, b'-' | b':')).map_or(bare, |at| &bare[at + 1..]);
        let name = if id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            Some(id.to_owned())
        } else if let Some(name) = part.strip_prefix("lxc.payload.") {
            Some(name.to_owned())
        } else if above == Some("lxc") || is_fargate_task(part) {
            Some(part.to_owned())
        } else if let Some(name) = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"))
        {
            machine(&unescaped(name))
        } else {
            let name = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
            name.map(unescaped)
        };
        found = name.filter(|name| !name.is_empty()).map(|name| (name, parent)).or(found);
        above = Some(part);
    }
    found
}

/// Returns the container that systemd-machined or libvirt registered under this name. `None` for a virtual machine.
fn machine(name: &str) -> Option<String> {
    if name.starts_with("qemu-") {
        return None;
    }
    let of_libvirt = name.strip_prefix("lxc-").and_then(|rest| rest.split_once('-'));
    Some(of_libvirt.map_or(name, |(_, name)| name).to_owned())
}

/// Returns whether a group is named like a container of AWS Fargate: the 32 hexadecimal digits of the task, `-` and a
/// number.
fn is_fargate_task(part: &str) -> bool {
    part.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32
            && task.bytes().all(|b| b.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Decodes systemd's escapes in the name of a unit: `my\x2dweb` becomes `my-web`.
fn unescaped(name: &str) -> String {
    let mut text = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.strip_prefix(b"x").and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                text.push(byte);
                rest = &after[3..];
            }
            None => {
                text.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
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
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service",
                Some("user@1000.service/ssh.service"),
            ),
            ("/system.slice/app.service/ssh.service", Some("app.service/ssh.service")),
            ("/lxc.payload.web/system.slice/ssh.service", Some("lxc.payload.web/ssh.service")),
            ("/../system.slice/ssh.service", Some("ssh.service")),
            ("/user.slice/user-1000.slice/session-4.scope", Some("session-4.scope")),
            ("/system.slice/foo.service/payload", Some("foo.service")),
            ("/system.slice/ssh.socket", Some("ssh.socket")),
            ("/init.scope", Some("init.scope")),
            ("/user.slice", None),
            ("/.service", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(super::unit(path).as_deref(), unit, "{path}");
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
            (r"/machine.slice/machine-my\x2dweb.scope/payload".to_owned(), Some("my-web")),
            (r"/machine.slice/systemd-nspawn@my\x2dweb.service/payload".to_owned(), Some("my-web")),
            (r"/machine.slice/machine-qemu\x2d1\x2dwin.scope/libvirt/emulator".to_owned(), None),
            (r"/machine.slice/machine-lxc\x2d7\x2dold\x2dweb.scope".to_owned(), Some("old-web")),
            (
                format!("/ecs/{0}/{0}-265927825", &ID[..32]),
                Some(concat!("4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e", "-265927825")),
            ),
            (r"/machine.slice/machine-x\x2.scope".to_owned(), Some(r"x\x2")),
            ("/system.slice/nginx.service".to_owned(), None),
            (format!("/x/{}", &ID[1..]), None),
            ("/lxc".to_owned(), None),
        ] {
            assert_eq!(container_in(&path, |_| true).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn a_container_in_a_container() {
        let other = ID.replace('4', "5");
        for (path, is_nested) in [
            (format!("/docker/{ID}/docker/{other}"), true),
            (format!("/system.slice/docker-{ID}.scope/lxc/web"), true),
            (format!("/docker/{ID}/kubelet/kubepods/pod12/{other}"), true),
            (format!("/docker/{ID}/init.scope"), false),
            (format!("/machine.slice/libpod-{ID}.scope/libpod-payload-{ID}"), false),
            ("/lxc/web/system.slice".to_owned(), false),
            ("/system.slice".to_owned(), false),
        ] {
            assert_eq!(is_in_nested_container(&path), is_nested, "{path}");
        }
    }

    #[test]
    fn a_container_in_a_group_of_a_user_keeps_the_users_unit() {
        let below = |group: &str| format!("{group}/docker-{ID}.scope");
        for (group, is_owned_by_root, name) in [
            ("/system.slice", true, ID.to_owned()),
            ("/system.slice/app.service", false, format!("app.service/{ID}")),
            ("/user.slice/user-1.slice/user@1.service", false, format!("user@1.service/{ID}")),
        ] {
            let owns = |parent: &str| {
                assert_eq!(parent.trim_end_matches('/'), group);
                is_owned_by_root
            };
            assert_eq!(container_in(&below(group), owns), Some(name), "{group}");
        }
        assert!(!is_roots("/no-such-group/user@1.service"), "without a tree, the path decides");
    }
}
