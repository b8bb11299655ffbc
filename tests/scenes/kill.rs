//! `portolan kill` ends what its targets name, and nothing else.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("kill_ends_a_process_and_not_its_children", children),
    ("kill_shows_what_else_ends", others),
    ("kill_ends_one_of_two_programs_on_a_port", two_programs),
    ("kill_ends_a_worker_that_is_left_behind", left_behind),
    ("kill_with_force_ends_what_ignores_sigterm", force),
    ("kill_ends_a_stopped_process", stopped),
    ("kill_refuses_a_hidden_owner", hidden),
    ("kill_refuses_what_another_user_opened", opened_by_another),
    ("kill_refuses_its_own_ancestor", ancestor),
    ("kill_asks_first", asks),
    ("kill_finds_nothing", nothing),
];

/// Runs `portolan kill`; returns its exit code, standard output and standard error.
pub fn kill(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, String, String), Failed> {
    let output = lab.portolan(["kill"].iter().chain(arguments)).output()?;
    texts(&output)
}

pub fn texts(output: &Output) -> Result<(Option<i32>, String, String), Failed> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    Ok((output.status.code(), text(&output.stdout)?, text(&output.stderr)?))
}

fn children(lab: &Lab) -> Outcome {
    lab.alone()?;
    // The shell owns the socket, and its child does not.
    let mut shell = shell("sleep 600 </dev/null & wait", "127.0.0.1:8700")?;
    let child = until(|| child_of(shell.pid()))?;
    let (code, out, err) = kill(lab, &["8700", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains(&format!("sleep (pid {child})")), true, "{out}");
    same!(shell.has_ended(), true);
    same!(lives(child), true);
    Ok(())
}

/// Starts a shell that owns a listener as its standard input. This process does not keep the socket.
pub fn shell(script: &str, address: &str) -> Result<Server, Failed> {
    Server::spawn(Command::new("/bin/bash").args(["-c", script]).stdin(tcp(address)?).stdout(Stdio::null()))
}

/// Returns both ends of a new terminal: the user's and the program's.
pub fn terminal() -> Result<(OwnedFd, OwnedFd), Failed> {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = openpt(flags)?;
    grantpt(&user)?;
    unlockpt(&user)?;
    let line = ioctl_tiocgptpeer(&user, flags)?;
    Ok((user, line))
}

/// Returns the first process that this process started.
pub fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Returns whether a process lives: nobody waits for a child whose parent ended, so it may stay as a zombie.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Tries again until there is a value.
pub fn until<T>(mut value: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    for _ in 0..2000 {
        if let Some(value) = value() {
            return Ok(value);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err("it never happened".into())
}

fn others(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut server = Server::start(&sleep(), vec![tcp("127.0.0.1:8701")?, tcp("127.0.0.1:8702")?])?;
    let mut other = Server::start(&sleep(), vec![tcp("127.0.0.1:8703")?])?;
    let (code, out, _) = kill(lab, &["8701", "--dry-run"])?;
    same!(code, Some(0));
    same!(out.contains(&format!("Would run   kill {}\n", server.pid())), true, "{out}");
    same!(out.contains("Ends too    sleep on tcp 127.0.0.1:8702\n"), true, "{out}");
    same!(out.contains("8703"), false, "{out}");
    same!((server.has_ended(), other.has_ended()), (false, false));
    let (code, out, err) = kill(lab, &["8701", "-y"])?;
    same!(code, Some(0), "{out}{err}");
    same!((server.has_ended(), other.has_ended()), (true, false));
    Ok(())
}

fn shared(port: u16) -> Result<OwnedFd, Failed> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port)))?;
    listen(&socket, 16)?;
    Ok(socket)
}

fn two_programs(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut one = Server::start(&lab.sleeper_called(b"one")?, vec![shared(8704)?])?;
    let mut two = Server::start(&lab.sleeper_called(b"two")?, vec![shared(8704)?])?;
    // The port is not free while the other program listens.
    let (code, _, err) = kill(lab, &["one", "--yes"])?;
    same!(code, Some(1), "{err}");
    same!(err.contains("still in use"), true, "{err}");
    same!((one.has_ended(), two.has_ended()), (true, false));
    let (code, out, err) = kill(lab, &["8704", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(two.has_ended(), true);
    Ok(())
}

/// The process that started the other ends at once; the other owns the socket too, and does not end with it.
fn left_behind(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut shell = shell("sleep 600 <&0 & wait", "127.0.0.1:8705")?;
    let child = until(|| child_of(shell.pid()))?;
    let (code, out, err) = kill(lab, &["8705", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains(&format!("kill {}\n", shell.pid())), true, "{out}");
    same!(shell.has_ended(), true);
    same!(lives(child), false);
    Ok(())
}

fn force(lab: &Lab) -> Outcome {
    lab.alone()?;
    // An ignored signal stays ignored in the program that the shell becomes.
    let mut server = shell("trap '' TERM; exec sleep 600", "127.0.0.1:8706")?;
    until(|| {
        std::fs::read_to_string(format!("/proc/{}/comm", server.pid())).ok().filter(|name| name == "sleep\n")
    })?;
    let (code, _, err) = kill(lab, &["8706", "--yes"])?;
    same!(code, Some(2), "{err}");
    same!(err.contains("add --force to send SIGKILL"), true, "{err}");
    same!(server.has_ended(), false);
    let (code, out, err) = kill(lab, &["8706", "--yes", "--force"])?;
    same!(code, Some(0), "{out}{err}");
    same!(server.has_ended(), true);
    Ok(())
}

fn stopped(lab: &Lab) -> Outcome {
    use rustix::process::{Pid, Signal, kill_process};
    lab.alone()?;
    let mut server = Server::start(&sleep(), vec![tcp("127.0.0.1:8707")?])?;
    // This process is outside the scene's pid namespace.
    let outer = i32::try_from(server.outer_pid())?;
    kill_process(Pid::from_raw(outer).ok_or("no pid")?, Signal::STOP)?;
    let (code, out, err) = kill(lab, &["8707", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(server.has_ended(), true);
    Ok(())
}

fn hidden(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut server = Server::start(&sleep(), vec![tcp("127.0.0.1:8708")?])?;
    let mut own = Server::start_as(&sleep(), vec![tcp("127.0.0.1:8709")?], Some(NOBODY))?;
    let mut command = lab.portolan(["kill", "8708", "8709", "--yes"]);
    let (code, _, err) = texts(&command.uid(NOBODY).gid(NOBODY).output()?)?;
    same!(code, Some(2), "{err}");
    same!(
        err.contains("tcp 127.0.0.1:8708: not ended: its process is not visible; run with sudo"),
        true,
        "{err}"
    );
    // Each refusal has a line of its own.
    let _second = Server::start(&sleep(), vec![tcp("127.0.0.1:8715")?])?;
    let mut command = lab.portolan(["kill", "8708", "8715", "--yes"]);
    let (_, _, both) = texts(&command.uid(NOBODY).gid(NOBODY).output()?)?;
    let lines: Vec<bool> = both.lines().map(|line| line.starts_with("portolan: ")).collect();
    same!((lines.as_slice(), both.matches("not ended").count()), (&[true; 2][..], 2), "{both}");
    // Nothing is ended if one of the targets may not be ended.
    same!((server.has_ended(), own.has_ended()), (false, false));
    Ok(())
}

/// Root opened the socket and may open it again; only the worker of another user is visible.
fn opened_by_another(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = tcp("127.0.0.1:8710")?;
    let mut main = Server::start(&sleep(), vec![socket.try_clone()?])?;
    let mut worker = Server::start_as(&sleep(), vec![socket], Some(NOBODY))?;
    let mut command = lab.portolan(["kill", "8710", "--yes"]);
    let (code, _, err) = texts(&command.uid(NOBODY).gid(NOBODY).output()?)?;
    same!(code, Some(2), "{err}");
    same!(err.contains("user root created its socket, and no process of root is visible"), true, "{err}");
    same!((main.has_ended(), worker.has_ended()), (false, false));
    Ok(())
}

fn ancestor(lab: &Lab) -> Outcome {
    // This process started the program, and owns the socket.
    let _own = tcp("127.0.0.1:8711")?;
    let (code, _, err) = kill(lab, &["8711", "--yes"])?;
    same!(code, Some(2), "{err}");
    same!(
        err.contains(&format!("(pid {}) is portolan, or started portolan", std::process::id())),
        true,
        "{err}"
    );
    Ok(())
}

fn asks(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut server = Server::start(&sleep(), vec![tcp("127.0.0.1:8712")?])?;
    let (code, out, err) = kill(lab, &["8712"])?;
    same!(code, Some(2), "{out}");
    same!(err.contains("add --yes"), true, "{err}");
    same!(server.has_ended(), false);
    Ok(())
}

fn nothing(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut server = Server::start(&sleep(), vec![tcp("127.0.0.1:8713")?])?;
    let (code, _, err) = kill(lab, &["8714", "--yes"])?;
    same!((code, &*err), (Some(1), "portolan: 8714: no listener; nothing was ended\n"));
    let (code, _, err) = kill(lab, &["--user", "root", "--yes"])?;
    same!(code, Some(2));
    same!(err.contains("kill needs a target"), true, "{err}");
    same!(server.has_ended(), false);
    Ok(())
}
