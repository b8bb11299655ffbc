//! Finds the names and images of containers in the files of their managers.
//!
//! The managers themselves are not asked. They may give false answers or none, and asking them needs a permission as
//! powerful as root. Only files of root and of portolan's own user are read, so that no other user can choose the name
//! of a container.

pub(super) mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::model::{Container, Peer, Pid, Process, Socket};

/// The maximum sizes, in bytes, of a file about one container and of a file about all containers. The file of a
/// container with many settings has about 20 KiB.
const LARGEST: u64 = 1024 * 1024;
const LARGEST_STORAGE: u64 = 16 * 1024 * 1024;
const MOST_ENTRIES: usize = 10_000;
/// The maximum number of containers in which an address is searched.
const MOST_SEARCHED: usize = 1_000;

/// Adds the data of containers to the processes in them, and to the processes that forward a port to a container.
/// `of_sockets` has the containers that are known from the control groups of sockets. It is needed because a scan
/// without details does not read the control groups of processes.
pub(super) fn name(processes: &mut [Process], of_sockets: &BTreeMap<Pid, String>) {
    let group =
        |process: &Process| process.container.clone().or_else(|| of_sockets.get(&process.pid).cloned());
    let wanted: BTreeSet<String> = processes.iter().filter_map(group).collect();
    let forwarded: BTreeSet<IpAddr> = processes.iter().filter_map(forwards_to).collect();
    if wanted.is_empty() && forwarded.is_empty() {
        return;
    }
    let files = Files { root: Path::new("/"), home: std::env::home_dir() };
    let by_group = files.by_group(&wanted);
    let by_address = files.by_address(&forwarded);
    for process in processes {
        process.container_details = group(process).and_then(|group| by_group.get(&group)).map(Arc::clone);
        process.forwards_to_container =
            forwards_to(process).and_then(|address| by_address.get(&address)).map(Arc::clone);
    }
}

/// Adds to each published port the container whose address is the destination of the port.
pub(super) fn name_published(sockets: &mut [Socket]) {
    let forwarded: BTreeSet<IpAddr> =
        sockets.iter().filter_map(|socket| Some(socket.forwarding.as_ref()?.to.address)).collect();
    if forwarded.is_empty() {
        return;
    }
    let files = Files { root: Path::new("/"), home: None };
    let by_address = files.by_address(&forwarded);
    for socket in sockets.iter_mut().filter(|socket| socket.forwarding.is_some()) {
        if let Some(forwarding) = &mut Arc::make_mut(&mut socket.attributes).forwarding {
            forwarding.container = by_address.get(&forwarding.to.address).map(Arc::clone);
        }
    }
}

fn forwards_to(process: &Process) -> Option<IpAddr> {
    Peer::behind_docker_proxy(process).map(|to| to.address)
}

/// A directory of containerd. The directory of a container is `NAMESPACE/ID` below it.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// The maximum number of containers whose configurations are read to find the data directory of Docker.
const MOST_RUNNING: usize = 8;

struct Files<'a> {
    root: &'a Path,
    home: Option<PathBuf>,
}

impl Files<'_> {
    /// Returns the containers with these names, which have the form `ID` or `user@1000.service/ID`. The names come from
    /// [`super::cgroup::container`].
    fn by_group(&self, wanted: &BTreeSet<String>) -> BTreeMap<String, Arc<Container>> {
        let is_roots = |group: &&String| parse::is_id(group);
        let ids: BTreeSet<&str> = wanted.iter().filter(is_roots).map(String::as_str).collect();
        let mut found: BTreeMap<String, Container> = BTreeMap::new();
        let mut add = |container: Container| {
            if ids.contains(container.id.as_str()) {
                merge(&mut found, container);
            }
        };
        if !ids.is_empty() {
            self.docker_files(&ids).into_iter().for_each(&mut add);
            self.storage(&self.below("var/lib/containers/storage")).into_iter().for_each(&mut add);
            self.runtime_files(&ids).into_iter().for_each(&mut add);
            let links = entries(&self.below("var/log/containers"));
            links.iter().filter_map(|link| parse::log_link(link)).for_each(&mut add);
        }
        let own = format!("user@{}.service/", rustix::process::geteuid().as_raw());
        let of_observer: BTreeMap<&str, &String> =
            wanted.iter().filter_map(|group| Some((group.strip_prefix(&own)?, group))).collect();
        if let Some(home) = self.home.as_ref().filter(|_| !of_observer.is_empty()) {
            for container in self.storage(&home.join(".local/share/containers/storage")) {
                if let Some(group) = of_observer.get(container.id.as_str()) {
                    // The unit stays before the name, to show that this user chose the name, not root.
                    let name = container.name.map(|name| format!("{own}{name}"));
                    found.insert((*group).clone(), Container { name, ..container });
                }
            }
        }
        found.into_iter().map(|(group, container)| (group, Arc::new(container))).collect()
    }

    /// Returns the running Docker containers with these addresses. An address that two containers have is left out,
    /// because it identifies neither.
    fn by_address(&self, wanted: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Arc<Container>> {
        let mut found: BTreeMap<IpAddr, Option<Arc<Container>>> = BTreeMap::new();
        if wanted.is_empty() {
            return BTreeMap::new();
        }
        for directory in self.docker_directories() {
            for id in entries(&directory).iter().filter(|id| parse::is_id(id)).take(MOST_SEARCHED) {
                let Some(container) = docker_file(&directory, id).map(Arc::new) else { continue };
                for address in container.addresses.iter().filter(|address| wanted.contains(address)) {
                    let only = found.entry(*address).or_insert_with(|| Some(Arc::clone(&container)));
                    // The same container may be found in two directories.
                    only.take_if(|known| known.id != container.id);
                }
            }
        }
        found.into_iter().filter_map(|(address, only)| Some((address, only?))).collect()
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Returns the directories in which Docker has one directory per container: `containers` in each data directory,
    /// and in each subdirectory `UID.GID` (for user namespaces). The data directories are:
    /// - the usual data directory
    /// - the data directory of the snap package
    /// - the configured data directory
    fn docker_directories(&self) -> Vec<PathBuf> {
        let mut roots =
            vec![self.below("var/lib/docker"), self.below("var/snap/docker/common/var-lib-docker")];
        let moved =
            read(&self.below("etc/docker/daemon.json"), LARGEST).and_then(|file| parse::data_root(&file));
        let moved = moved.or_else(|| self.data_root_in_use());
        roots.extend(moved.map(|root| self.below(root.trim_start_matches('/'))));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_remapped =
            |name: &str| name.split_once('.').is_some_and(|(uid, gid)| is_number(uid) && is_number(gid));
        let remapped: Vec<PathBuf> = roots
            .iter()
            .flat_map(|root| {
                let names = entries(root).into_iter().filter(|name| is_remapped(name));
                names.map(|name| root.join(name)).collect::<Vec<_>>()
            })
            .collect();
        roots.extend(remapped);
        roots.into_iter().map(|root| root.join("containers")).collect()
    }

    /// Returns the data directory of Docker, from the configuration of a running container. Needed if only the command
    /// line of dockerd sets the directory, because portolan does not read that command line.
    fn data_root_in_use(&self) -> Option<String> {
        let managers = ["run/docker/containerd/daemon", "run/containerd"];
        let tasks = managers.map(|manager| self.below(manager).join(TASKS).join("moby"));
        tasks.iter().find_map(|tasks| {
            let mut ids = entries(tasks).into_iter().filter(|id| parse::is_id(id)).take(MOST_RUNNING);
            ids.find_map(|id| {
                parse::mounted_data_root(&read(&tasks.join(&id).join("config.json"), LARGEST)?, &id)
            })
        })
    }

    fn docker_files(&self, ids: &BTreeSet<&str>) -> Vec<Container> {
        let directories = self.docker_directories();
        let files = directories.iter().flat_map(|directory| ids.iter().map(move |id| (directory, id)));
        files.filter_map(|(directory, id)| docker_file(directory, id)).collect()
    }

    fn storage(&self, storage: &Path) -> Vec<Container> {
        let files = ["overlay", "vfs", "btrfs", "zfs"].into_iter().flat_map(|driver| {
            ["containers.json", "volatile-containers.json"]
                .map(|file| storage.join(format!("{driver}-containers")).join(file))
        });
        files.filter_map(|path| read(&path, LARGEST_STORAGE)).flat_map(|file| parse::storage(&file)).collect()
    }

    /// Reads the configurations of the containers that CRI-O or containerd (also the containerd of k3s) started.
    fn runtime_files(&self, ids: &BTreeSet<&str>) -> Vec<Container> {
        let mut found = Vec::new();
        for id in ids {
            for directory in ["run/containerd", "run/k3s/containerd"] {
                for namespace in ["k8s.io", "default"] {
                    let path = self.below(directory).join(TASKS).join(namespace).join(id).join("config.json");
                    found.extend(read(&path, LARGEST).and_then(|file| parse::runtime(&file, id)));
                }
            }
            let path = self.below("run/containers/storage/overlay-containers").join(id);
            let path = path.join("userdata/config.json");
            found.extend(read(&path, LARGEST).and_then(|file| parse::runtime(&file, id)));
        }
        found
    }
}

fn docker_file(directory: &Path, id: &str) -> Option<Container> {
    let file = read(&directory.join(id).join("config.v2.json"), LARGEST)?;
    parse::docker(&file).filter(|container| container.id == id)
}

fn merge(found: &mut BTreeMap<String, Container>, more: Container) {
    let known = found.entry(more.id.clone()).or_insert_with(|| Container {
        id: more.id.clone(),
        manager: more.manager.clone(),
        ..Container::default()
    });
    known.name = known.name.take().or(more.name);
    known.image = known.image.take().or(more.image);
    known.pod = known.pod.take().or(more.pod);
    known.namespace = known.namespace.take().or(more.namespace);
    if known.addresses.is_empty() {
        known.addresses = more.addresses;
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = found.take(MOST_ENTRIES).filter_map(Result::ok);
    names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Reads a file. Returns `None` in these cases:
/// - the file is larger than `largest`
/// - the file is not a regular file, because reading a pipe would block
/// - the file belongs neither to root nor to the user of portolan
fn read(path: &Path, largest: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).ok()?;
    let status = fstat(&file).ok()?;
    let is_trusted = status.st_uid == 0 || status.st_uid == rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || !is_trusted {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(file).take(largest + 1).read_to_end(&mut bytes).ok()?;
    u64::try_from(bytes.len()).is_ok_and(|length| length <= largest).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";

    fn id(digit: char) -> String {
        ID.replace('4', &digit.to_string())
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn docker(id: &str, name: &str, address: &str) -> String {
        format!(
            r#"{{"ID":"{id}","Name":"/{name}","Config":{{"Image":"nginx"}},"State":{{"Running":true}},
            "NetworkSettings":{{"Networks":{{"bridge":{{"IPAddress":"{address}"}}}}}}}}"#
        )
    }

    #[test]
    fn containers_of_every_manager() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let file = |id: &str, root: &str| format!("{root}/containers/{id}/config.v2.json");
        write(root, &file(ID, "var/lib/docker"), &docker(ID, "shop-web", "172.17.0.2"));
        write(root, &file(&id('5'), "srv/docker"), &docker(&id('5'), "moved", "172.17.0.3"));
        write(root, "etc/docker/daemon.json", r#"{"data-root":"/srv/docker"}"#);
        let remapped = file(&id('6'), "var/lib/docker/100000.100000");
        write(root, &remapped, &docker(&id('6'), "remapped", "172.17.0.4"));
        let storage = "var/lib/containers/storage/overlay-containers/containers.json";
        write(root, storage, &format!(r#"[{{"id":"{}","names":["db"]}}]"#, id('7')));
        write(root, &format!("var/log/containers/shop-0_default_web-{}.log", id('8')), "");
        let task = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id('8'));
        write(root, &task, r#"{"annotations":{"io.kubernetes.cri.image-name":"nginx"}}"#);
        let own = format!("user@{}.service/{}", rustix::process::geteuid().as_raw(), id('9'));
        let home = "home/.local/share/containers/storage/overlay-containers/containers.json";
        write(root, home, &format!(r#"[{{"id":"{}","names":["mine"]}}]"#, id('9')));
        let files = Files { root, home: Some(root.join("home")) };
        let by_user = format!("app.service/{ID}");
        let mut wanted: BTreeSet<String> = "5678".chars().map(id).collect();
        wanted.extend([ID.to_owned(), own.clone(), by_user.clone(), "lxc-web".to_owned()]);
        let found = files.by_group(&wanted);
        let name = |group: &str| found.get(group).and_then(|container| container.name.clone());
        assert_eq!(name(ID).as_deref(), Some("shop-web"));
        assert_eq!(name(&id('5')).as_deref(), Some("moved"));
        assert_eq!(name(&id('6')).as_deref(), Some("remapped"));
        assert_eq!(name(&id('7')).as_deref(), Some("db"));
        assert_eq!(name(&id('8')).as_deref(), Some("web"));
        assert_eq!(found[&id('8')].image.as_deref(), Some("nginx"));
        assert_eq!(name(&own), Some(own.replace(&id('9'), "mine")));
        assert_eq!(
            name(&by_user),
            None,
            "a control group that a user created does not get the name of root's container"
        );
        let addresses = ["172.17.0.3", "172.17.0.9"].map(|address| address.parse().unwrap()).into();
        let found = files.by_address(&addresses);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&IpAddr::from([172, 17, 0, 3])].name.as_deref(), Some("moved"));
    }

    /// The command line of dockerd sets its data directory. The configuration of a running container names the
    /// directory.
    #[test]
    fn a_data_directory_that_no_file_of_docker_names() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, &format!("srv/d/containers/{ID}/config.v2.json"), &docker(ID, "shop-web", "172.17.0.2"));
        let task = format!("run/docker/containerd/daemon/{TASKS}/moby/{ID}/config.json");
        let mounts = format!(
            r#"[{{"source":"proc"}},{{"destination":"/etc/hostname","source":"/srv/d/containers/{ID}/hostname"}}]"#
        );
        write(root, &task, &format!(r#"{{"mounts":{mounts}}}"#));
        let files = Files { root, home: None };
        let found = files.by_group(&[ID.to_owned()].into());
        assert_eq!(found[ID].name.as_deref(), Some("shop-web"));
        let address = IpAddr::from([172, 17, 0, 2]);
        assert_eq!(files.by_address(&[address].into())[&address].name.as_deref(), Some("shop-web"));
    }

    /// After a crash of dockerd, the file of a stopped container still contains its address. Two networks can have the
    /// same address.
    #[test]
    fn an_address_names_only_one_running_container() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let snap = "var/snap/docker/common/var-lib-docker";
        let containers = [
            ("var/lib/docker", '4', "stopped", "172.17.0.2", false),
            ("var/lib/docker", '5', "running", "172.17.0.2", true),
            ("var/lib/docker", '6', "stopped-too", "172.17.0.2", false),
            ("var/lib/docker", '7', "one", "172.17.0.3", true),
            (snap, '8', "another", "172.17.0.3", true),
            (snap, '9', "third", "172.17.0.3", true),
            ("var/lib/docker", 'a', "stopped-last", "172.17.0.4", false),
            // Two directories lead to the file of the same container.
            ("srv/docker", '5', "running", "172.17.0.2", true),
        ];
        for (data, digit, name, address, is_running) in containers {
            let text = docker(&id(digit), name, address);
            let text = if is_running { text } else { text.replace("true", "false") };
            write(root, &format!("{data}/containers/{}/config.v2.json", id(digit)), &text);
        }
        write(root, "etc/docker/daemon.json", r#"{"data-root":"/srv/docker"}"#);
        let files = Files { root, home: None };
        let addresses =
            ["172.17.0.2", "172.17.0.3", "172.17.0.4"].map(|address| address.parse().unwrap()).into();
        let found = files.by_address(&addresses);
        let names: Vec<_> =
            found.iter().map(|(address, one)| (address.to_string(), one.name.as_deref())).collect();
        assert_eq!(names, [("172.17.0.2".to_owned(), Some("running"))]);
        let stopped = &files.by_group(&[id('4')].into())[&id('4')];
        assert_eq!(stopped.name.as_deref(), Some("stopped"), "the ID is certain");
    }

    #[test]
    fn hostile_files_are_not_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(read(&path, 8), None, "a pipe");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "123456789").unwrap();
        assert_eq!(read(&path, 8), None, "too large");
        assert_eq!(read(&path, 9).as_deref(), Some(&b"123456789"[..]));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 9), None, "a link");
        if rustix::process::geteuid().is_root() {
            rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(65534)), None).unwrap();
            assert!(read(&path, 9).is_none(), "the file of another user");
        }
    }
}
