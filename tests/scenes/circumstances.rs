//! Circumstances under which a scene runs a program: missing capabilities, namespaces, falsified tables, a kernel that
//! refuses calls.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::helpers::Done;
use crate::lab::NOBODY;

/// Becomes `command` under a circumstance.
pub fn launch(circumstance: &str, command: &[OsString]) -> Done {
    match circumstance {
        "no-ptrace" => {
            rustix::thread::remove_capability_from_bounding_set(rustix::thread::CapabilitySet::SYS_PTRACE)?;
        }
        "nobody" => become_nobody()?,
        "nobody-who-may-read" => {
            rustix::thread::set_keep_capabilities(true)?;
            become_nobody()?;
            keep_reading()?;
        }
        "user-namespace" => {
            unshare(CloneFlags::CLONE_NEWUSER)?;
            fs::write("/proc/self/uid_map", "0 0 1")?;
        }
        "pid-namespace" => return within_pid_namespace(command, true),
        "pid-namespace-old-proc" => return within_pid_namespace(command, false),
        "new-proc" => {
            mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
        }
        "a-line-less" => falsify(|table| table.lines().filter(|line| !line.contains(FALSIFIED)).collect())?,
        "a-line-more" => falsify(|table| {
            let line = "   9: 0100007F:2508 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242424242 1";
            table.lines().chain([line]).collect()
        })?,
        "no-netlink" => refuse(libc::SYS_socket, Some(u64::try_from(libc::AF_NETLINK)?), libc::EPERM)?,
        "no-netlink-family" => {
            refuse(libc::SYS_socket, Some(u64::try_from(libc::AF_NETLINK)?), libc::EAFNOSUPPORT)?;
        }
        "no-internet-sockets" => refuse(libc::SYS_socket, Some(u64::try_from(libc::AF_INET)?), libc::EPERM)?,
        "bpf-refused" => refuse(libc::SYS_bpf, None, libc::EPERM)?,
        "no-answer" => refuse(libc::SYS_recvfrom, None, libc::EPERM)?,
        "no-question" => refuse(libc::SYS_sendto, None, libc::EPERM)?,
        // A kernel without the diagnostic modules answers in this way.
        "no-diagnosis" => refuse(libc::SYS_sendto, None, libc::ENOENT)?,
        _ => {
            let limit = circumstance.strip_prefix("nofile-").ok_or("no such circumstance")?.parse()?;
            setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) })?;
        }
    }
    Err(becoming(command)?.exec().into())
}

/// 127.0.0.1:9480, as `/proc/net/tcp` writes it.
const FALSIFIED: &str = "0100007F:2508";

/// Replaces `/proc/net/tcp` with a changed copy for this process and its children, as some rootkits do. The other
/// tables are copied unchanged.
fn falsify(change: impl Fn(&str) -> Vec<&str>) -> Done {
    let directory = std::env::current_exe()?.with_file_name(format!("tables-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let tables = format!("/proc/self/task/{}/net", std::process::id());
    for name in ["tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "protocols"] {
        if let Ok(table) = fs::read_to_string(format!("{tables}/{name}")) {
            let shown = if name == "tcp" { change(&table).join("\n") + "\n" } else { table };
            fs::write(directory.join(name), shown)?;
        }
    }
    mount(Some(&directory), tables.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn becoming(command: &[OsString]) -> Result<Command, Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("nothing to run")?;
    let mut command = Command::new(program);
    command.args(arguments).env_remove("NO_COLOR");
    Ok(command)
}

fn become_nobody() -> Done {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Keeps the capabilities of the shipped systemd unit, through `exec` too.
fn keep_reading() -> Done {
    use rustix::thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
    };
    let all = CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::BPF
        | CapabilitySet::PERFMON;
    set_capabilities(None, CapabilitySets { effective: all, permitted: all, inheritable: all })?;
    for one in all {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

/// Runs `command` as the first process of a pid namespace, with a `/proc` of its own or with the old one.
fn within_pid_namespace(command: &[OsString], proc: bool) -> Done {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
    let mut command = if proc {
        // The helper mounts `/proc` inside the namespace and then becomes the program.
        let mut helper = Command::new(std::env::current_exe()?);
        helper.args(["--helper", "run", "new-proc"].map(OsStr::new)).args(command);
        helper
    } else {
        becoming(command)?
    };
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(101));
}

/// Makes the kernel answer a system call with an error, if its first argument is `first`, or always if `first` is
/// `None`.
fn refuse(call: i64, first: Option<u64>, error: i32) -> Done {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };
    let rules = match first {
        Some(value) => vec![SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            value,
        )?])?],
        None => Vec::new(),
    };
    let filter = SeccompFilter::new(
        [(call, rules)].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(error.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
