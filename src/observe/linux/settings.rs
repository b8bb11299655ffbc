//! The settings of the kernel and of this network namespace, and the privileges of portolan.

use rustix::fs::{Access, AtFlags, CWD, accessat, readlinkat};
use rustix::thread::{CapabilitySet, capabilities};

use super::files::{self, slurp};
use super::{links, process};
use crate::model::{Gap, HostScope, Note, PortRange, Protocol, Rights, Stage, State, lists_bound_sockets};
use crate::observe::Scope;

/// The default of `net.ipv4.ip_local_port_range` (Documentation/networking/ip-sysctl.rst).
const DEFAULT_RANGE: PortRange = PortRange { low: 32768, high: 60999 };

/// The ports of outgoing connections in the network namespace of the calling thread.
pub(super) struct EphemeralSettings {
    pub range: PortRange,
    /// The ports of the range that the kernel never assigns, in ascending order.
    pub reserved: Vec<PortRange>,
    pub source: &'static str,
    /// The settings that could not be read. Their defaults are assumed.
    pub gaps: Vec<Gap>,
}

/// The usual size and the largest size of a setting, in bytes. `ip_local_reserved_ports` is largest if every second
/// port is reserved.
const SETTING: usize = 4 * 1024;
const LONGEST_SETTING: usize = 256 * 1024;

/// Reads `net.ipv4.ip_local_port_range` and `ip_local_reserved_ports`. Both also apply to IPv6.
pub(super) fn ephemeral() -> EphemeralSettings {
    let mut gaps = Vec::new();
    let mut range = setting("ip_local_port_range", range);
    let mut reserved = setting("ip_local_reserved_ports", ranges);
    let mut lost = |what: &str, why: &mut String| {
        gaps.push(Gap::new(Stage::Host, what, std::mem::take(why)).with_remedy("mount /proc"));
    };
    if let Err(why) = &mut range {
        lost("the ephemeral port range of this kernel (portolan assumes the default, 32768-60999)", why);
    } else if let Err(why) = &mut reserved {
        lost("the reserved ports of this kernel (portolan assumes that there are none)", why);
    }
    EphemeralSettings {
        source: if range.is_ok() {
            "net.ipv4.ip_local_port_range"
        } else {
            "the documented default of Linux"
        },
        range: range.unwrap_or(DEFAULT_RANGE),
        reserved: reserved.unwrap_or_default(),
        gaps,
    }
}

/// Reads a setting of this network namespace. The error is the reason why the setting is unknown.
fn setting<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let read = |step| slurp(&path, step, step).map_err(|errno| format!("{path}: {errno}"));
    let mut text = read(SETTING)?;
    if text.len() == SETTING {
        text = read(LONGEST_SETTING)?; // one read is enough, because a second read of the same file returns nothing
    }
    parse(&String::from_utf8_lossy(&text)).ok_or_else(|| format!("{path}: the content could not be parsed"))
}

/// Parses two numbers, such as `32768 60999`.
fn range(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high)), None) => PortRange::new(low, high),
        _ => None,
    }
}

/// Parses `8080,9148,10000-10010`.
fn ranges(text: &str) -> Option<Vec<PortRange>> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        PortRange::new(low.parse().ok()?, high.parse().ok()?)
    };
    text.trim().split(',').filter(|part| !part.is_empty()).map(range).collect()
}

/// Returns the first two numbers of the kernel's release, such as `(6, 16)`. `None` if the release cannot be read.
pub(super) fn kernel_release() -> Option<(u32, u32)> {
    let text = slurp("/proc/sys/kernel/osrelease", 256, 256).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut numbers = text.split(|other: char| !other.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns whether portolan has the capabilities to load the BPF programs of the iterators.
pub(super) fn may_use_bpf() -> bool {
    let needed = CapabilitySet::BPF | CapabilitySet::PERFMON;
    capabilities(None).is_ok_and(|sets| {
        sets.effective.contains(needed) || sets.effective.contains(CapabilitySet::SYS_ADMIN)
    })
}

/// Returns whether portolan may read the descriptors of every visible process. Portolan must be in the first user
/// namespace and have `CAP_SYS_PTRACE`. It must also be root, or have a capability to enter the directories of other
/// users.
pub(super) fn privileged() -> bool {
    let Ok(sets) = capabilities(None) else { return false };
    let passes = rustix::process::geteuid().is_root()
        || sets.effective.intersects(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE);
    passes && sets.effective.contains(CapabilitySet::SYS_PTRACE) && in_first("user", FIRST_USER_NAMESPACE)
}

/// The socket on which a Docker daemon accepts commands (docs.docker.com, "dockerd").
const DOCKER: &str = "/var/run/docker.sock";

/// Returns what the user may do without `sudo`. Root never needs `sudo`, even in a container without the needed
/// capabilities.
pub(in crate::observe) fn rights() -> Rights {
    let may_use_docker = accessat(CWD, DOCKER, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    Rights { needs_sudo: !rustix::process::geteuid().is_root() && !privileged(), may_use_docker }
}

/// The inodes of the initial namespaces (include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// This inode is fixed since Linux 6.18 (include/uapi/linux/nsfs.h). Older kernels use another number.
const FIRST_NETWORK_NAMESPACE: u64 = 0xEFFF_FFF9;

/// Returns the target of a link. The system call does not go through the C library, so a preloaded library cannot
/// change the answer.
fn link(path: &str) -> Option<String> {
    readlinkat(CWD, path, Vec::new()).ok()?.into_string().ok()
}

fn in_first(kind: &str, first: u64) -> bool {
    link(&format!("/proc/self/ns/{kind}")).is_some_and(|link| link == format!("{kind}:[{first}]"))
}

/// Returns why portolan cannot see processes outside its pid namespace, and the remedy. `None` if portolan is in the
/// first pid namespace and `/proc` shows this namespace. The check is necessary because `/proc` does not show that
/// processes are missing.
pub(super) fn processes_outside() -> Option<(&'static str, &'static str)> {
    if !in_first("pid", FIRST_PID_NAMESPACE) {
        return Some((
            "portolan runs in a separate pid namespace and cannot see the processes outside it",
            "run portolan outside the container",
        ));
    }
    let me = rustix::process::getpid().as_raw_nonzero().to_string();
    (link("/proc/self").as_deref() != Some(&*me)).then_some((
        "/proc shows another pid namespace, not the one in which portolan runs",
        "mount /proc again",
    ))
}

/// Returns whether `/proc` hides the processes of other users (`hidepid=invisible` or `2`, `hidepid=ptraceable` or
/// `4`). The option `subset=pid` hides no processes.
pub(super) fn hides_others(privileged: bool) -> bool {
    !privileged && hides_processes(&files::mounts().unwrap_or_default())
}

/// Returns how much of the machine portolan sees. `None` if this is not known.
pub(super) fn host_scope() -> Option<HostScope> {
    if processes_outside().is_some() {
        return Some(HostScope::Container);
    }
    if in_first("net", FIRST_NETWORK_NAMESPACE) {
        return Some(HostScope::Machine);
    }
    let netns = |process: &str| link(&format!("/proc/{process}/ns/net"));
    // If process 1 is not readable, process 2 is read. Process 2 is `kthreadd`, which is always in the first namespace.
    let first = netns("1").or_else(|| process::is_kthreadd(2).then(|| netns("2"))?)?;
    Some(if first == netns("self")? { HostScope::Machine } else { HostScope::Namespace })
}

/// Returns whether the last mount on `/proc` hides processes. `mountinfo` has lines of the form `ID PARENT MAJ:MIN ROOT
/// POINT OPTIONS [TAGS…] - TYPE SOURCE SUPER-OPTIONS`.
pub(super) fn hides_processes(mountinfo: &str) -> bool {
    mountinfo
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/proc"))
        .filter_map(|line| line.split_once(" - ")?.1.split(' ').nth(2))
        .next_back()
        .is_some_and(|options| {
            options
                .split(',')
                .any(|o| matches!(o.strip_prefix("hidepid="), Some("2" | "invisible" | "4" | "ptraceable")))
        })
}

/// Returns notes about what the scan leaves out, and about settings that make the result less reliable.
pub(super) fn limits(scope: &Scope, kernel: Option<&str>) -> Vec<Note> {
    let mut notes = Vec::new();
    if is_preloaded() {
        let note = Note::new("a preloaded library can change the data that portolan reads");
        notes.push(note.with_remedy("use the static build").marked_important());
    }
    if scope.details || scope.packages {
        notes.extend(martian_devices());
    }
    if !scope.processes {
        notes.push(Note::new("processes were not looked up").with_remedy(Note::WITH_PROCESSES));
    }
    if !scope.states.contains(&State::Bound) && scope.states.contains(&State::Listen) {
        let note = Note::new("sockets that are bound but do not listen were not listed");
        notes.push(note.with_remedy(Note::WITH_PROCESSES));
    } else if scope.states.contains(&State::Bound)
        && scope.protocols.contains(&Protocol::Tcp)
        && kernel.is_some_and(|version| !lists_bound_sockets(version))
    {
        notes.push(Note::new(
            "this kernel does not list TCP sockets that are bound but do not listen (Linux 6.8 and later list them)",
        ));
    }
    notes
}

/// Returns whether the kernel delivers packets from other machines to loopback addresses, through at least one device.
pub(super) fn routes_to_loopback() -> bool {
    martian_devices().is_some()
}

/// Returns a note on the devices through which other machines can reach the loopback addresses of this machine
/// (`route_localnet`, Documentation/networking/ip-sysctl.rst).
fn martian_devices() -> Option<Note> {
    let is_set = |name: &str| {
        slurp(format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), 16, 16)
            .is_ok_and(|text| text.trim_ascii() != b"0")
    };
    let links = links::list().unwrap_or_default();
    let devices = links.into_iter().filter(|link| !link.is_loopback).map(|link| link.name);
    let all = is_set("all");
    let devices: Vec<String> = devices.filter(|name| all || is_set(name)).collect();
    let first = devices.first()?;
    let what = format!(
        "network device{} with route_localnet (first: {first}): unless a firewall drops the \
            traffic, other machines reach listeners on 127.0.0.0/8",
        if devices.len() == 1 { "" } else { "s" }
    );
    let remedy = "sysctl net.ipv4.conf.all.route_localnet=0, and the same for the device";
    Some(Note::new(what).counted(devices.len()).with_remedy(remedy).marked_important())
}

/// The environment variables that make ld.so(8) load libraries before those of the program.
const PRELOADING: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];

/// Returns whether a library is preloaded into portolan. Always false for a static build, which loads no libraries.
fn is_preloaded() -> bool {
    let by_file = || slurp("/etc/ld.so.preload", 256, 256).is_ok_and(|text| !text.trim_ascii().is_empty());
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    cfg!(not(target_feature = "crt-static")) && (PRELOADING.into_iter().any(is_set) || by_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_list_bound_sockets() {
        for (version, lists_bound) in [
            ("6.18.44-fc", true),
            ("6.8.0", true),
            ("7.0", true),
            ("6.7.9", false),
            ("6.1.0-40-amd64", false),
            ("5.10", false),
        ] {
            assert_eq!(lists_bound_sockets(version), lists_bound, "{version}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!(range("32768\t60999\n"), PortRange::new(32768, 60999));
        for text in ["", "5", "60999 32768", "1 2 3", "a b", "1 70000"] {
            assert_eq!(range(text), None, "{text:?}");
        }
        assert_eq!(ranges("\n"), Some(Vec::new()));
        assert_eq!(
            ranges("8080,10000-10010\n"),
            Some(vec![PortRange::single(8080), PortRange { low: 10000, high: 10010 }])
        );
        for text in ["8080,x\n", "10-9", "70000", "1,2,3-"] {
            assert_eq!(ranges(text), None, "{text:?}");
        }
    }

    #[test]
    fn hidden_processes() {
        let line =
            |options: &str| format!("30 29 0:26 / /proc rw,relatime shared:14 - proc proc rw,{options}\n");
        assert!(hides_processes(&line("hidepid=2")));
        assert!(hides_processes(&line("hidepid=invisible,gid=5")));
        assert!(!hides_processes(&line("hidepid=1")));
        assert!(!hides_processes(&line("gid=5")));
        assert!(!hides_processes(&(line("hidepid=2") + &line("gid=0"))), "the last mount counts");
        assert!(!hides_processes(""));
    }
}
