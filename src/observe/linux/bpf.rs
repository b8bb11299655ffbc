//! BPF programs that choose which socket receives a connection, found through the descriptors of the processes that
//! attached them.

use super::files::slurp;
use crate::model::{Note, Pid};

/// `BPF_SK_LOOKUP` (linux/bpf.h).
const SK_LOOKUP: &str = "36";

/// Returns a note about the programs that steer connections in a network namespace; `links` are processes and
/// descriptors.
pub(super) fn steering(links: &[(Pid, u32)]) -> Option<Note> {
    let steers = |link: &&(Pid, u32)| {
        let text = slurp(format!("/proc/{}/fdinfo/{}", link.0, link.1), 1024, 4096).unwrap_or_default();
        is_steering(&String::from_utf8_lossy(&text))
    };
    let mut pids: Vec<Pid> = links.iter().filter(steers).map(|(pid, _)| *pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let first = pids.first()?;
    let processes = if pids.len() == 1 { "process steers" } else { "processes steer" };
    Some(Note {
        what: format!("{processes} connections from other ports to listeners (BPF sk_lookup, pid {first})"),
        count: u64::try_from(pids.len()).ok(),
        remedy: Some("bpftool link".to_owned()),
        important: true,
    })
}

/// Returns whether the text of `fdinfo` describes a link of a network namespace that steers connections.
fn is_steering(fdinfo: &str) -> bool {
    let value =
        |key: &str| fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    value("link_type") == Some("netns") && value("attach_type") == Some(SK_LOOKUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_steer() {
        for (name, text, steers) in [
            ("sk_lookup", "link_type:\tnetns\nlink_id:\t7\nnetns_ino:\t4026531833\nattach_type:\t36\n", true),
            ("flow dissector", "link_type:\tnetns\nattach_type:\t17\n", false),
            ("another link", "link_type:\tcgroup\nattach_type:\t36\n", false),
            ("no link", "pos:\t0\n", false),
        ] {
            assert_eq!(is_steering(text), steers, "{name}");
        }
    }
}
