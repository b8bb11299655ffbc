//! Completes the sockets from netstat2 on Windows. Adds the full paths and account names of their processes, the
//! services in these processes, and the hidden processes.
//!
//! Every user can see the process of each socket in the table of sockets. Process 4 is the kernel. A connection of
//! process 0 no longer belongs to a process. For a listener of process 0, the system does not give the owner.
//!
//! A process that may not be opened is hidden. Its file and its user are not known, and its name alone is not evidence.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::windows::io::AsHandle;
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(super) use super::netstat::sockets;

use super::winapi;
use super::{EphemeralSettings, assumed};
use crate::model::{
    EphemeralRange, Exe, ExeState, Family, Gap, Owner, Pid, PortRange, Process, Protocol, Socket, Stage,
    State,
};
use crate::observe::Scope;

pub(super) const NOTES: &[&str] =
    &["this system does not report the peers of UDP sockets, so connected sockets are listed as if \
        they accepted traffic from anyone; bound TCP sockets that do not listen are not listed"];

/// The System Idle Process, and System.
const IDLE: Pid = 0;
const SYSTEM: Pid = 4;

/// The number of hidden processes that a gap names.
const NAMED: usize = 24;

pub(super) fn privileged() -> bool {
    winapi::is_elevated().unwrap_or(false)
}

pub(super) fn is_user(name: &str) -> bool {
    winapi::is_account(name)
}

#[derive(Debug)]
enum Opened {
    /// The path of the program file, or the error if the path could not be read.
    Here(io::Result<String>),
    Denied,
    Gone,
}

fn open(pid: Pid) -> Opened {
    match winapi::open(pid) {
        Ok(process) => Opened::Here(winapi::image(process.as_handle())),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Opened::Gone,
        Err(_) => Opened::Denied,
    }
}

pub(super) fn add_system_details(
    scope: &Scope,
    privileged: bool,
    sockets: &mut [Socket],
    processes: &mut [Process],
    gaps: &mut Vec<Gap>,
) {
    let opened: HashMap<Pid, Opened> = processes
        .iter()
        .filter(|process| !matches!(process.pid, IDLE | SYSTEM))
        .map(|process| (process.pid, open(process.pid)))
        .collect();
    // The sockets are listed again, because another process may have inherited the socket of a process that has ended.
    let again = if opened.values().any(|opened| matches!(opened, Opened::Gone)) {
        self::sockets(scope, &mut Vec::new())
    } else {
        Vec::new()
    };
    let mut hidden: BTreeMap<Pid, Vec<String>> = BTreeMap::new();
    for socket in sockets.iter_mut() {
        let Some(pid) = socket.owner.pids().first().copied() else { continue };
        let Some(owner) = owner(pid, socket.state, opened.get(&pid), || again.contains(socket)) else {
            continue;
        };
        if owner == Owner::Hidden {
            hidden.entry(pid).or_default().push(format!("{} {}", socket.local.protocol, socket.local.port));
        }
        socket.owner = owner;
    }
    gaps.extend(unopened(&hidden, processes, privileged));
    let services = match winapi::services() {
        Ok(services) => services,
        Err(error) => {
            gaps.push(Gap::new(Stage::Processes, "the services that the processes host", error.to_string()));
            BTreeMap::new()
        }
    };
    let mut accounts: HashMap<String, String> = HashMap::new();
    let mut unread = 0_u64;
    for process in processes {
        let Some(Opened::Here(path)) = opened.get(&process.pid) else { continue };
        // If the full path could not be read, the path is unknown. The path from sysinfo is not used, because it can be
        // empty or cut off.
        let exe =
            |path: &String| Exe { path: path.clone(), state: ExeState::Present, open_directories: None };
        process.exe = path.as_ref().ok().map(exe);
        if let Some(sid) = process.user.take() {
            let name = accounts
                .entry(sid)
                .or_insert_with_key(|sid| winapi::account(sid).unwrap_or_else(|_| sid.clone()));
            process.user = Some(name.clone());
        }
        process.unit = services.get(&process.pid).map(|names| names.join(", "));
        unread += u64::from(process.exe.is_none());
    }
    if unread > 0 {
        gaps.push(Gap {
            remedy: remedy(privileged),
            ..Gap::new(
                Stage::Processes,
                match unread {
                    1 => "process whose program file could not be read".to_owned(),
                    _ => "processes whose program files could not be read".to_owned(),
                },
                "the system does not report the files",
            )
            .counted(unread)
        });
    }
}

/// Returns the owner to show in place of a process that must not be listed. Returns `None` for an ordinary process.
/// `lives_on` returns whether the socket still exists.
fn owner(pid: Pid, state: State, opened: Option<&Opened>, lives_on: impl Fn() -> bool) -> Option<Owner> {
    match (pid, opened) {
        (SYSTEM, _) => Some(Owner::Kernel),
        (IDLE, _) if !state.holds_port() => Some(Owner::Kernel),
        (IDLE, _) => Some(Owner::Unknown),
        (_, Some(Opened::Gone)) if lives_on() => Some(Owner::Unknown),
        (_, Some(Opened::Gone)) => Some(Owner::Vanished),
        (_, Some(Opened::Denied)) => Some(Owner::Hidden),
        _ => None,
    }
}

/// Returns the remedy for an ordinary user; `None` for an administrator, who already has all rights.
fn remedy(privileged: bool) -> Option<String> {
    (!privileged).then(|| "run as administrator".to_owned())
}

/// Returns the gap for the processes that may not be opened. It lists their sockets and names. Any user can choose the
/// name of a process.
fn unopened(hidden: &BTreeMap<Pid, Vec<String>>, processes: &[Process], privileged: bool) -> Option<Gap> {
    if hidden.is_empty() {
        return None;
    }
    let text = |(pid, sockets): (&Pid, &Vec<String>)| {
        let name =
            processes.iter().find(|process| process.pid == *pid).and_then(|process| process.name.as_deref());
        format!("{pid} {} ({})", name.unwrap_or("?"), sockets.join(", "))
    };
    let mut list: Vec<String> = hidden.iter().take(NAMED).map(text).collect();
    if hidden.len() > NAMED {
        list.push(format!("and {} more", hidden.len() - NAMED));
    }
    Some(Gap {
        remedy: remedy(privileged),
        ..Gap::new(
            Stage::Owners,
            format!(
                "process{} that could not be opened: {}",
                if hidden.len() == 1 { "" } else { "es" },
                list.join("; ")
            ),
            "access denied",
        )
        .counted(hidden.len())
    })
}

/// The dynamic range of RFC 6335, and the default since Windows Vista.
const DEFAULT_RANGE: PortRange = PortRange { low: 49152, high: 65535 };

const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the range for each protocol and family. It is read once per run with netsh, the only documented tool.
pub(super) fn ephemeral() -> EphemeralSettings {
    static SETTING: OnceLock<Result<Vec<EphemeralRange>, String>> = OnceLock::new();
    match SETTING.get_or_init(setting) {
        Ok(of) => {
            let mut ranges: Vec<PortRange> = of.iter().map(|of| of.ports).collect();
            ranges.sort_unstable();
            ranges.dedup();
            let source = "netsh int ipv4|ipv6 show dynamicport tcp|udp".to_owned();
            EphemeralSettings { ranges, of: of.clone(), source, gap: None }
        }
        Err(why) => EphemeralSettings::default_of(DEFAULT_RANGE, Some(assumed(DEFAULT_RANGE, why.clone()))),
    }
}

fn setting() -> Result<Vec<EphemeralRange>, String> {
    let tool = winapi::system_directory().map_err(|error| error.to_string())?.join("netsh.exe");
    let ask = |protocol: Protocol, family: Family| {
        let question = ["int", family.name(), "show", "dynamicport", protocol.name()];
        let said = format!("netsh {}", question.join(" "));
        let child = start(&tool, &question).map_err(|error| format!("{said}: {error}"))?;
        Ok((protocol, family, said, child))
    };
    // All four requests are started at once, because each program takes time to start.
    let started: Result<Vec<_>, String> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| [Family::Ipv4, Family::Ipv6].map(|family| (protocol, family)))
        .map(|(protocol, family)| ask(protocol, family))
        .collect();
    let until = Instant::now() + PATIENCE;
    started?
        .into_iter()
        .map(|(protocol, family, said, child)| {
            let text = answer(child, until).map_err(|error| format!("{said}: {error}"))?;
            let ports = range(&text).ok_or_else(|| format!("{said}: its answer was not understood"))?;
            Ok(EphemeralRange { protocol, family, ports })
        })
        .collect()
}

/// `CREATE_NO_WINDOW`: the tool opens no console window.
const NO_WINDOW: u32 = 0x0800_0000;

fn start(tool: &Path, question: &[&str]) -> io::Result<Child> {
    Command::new(tool)
        .args(question)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .creation_flags(NO_WINDOW)
        .spawn()
}

/// Returns the output of the tool. A tool that does not end in time is killed. The output is read after the tool has
/// ended, so it must fit into the buffer of a pipe.
fn answer(mut child: Child, until: Instant) -> io::Result<Vec<u8>> {
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the program did not end in time"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?.stdout)
}

/// Parses the first port and the number of ports, each at the end of a line. The text before them is ignored, because
/// it depends on the language and the code page of the system.
fn range(text: &[u8]) -> Option<PortRange> {
    let mut numbers =
        text.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::trim_ascii_end).filter_map(|line| {
            let begin = line.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
            std::str::from_utf8(line.get(begin..)?).ok()?.parse::<u16>().ok()
        });
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(low), Some(count), None) => PortRange::new(low, low.checked_add(count.checked_sub(1)?)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_any_language() {
        let usual = Some(PortRange { low: 49152, high: 65535 });
        for (about, text, wanted) in [
            (
                "English",
                &b"\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\n\
                  Start Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n"[..],
                usual,
            ),
            (
                "other words (these are nobody's output), and a byte that is not UTF-8",
                b"\r\nDynamischer Portbereich f\x81r Protokoll tcp\r\n---\r\n\
                  Startport         : 49152\r\nAnzahl von Ports  : 16384\r\n",
                usual,
            ),
            ("another range", b"Start Port : 1025\nNumber of Ports : 64510\n", PortRange::new(1025, 65534)),
            ("nothing", b"", None),
            ("one number", b"Start Port : 49152\n", None),
            ("three numbers", b"a : 1\nb : 2\nc : 3\n", None),
            ("beyond the last port", b"a : 65535\nb : 2\n", None),
            ("none", b"a : 49152\nb : 0\n", None),
            ("no port", b"a : 70000\nb : 2\n", None),
        ] {
            assert_eq!(range(text), wanted, "{about}");
        }
    }

    #[test]
    fn owners_are_distinguished() {
        let here = Opened::Here(Ok("C:\\x.exe".to_owned()));
        for (about, pid, state, opened, lives_on, wanted) in [
            ("System", 4, State::Listen, None, true, Some(Owner::Kernel)),
            ("what is nobody's any more", 0, State::TimeWait, None, true, Some(Owner::Kernel)),
            ("a listener of nobody", 0, State::Listen, None, true, Some(Owner::Unknown)),
            (
                "ended, its socket with it",
                912,
                State::Listen,
                Some(&Opened::Gone),
                false,
                Some(Owner::Vanished),
            ),
            (
                "ended, its socket inherited",
                912,
                State::Listen,
                Some(&Opened::Gone),
                true,
                Some(Owner::Unknown),
            ),
            ("protected", 912, State::Listen, Some(&Opened::Denied), true, Some(Owner::Hidden)),
            ("a process as any", 912, State::Listen, Some(&here), true, None),
        ] {
            assert_eq!(owner(pid, state, opened, || lives_on), wanted, "{about}");
        }
    }

    #[test]
    fn what_may_not_be_opened_is_a_gap() {
        let hidden = BTreeMap::from([(912, vec!["tcp 135".to_owned(), "tcp 49664".to_owned()])]);
        let mut process = Process::unknown(912);
        process.name = Some("svchost.exe".to_owned());
        let gap = unopened(&hidden, &[process], false).unwrap();
        assert_eq!(gap.what, "process that could not be opened: 912 svchost.exe (tcp 135, tcp 49664)");
        assert_eq!((gap.count, gap.remedy.as_deref()), (Some(1), Some("run as administrator")));
        assert_eq!(unopened(&BTreeMap::new(), &[], false), None);
    }
}
