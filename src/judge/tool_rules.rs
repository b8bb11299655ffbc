//! Rules about programs that are not services: shells, tools for short tasks, dual-use tools, and processes with a
//! false name.

use super::program_identity::IdentifiedProcess;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::identity::{AdHoc, Disguise, DualUse, Masquerading, ShellListener, Tool};
use crate::model::{OriginKind, Parent, Process};
use crate::registry::program_names::contains_program;
use crate::registry::programs;
use crate::registry::tools::{self, AdHocTool, AdHocUse, DualUseTool};

/// The maximum number of characters of a command line in a sentence.
const LONGEST_COMMAND: usize = 160;

fn tool(process: &IdentifiedProcess<'_>) -> Tool {
    let command = process.process.cmdline.join(" ");
    let cut: String = command.chars().take(LONGEST_COMMAND).collect();
    Tool {
        pid: process.process.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        command: if cut.len() < command.len() { format!("{cut}…") } else { cut },
    }
}

/// Returns the most severe tool for a short task, with its process. Only a tool with a use that `wanted` accepts
/// counts. Of several equally severe tools, the first is returned. Two kinds of processes are skipped: a shell that
/// only inherited the socket, and a program that only started the server.
fn ad_hoc_tool<'s, 'p>(
    subject: &'s JudgedListener<'p>,
    wanted: fn(AdHocUse) -> bool,
) -> Option<(&'s IdentifiedProcess<'p>, AdHocTool)> {
    let tools = subject.processes.iter().filter_map(|process| Some((process, process.ad_hoc_tool()?)));
    let of_use = tools.filter(|(process, tool)| {
        wanted(tool.used_for)
            && (!tool.is_shell || !inherited_socket(process, subject.processes))
            && (tool.used_for != AdHocUse::Start || !has_started_the_server(process, subject.processes))
    });
    // `max_by_key` returns the last of several equal elements. The order is reversed, because the first process is
    // wanted.
    of_use.rev().max_by_key(|(_, tool)| tool.beyond_loopback)
}

/// Returns whether a shell only inherited the socket. This is so if the socket has another owner that is neither a tool
/// nor a descendant of the shell.
fn inherited_socket(shell: &IdentifiedProcess<'_>, owners: &[IdentifiedProcess<'_>]) -> bool {
    owners.iter().any(|owner| {
        owner.ad_hoc_tool().is_none()
            && owner.process.parents.iter().all(|parent| parent.pid != shell.process.pid)
    })
}

/// Returns whether `starter` has started another owner of the socket. The other owner is then judged instead.
fn has_started_the_server(starter: &IdentifiedProcess<'_>, owners: &[IdentifiedProcess<'_>]) -> bool {
    owners.iter().any(|owner| {
        owner.ad_hoc_tool().is_none_or(|tool| tool.used_for != AdHocUse::Start)
            && owner.process.parents.iter().any(|parent| parent.pid == starter.process.pid)
    })
}

fn severity(subject: &JudgedListener<'_>, tool: AdHocTool) -> crate::model::Severity {
    if subject.listener.exposure.is_reachable_from_outside() {
        tool.beyond_loopback
    } else {
        tool.on_loopback
    }
}

pub(super) fn shell_listener(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (process, found) = ad_hoc_tool(subject, |used_for| used_for == AdHocUse::Shell)?;
    let severity = severity(subject, found);
    Some(ShellListener { tool: tool(process), is_shell: found.is_shell, severity }.into())
}

pub(super) fn ad_hoc(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let (process, found) = ad_hoc_tool(subject, |used_for| used_for != AdHocUse::Shell)?;
    let severity = severity(subject, found);
    Some(AdHoc { tool: tool(process), used_for: found.used_for.name(), severity }.into())
}

pub(super) fn dual_use(subject: &JudgedListener<'_>) -> Option<Evidence> {
    subject.processes.iter().find_map(|process| {
        let local = &subject.listener.socket.local;
        let found = process.dual_use_tool(local.port, local.protocol);
        let found = found.or_else(|| ssh_server_of_a_user(process))?;
        let DualUseTool { kind, severity, what, attack } = found;
        Some(DualUse { tool: tool(process), kind, what, attack, severity }.into())
    })
}

/// Returns the purpose of an SSH server that a user other than root started. A descendant of another user's SSH server
/// does not count, because the system's server starts such a process for each session.
fn ssh_server_of_a_user(process: &IdentifiedProcess<'_>) -> Option<DualUseTool> {
    let Process { uid, parents, name, .. } = process.process;
    // An SSH server that the same user started does not count, so the ancestor must run as another user.
    let is_server =
        |parent: &Parent| Some(&parent.name) == name.as_ref() && (parent.uid.is_none() || parent.uid != *uid);
    if uid.is_none_or(|uid| uid == 0) || parents.iter().any(is_server) {
        return None;
    }
    tools::ssh_server_of_a_user(process.command_line()?)
}

/// Returns the evidence of `masquerading`. A process has a false name, or its program file or script is not the file
/// that its path suggests.
pub(super) fn masquerading(subject: &JudgedListener<'_>) -> Option<Evidence> {
    subject.processes.iter().find_map(|process| {
        let exe = process.process.exe.as_ref()?;
        let (by, claims) = disguise(process)?;
        let (pid, claims) = (process.process.pid, claims.to_owned());
        Some(Masquerading { pid, claims, exe: exe.path.clone(), by }.into())
    })
}

/// Returns how a process disguises itself, and the name that it claims; `None` if the process has no disguise.
fn disguise<'p>(process: &IdentifiedProcess<'p>) -> Option<(Disguise, &'p str)> {
    let thread = kernel_thread_name(process.process).map(|name| (Disguise::KernelThread, name));
    thread
        .or_else(|| Some((Disguise::Mount, covered_program(process)?)))
        .or_else(|| Some((Disguise::ProgramFile, unmapped_program(process)?)))
        .or_else(|| Some((Disguise::Script, false_script(process.process)?)))
        .or_else(|| Some((Disguise::Name, claimed_server(process)?)))
}

fn kernel_thread_name(process: &Process) -> Option<&str> {
    let first = process.cmdline.first().map(String::as_str);
    let file = process.exe.as_ref().map(|exe| crate::model::file_name(&exe.path)).unwrap_or_default();
    // Some programs have names in brackets, such as Traffic Server (`[TS_MAIN]`).
    let own = process.name.as_deref().filter(|name| !programs::is_process_name_of(name, file));
    let is_claimed = |name: &&str| is_bracketed(name) || is_kernel_thread_name(name);
    // A process without a command line also looks like a kernel thread: tools such as ps show its name in brackets.
    let is_blank = process.exe.is_some() && process.cmdline.iter().all(|argument| argument.trim().is_empty());
    let by_blank_line =
        process.name.as_deref().filter(|name| is_blank && is_further_kernel_thread_name(name));
    [own, first].into_iter().flatten().find(is_claimed).or(by_blank_line)
}

/// Returns whether a name is in brackets, as ps shows kernel threads. A name that contains a space does not count, such
/// as Celery's `[celeryd: worker@host]`.
fn is_bracketed(name: &str) -> bool {
    let inside = name.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|name| !name.contains(' '))
}

/// Returns whether a kernel thread could have this name, such as `kworker/u8:2` or `kswapd0`.
fn is_kernel_thread_name(name: &str) -> bool {
    let (base, has_cpu) = name.split_once('/').map_or((name, false), |(base, _)| (base, true));
    match base.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "kworker" | "ksoftirqd" | "kthreadd" | "kswapd" | "kauditd" | "kdevtmpfs" | "khugepaged"
        | "kcompactd" | "khungtaskd" | "ksmd" | "kthrotld" | "kdmflush" | "kpsmoused" | "mm_percpu_wq"
        | "rcu_sched" | "rcu_preempt" | "rcu_gp" | "rcu_par_gp" | "jbd" | "kintegrityd" | "kblockd"
        | "scsi_tmf_" | "oom_reaper" => true,
        // Ordinary programs also have these names, so they count only with the number of a processor.
        "migration" | "watchdog" | "irq" => has_cpu,
        _ => false,
    }
}

/// Returns whether both kernel threads and ordinary programs may have this name, such as `nfsd` or `loop0`.
fn is_further_kernel_thread_name(name: &str) -> bool {
    let base = name.split_once('/').map_or(name, |(base, _)| base);
    matches!(
        base.trim_end_matches(|c: char| c.is_ascii_digit()),
        "nfsd"
            | "lockd"
            | "loop"
            | "scsi_eh_"
            | "xfsaild"
            | "kcryptd"
            | "dmcrypt_write"
            | "cpuhp"
            | "idle_inject"
    )
}

/// Directories with the system's own programs. If another file is mounted over such a program, this is a disguise. In
/// any other directory, the mounted file may be a new version of an application.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/", "/bin/", "/sbin/", "/lib/"];

/// Returns the name of the program file, if another file is mounted over it. The program must be a well-known server or
/// a program of the system.
fn covered_program<'p>(process: &IdentifiedProcess<'p>) -> Option<&'p str> {
    let origin = process.process.origin.as_ref();
    let path = &process.process.exe.as_ref()?.path;
    process.program_name().filter(|name| {
        origin.is_some_and(|origin| origin.kind == OriginKind::Elsewhere)
            && (programs::serves_a_guarded_port(name)
                || SYSTEM_DIRECTORIES.iter().any(|directory| path.starts_with(directory)))
    })
}

/// Returns the name of the program file, if the memory of the process contains no code from this file.
fn unmapped_program<'p>(process: &IdentifiedProcess<'p>) -> Option<&'p str> {
    process.program_name().filter(|_| process.process.is_program_mapped == Some(false))
}

/// Returns the script of an interpreter, if the script is really a compiled program.
fn false_script(process: &Process) -> Option<&str> {
    process.script.as_ref().filter(|script| script.is_program).map(|script| script.path.as_str())
}

/// The kernel cuts process names to this many bytes (`TASK_COMM_LEN` of linux/sched.h, without its terminator).
const CUT: usize = 15;

/// Daemons of most Linux systems that serve no port. A listener with one of these names disguises itself. The names are
/// cut to 15 bytes, as in the kernel.
const SYSTEM_DAEMONS: [&str; 13] = [
    "accounts-daemon",
    "agetty",
    "auditd",
    "crond",
    "dbus-daemon",
    "irqbalance",
    "klogd",
    "polkitd",
    "syslogd",
    "systemd-journal",
    "systemd-logind",
    "systemd-udevd",
    "udisksd",
];

/// Returns whether a process gives itself the name of a system daemon. `cron` counts only with its directory in the
/// title, because jobs of applications also use this name.
fn is_system_daemon(name: &str, title: &str) -> bool {
    let cut = name.get(..name.len().min(CUT)).unwrap_or(name);
    SYSTEM_DAEMONS.contains(&cut) || (name == "cron" && title.starts_with("/usr/sbin/cron"))
}

/// Returns the well-known server or system daemon whose name a process falsely claims. The program file has another
/// name. The program is also replaceable, unknown, or an interpreter that runs an unknown script.
fn claimed_server<'p>(process: &IdentifiedProcess<'p>) -> Option<&'p str> {
    let one = process.process;
    let file = process.program_name()?;
    let whole = one.cmdline.first().map(String::as_str).unwrap_or_default();
    let title = one.cmdline.first().and_then(|first| {
        let end = first.bytes().position(|byte| matches!(byte, b' ' | b':')).unwrap_or(first.len());
        first[..end].rsplit('/').next()
    });
    let is_suspect = if process.is_interpreted() {
        !process.is_known()
    } else {
        process.is_replaceable() || !programs::is_listed(file)
    };
    // The thread names of interpreters do not count: an interpreter names its threads too, and a script may have the
    // name of a server.
    let thread = one.name.as_deref().filter(|_| !process.is_interpreted());
    let mut names = title.into_iter().chain(thread);
    // A package can install a link to a program under another name. The kernel then gives the process the name of the
    // link, and the program writes no title.
    let is_link = |name: &str| {
        is_of_package(one)
            && !process.is_interpreted()
            && one
                .name
                .as_deref()
                .is_some_and(|own| own == name || (own.len() == CUT && name.starts_with(own)))
            && !whole.contains([' ', ':'])
    };
    // If the name of the file begins with the claimed name (`redis-server-7.2`), the claim is true.
    names.find(|name| {
        is_suspect
            && !file.starts_with(name)
            && (process.is_replaceable() || !(contains_program(file, name) || is_link(name)))
            && (programs::serves_a_guarded_port(name) || is_system_daemon(name, whole))
    })
}

fn is_of_package(process: &Process) -> bool {
    process.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Package)
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::model::{Owner, Parent, Process};
    use crate::registry::Registry;

    #[test]
    fn a_shell_is_the_listener_unless_a_server_started_it() {
        let shell = |parents: &[u32]| {
            let parents = parents.iter().map(|&pid| Parent::new(pid, "x".to_owned())).collect();
            Process { parents, ..program_process(8, "bash", "/bin/bash", "bash -i") }
        };
        let server = program_process(7, "server", "/usr/sbin/server", "server");
        let child = Process {
            parents: vec![Parent::new(8, "bash".to_owned())],
            ..program_process(9, "cat", "/bin/cat", "cat")
        };
        for (name, processes, is_listener) in [
            ("a shell alone", vec![shell(&[1])], true),
            ("of a server", vec![server.clone(), shell(&[7, 1])], false),
            ("with a child", vec![shell(&[1]), child], true),
            ("with another program", vec![server.clone(), shell(&[1])], false),
            ("of unknown ancestors", vec![server, shell(&[])], false),
        ] {
            let pids: Vec<_> = processes.iter().map(|process| process.pid).collect();
            let report = judge(
                seen(vec![socket("tcp/0.0.0.0:4444", Owner::Held(pids.into()))], processes),
                Registry::embedded(),
            );
            let found = report.entries[0].findings().iter().any(|one| one.flag().code() == "shell-listener");
            assert_eq!(found, is_listener, "{name}");
        }
    }

    /// An ordinary user starts another SSH server on another port.
    #[test]
    fn an_ssh_server_of_a_user_is_named() {
        let sshd = |uid, line: &str, parents: &[&str]| Process {
            uid: Some(uid),
            parents: parents.iter().map(|name| Parent::new(1, (*name).to_owned())).collect(),
            ..program_process(7, "sshd", "/usr/sbin/sshd", line)
        };
        let mut below_own = sshd(1000, "/usr/sbin/sshd -D -p 2222", &["sshd"]);
        below_own.parents.iter_mut().for_each(|parent| parent.uid = Some(1000));
        for (name, process, is_named) in [
            ("of a user", sshd(1000, "/usr/sbin/sshd -D -p 2222 -f /dev/null", &["bash"]), true),
            (
                "with a title",
                sshd(1000, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", &[]),
                true,
            ),
            ("of the system", sshd(0, "/usr/sbin/sshd -D", &["systemd"]), false),
            ("a session", sshd(1000, "sshd: ann@pts/0", &[]), false),
            ("a session by its ancestors", sshd(1000, "x", &["sshd", "systemd"]), false),
            ("below a server of the same user", below_own, true),
        ] {
            let report = judge(
                seen(vec![socket("tcp/0.0.0.0:2222", Owner::Held(vec![7].into()))], vec![process]),
                Registry::embedded(),
            );
            let found = report.entries[0].findings().iter().any(|one| one.flag().code() == "dual-use");
            assert_eq!(found, is_named, "{name}");
        }
    }

    #[test]
    fn a_file_over_a_program_of_the_system_is_a_disguise() {
        for (path, is_disguise) in [("/usr/bin/beep", true), ("/srv/sshd", true), ("/srv/server", false)] {
            let name = path.rsplit('/').next().unwrap();
            let process = Process {
                origin: Some(crate::model::Origin::of(OriginKind::Elsewhere)),
                ..program_process(7, name, path, name)
            };
            let report = judge(
                seen(vec![socket("tcp/0.0.0.0:4444", Owner::Held(vec![7].into()))], vec![process]),
                Registry::embedded(),
            );
            let found = report.entries[0].findings().iter().any(|one| one.flag().code() == "masquerading");
            assert_eq!(found, is_disguise, "{path}");
        }
    }

    #[test]
    fn a_daemon_of_the_system_serves_no_port() {
        for (name, path, line, is_disguise) in [
            ("cron", "/var/lib/a/b", "/usr/sbin/cron -f", true),
            ("cron", "/srv/app/worker", "cron", false),
            ("systemd-journal", "/opt/a", "/usr/lib/systemd/systemd-journald", true),
            ("/sbin/syslogd", "/usr/bin/perl", "/sbin/syslogd", true),
            ("dbus-daemon", "/usr/bin/dbus-daemon", "dbus-daemon --session", false),
            ("syslogd", "/bin/busybox", "syslogd -n", false),
            ("kubelet", "/usr/local/bin/hyperkube", "kubelet --v=1", false),
            ("sshd", "/usr/local/bin/hyperkube", "sshd -D", true),
        ] {
            let process = program_process(7, name, path, line);
            let report = judge(
                seen(vec![socket("tcp/0.0.0.0:6660", Owner::Held(vec![7].into()))], vec![process]),
                Registry::embedded(),
            );
            let found = report.entries[0].findings().iter().any(|one| one.flag().code() == "masquerading");
            assert_eq!(found, is_disguise, "{line}");
        }
    }

    /// `tail` from a package with the title of a web server is a disguise. A program that a package installed under
    /// another name is not a disguise.
    #[test]
    fn a_title_on_a_program_of_a_package() {
        for (name, title, is_disguise) in [
            ("tail", "nginx: master process /usr/sbin/nginx -g daemon off;", true),
            ("nginx", "nginx: master process", true),
            ("sshd", "/usr/sbin/sshd", false),
            ("tail", "tail: following", false),
        ] {
            let process = Process {
                cmdline: vec![title.to_owned(), "-f".to_owned()],
                origin: Some(crate::model::Origin::of(OriginKind::Package)),
                ..program_process(7, name, "/usr/bin/tail", "")
            };
            let report = judge(
                seen(vec![socket("tcp/0.0.0.0:80", Owner::Held(vec![7].into()))], vec![process]),
                Registry::embedded(),
            );
            let found = report.entries[0].findings().iter().any(|one| one.flag().code() == "masquerading");
            assert_eq!(found, is_disguise, "{title}");
        }
    }

    #[test]
    fn names_of_kernel_threads() {
        for (comm, argument, name) in [
            ("x", "[kworker/u8:2]", Some("[kworker/u8:2]")),
            ("kworker/u8:2", "x", Some("kworker/u8:2")),
            ("kswapd0", "./kswapd0", Some("kswapd0")),
            ("x", "kthreadd", Some("kthreadd")),
            ("migration/0", "x", Some("migration/0")),
            ("[kworker/1:0]", "", Some("[kworker/1:0]")),
            ("jbd2/sda1-8", "", Some("jbd2/sda1-8")),
            ("nfsd", "", Some("nfsd")),
            ("nfsd", "/usr/sbin/nfsd", None),
            ("nginx", "", None),
            ("khungtaskd", "x", Some("khungtaskd")),
            // These names do not look like kernel threads: a watchdog daemon, a job of Celery, and a file name.
            ("watchdog", "/usr/sbin/watchdog", None),
            ("python3", "[celeryd: worker@host]", None),
            ("x", "kworker.py", None),
            ("x", "/usr/lib/kworker", None),
        ] {
            let process =
                Process { cmdline: vec![argument.to_owned()], ..program_process(7, comm, "/usr/sbin/x", "") };
            assert_eq!(kernel_thread_name(&process), name, "{comm} {argument}");
        }
    }

    /// The table lists the name `[TS_MAIN]` only for the file of Traffic Server.
    #[test]
    fn a_process_name_in_brackets_that_belongs_to_its_program() {
        for (exe, first, name) in [
            ("/usr/bin/traffic_server", "/usr/bin/traffic_server", None),
            ("/usr/bin/traffic_server", "[kworker/0:1]", Some("[kworker/0:1]")),
            ("/usr/bin/socat", "/usr/bin/traffic_server", Some("[TS_MAIN]")),
        ] {
            let cmdline = vec![first.to_owned()];
            let process = Process { cmdline, ..program_process(7, "[TS_MAIN]", exe, "") };
            assert_eq!(kernel_thread_name(&process), name, "{exe} {first}");
        }
    }
}
