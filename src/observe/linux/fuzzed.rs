//! Entry points for fuzz targets, for parsers whose results have private types.

use super::{cgroup, containers, fuse, masked, namespaces, settings, task_iterator};

/// Parses the path of a control group. Returns its unit and its container.
#[must_use]
pub fn cgroup(path: &str) -> [Option<String>; 2] {
    [cgroup::unit(path), cgroup::container_in(path, |group| !group.contains("/user@"))]
}

/// Parses a text with every parser of `mountinfo`. Returns the number of mounts.
#[must_use]
pub fn mountinfo(text: &str) -> usize {
    masked::processes_in(text).len()
        + namespaces::mounted_in(text).len()
        + usize::from(fuse::fuse_owner_in(text, "/srv/x").is_some())
        + usize::from(settings::hides_processes(text))
}

/// Parses bytes as the kernel's description of its types. Returns whether the description has everything that the
/// iterators need.
#[must_use]
pub fn kernel_types(bytes: &[u8]) -> bool {
    task_iterator::has_layout(bytes)
}

/// Parses bytes as every kind of file that describes containers. Returns the total length of the texts, in bytes.
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
