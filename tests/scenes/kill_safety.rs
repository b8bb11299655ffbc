//! `portolan kill` with a reused pid, the first process, the kernel, and processes that end together: nothing ends in
//! place of a target.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;

use crate::kill::{child_of, kill, lives, shell, terminal, until};
use crate::kill_groups::{Groups, stand_in};
use crate::lab::{Lab, Outcome, Scene, Server, on_port, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("kill_spares_a_newcomer_with_the_pid_and_port_of_its_target", newcomer),
    ("kill_spares_a_newcomer_with_the_pid_of_a_later_target", late_newcomer),
    ("kill_ends_nothing_if_its_target_no_longer_listens", no_longer),
    ("kill_refuses_the_first_process", first_process),
    ("kill_refuses_a_socket_of_the_kernel", kernel),
    ("kill_names_what_its_signals_end_too", together),
];

/// `portolan kill` on a terminal, which waits for its answer.
struct Asking {
    child: Option<Child>,
    terminal: fs::File,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Asking {
    /// Starts the command and waits for its question.
    fn start(lab: &Lab, arguments: &[&str]) -> Result<Self, Failed> {
        let (user, line) = terminal()?;
        let mut command = lab.portolan(["kill"].iter().chain(arguments));
        command.stdin(line.as_fd().try_clone_to_owned()?).stderr(line).stdout(Stdio::piped());
        let mut asking = Asking { child: Some(command.spawn()?), terminal: fs::File::from(user) };
        // The command has copies of the terminal.
        drop(command);
        let mut asked = Vec::new();
        while !asked.ends_with(b"[y/N] ") {
            let mut byte = [0];
            asking
                .terminal
                .read_exact(&mut byte)
                .map_err(|_| String::from_utf8_lossy(&asked).into_owned())?;
            asked.extend(byte);
        }
        Ok(asking)
    }

    /// Answers yes; returns the exit code, standard output and what the terminal shows after the question.
    fn answer(mut self) -> Result<(Option<i32>, String, String), Failed> {
        self.terminal.write_all(b"y\n")?;
        let output = self.child.take().ok_or("no process")?.wait_with_output()?;
        let mut shown = Vec::new();
        // After the last byte, reading is an error, because the program has closed its end.
        let _ = self.terminal.read_to_end(&mut shown);
        Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(shown)?))
    }
}

/// Starts a server that gets this pid, which no process has, in the scene's pid namespace.
fn server_with_pid(pid: u32, address: &str) -> Result<Server, Failed> {
    for _ in 0..50 {
        let script = format!("echo {} >/proc/sys/kernel/ns_last_pid", pid - 1);
        same!(Command::new("/bin/sh").args(["-c", &script]).status()?.success(), true);
        let server = Server::start(&sleep(), vec![tcp(address)?])?;
        if server.pid() == pid {
            return Ok(server);
        }
    }
    Err(format!("no process gets pid {pid}").into())
}

/// Between the question and the answer, the target ends, and another process gets its pid and its port.
fn newcomer(lab: &Lab) -> Outcome {
    lab.alone()?;
    let target = Server::start(&sleep(), vec![tcp("127.0.0.1:8720")?])?;
    let pid = target.pid();
    let asking = Asking::start(lab, &["8720"])?;
    drop(target);
    let mut newcomer = server_with_pid(pid, "127.0.0.1:8720")?;
    let (code, out, shown) = asking.answer()?;
    same!(code, Some(2), "{out}{shown}");
    same!(
        shown.contains("the listeners have changed since portolan asked; nothing was ended"),
        true,
        "{shown}"
    );
    same!(newcomer.has_ended(), false);
    Ok(())
}

/// The first target ends slowly. Meanwhile the second one ends, and another process gets its pid.
fn late_newcomer(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (ready, signalled, ends) = (lab.path("ready"), lab.path("signalled"), lab.path("ends"));
    let script = format!(
        "trap ': >{signalled}; until [ -e {ends} ]; do sleep 0.01 </dev/null; done; exit' TERM; : >{ready}; while :; do sleep 0.01 </dev/null; done"
    );
    let mut slow = shell(&script, "127.0.0.1:8721")?;
    until(|| Path::new(&ready).exists().then_some(()))?;
    let target = Server::start(&sleep(), vec![tcp("127.0.0.1:8722")?])?;
    let pid = target.pid();
    let mut command = lab.portolan(["kill", "8721", "8722", "--yes"]);
    let mut killing = Server::spawn(command.stdout(Stdio::null()))?;
    until(|| Path::new(&signalled).exists().then_some(()))?;
    drop(target);
    let mut newcomer = server_with_pid(pid, "127.0.0.1:8723")?;
    fs::write(&ends, "")?;
    same!(until(|| killing.exit_code())?, Some(0));
    same!((slow.has_ended(), newcomer.has_ended()), (true, false));
    Ok(())
}

/// Before the answer, the target closes its port and goes on with something else.
fn no_longer(lab: &Lab) -> Outcome {
    lab.alone()?;
    let ends = lab.path("ends");
    let script = format!(
        "until [ -e {ends} ]; do sleep 0.01 </dev/null; done; exec </dev/null; : >{ends}.done; sleep 600"
    );
    let mut target = shell(&script, "127.0.0.1:8724")?;
    let asking = Asking::start(lab, &["8724"])?;
    fs::write(&ends, "")?;
    until(|| Path::new(&format!("{ends}.done")).exists().then_some(()))?;
    let (code, out, shown) = asking.answer()?;
    same!(code, Some(1), "{out}{shown}");
    same!(shown.contains("8724: no listener; nothing was ended"), true, "{shown}");
    same!(target.has_ended(), false);
    Ok(())
}

/// The first process listens in the control group of a unit, and the unit is not stopped either.
fn first_process(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    let calls = stand_in(lab, "systemctl", "")?;
    lab.alone_listening(&groups.unit("front.service")?, "127.0.0.1:8725")?;
    let mut other = Server::start(&sleep(), vec![tcp("127.0.0.1:8726")?])?;
    for force in [&["8725", "8726", "--yes"][..], &["8725", "8726", "--yes", "--force"]] {
        let (code, out, err) = kill(lab, force)?;
        same!(code, Some(2), "{out}{err}");
        same!(err.contains("127.0.0.1:8725: not ended: pid 1 runs the whole system"), true, "{err}");
        same!(other.has_ended(), false);
        same!(calls(), "");
        same!(std::net::TcpStream::connect("127.0.0.1:8725").is_ok(), true);
    }
    Ok(())
}

fn kernel(lab: &Lab) -> Outcome {
    crate::wires::vxlan("vx0", 8727)?;
    let mut other = Server::start(&sleep(), vec![tcp("127.0.0.1:8728")?])?;
    let (code, out, err) = kill(lab, &["8727", "8728", "--yes", "--force"])?;
    same!(code, Some(2), "{out}{err}");
    // If a process of this machine cannot be read, the owner is not known.
    let report = lab.json(&["8727"])?;
    let why = match on_port(&report, 8727)?["owner"].as_str() {
        Some("kernel") => "its socket belongs to the kernel",
        _ => "its process is not visible, even to root",
    };
    same!(err.contains(&format!("udp 0.0.0.0:8727: not ended: {why}")), true, "{err}");
    same!(other.has_ended(), false);
    Ok(())
}

/// A child that also owns the port serves another port, and the first process of a pid namespace takes all others with
/// it.
fn together(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut shell = Command::new("/bin/bash");
    let shell = shell.args(["-c", "sleep 600 <&0 & exec >/dev/null; wait"]);
    let mut shell = Server::spawn(shell.stdin(tcp("127.0.0.1:8730")?).stdout(tcp("127.0.0.1:8731")?))?;
    let child = until(|| child_of(shell.pid()))?;
    let (code, out, err) = kill(lab, &["8730", "--dry-run"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains("Ends too    sleep on tcp 127.0.0.1:8731\n"), true, "{out}");
    same!((shell.has_ended(), lives(child)), (false, true));

    let first = lab.helper(["contained", "-", "-", "127.0.0.1:8732"])?;
    let [_, pid, inner] = &first.said[..] else { return Err(format!("{:?}", first.said).into()) };
    let (code, out, err) = kill(lab, &["8732", "--dry-run"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains(&format!("kill {pid}\n")), true, "{out}");
    let with_it = format!("Ends too    sleep (pid {inner}) in the pid namespace");
    same!(out.contains(&with_it), true, "{out}");
    same!(out.contains("get no signal"), false, "{out}");
    Ok(())
}
