//! Entry points for the fuzz targets of parsers whose results are private.

use super::{cgroup, containers, fuse, masked, namespaces, settings};

/// Parses a path as that of a control group; returns the unit and the container that it names.
#[must_use]
pub fn cgroup(path: &str) -> [Option<String>; 2] {
    [cgroup::unit(path), cgroup::container_in(path, |group| !group.contains("/user@"))]
}

/// Parses a text as `mountinfo`, in each of the ways in which it is read; returns how many mounts were found.
#[must_use]
pub fn mountinfo(text: &str) -> usize {
    masked::processes_in(text).len()
        + namespaces::mounted_in(text).len()
        + usize::from(fuse::fuse_owner_in(text, "/srv/x").is_some())
        + usize::from(settings::hides_processes(text))
}

/// Parses bytes as every kind of file in which a container manager describes containers; returns the lengths of what
/// was found, in bytes.
#[must_use]
pub fn containers(bytes: &[u8]) -> usize {
    containers::parse::every_kind(bytes)
        .iter()
        .flat_map(|container| {
            let texts = [&container.name, &container.image, &container.pod, &container.namespace];
            texts.map(|text| text.as_ref().map_or(0, String::len))
        })
        .sum()
}
