//! The required reports of `watch`: listeners that appear, vanish, change their owner or widen, and changed gaps.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, pids, remount_proc, sleep, tcp, udp, unmount_proc};
use crate::published::{has_tools, sh};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("watch_reports_listeners_that_start_and_end", comes_and_goes),
    ("watch_reports_a_listener_between_two_scans", between_two_scans),
    ("watch_reports_that_another_process_has_the_port", change_of_hands),
    ("watch_reports_another_program_in_the_same_process", another_program),
    ("watch_reports_a_file_that_is_replaced", file_replaced),
    ("watch_reports_that_a_process_closed_a_shared_socket", lets_go),
    ("watch_is_quiet_about_a_restart", restart),
    ("watch_reports_wider_and_narrower_reach", wider_and_narrower),
    ("watch_reports_rules_of_the_firewall", rules),
    ("watch_reports_when_proc_is_unmounted_and_mounted_again", hidden_parts),
    ("watch_as_nobody", as_nobody),
    ("watch_reports_only_its_targets", targets),
    ("watch_ends_when_its_reader_leaves", reader_leaves),
];

/// A listener that no scan can find. The kernel names neither its process nor its state, and its message can be late.
fn between_two_scans(lab: &Lab) -> Outcome {
    let (watch, _) = Watch::start(lab, &[])?;
    watch.settled()?;
    let mut events: Vec<Value> = Vec::new();
    // Opens and closes listeners, each on a port of its own, until one of them is reported.
    let mut ports = 20_000_u16..;
    let mut report_one = |events: &mut Vec<Value>| -> Outcome {
        for port in ports.by_ref().take(100) {
            watch.between_looks(|| {
                let listener = tcp(&format!("0.0.0.0:{port}"))?;
                // A client that was refused also has a local port and no peer.
                same!(std::net::TcpStream::connect("127.0.0.1:3417").is_err(), true);
                drop(listener);
                Ok(())
            })?;
            let before = events.len();
            while let Ok(event) = watch.events.recv_timeout(Duration::from_millis(300)) {
                events.push(event);
            }
            if events[before..].iter().any(|event| is_of(event, 20_000..)) {
                return Ok(());
            }
        }
        Err("no listener is reported".into())
    };
    report_one(&mut events)?;
    // A listener that a scan has found is reported once. The message about it arrives before that about a later one.
    let server = Server::start(&sleep(), vec![tcp("127.0.0.1:8001")?])?;
    while !events.iter().any(|event| is_of(event, 8001..=8001)) {
        events.push(watch.next()?);
    }
    drop(server);
    report_one(&mut events)?;
    report_one(&mut events)?;
    for event in events.iter().filter(|event| event["listener"].is_object()) {
        let listener = &event["listener"];
        if listener["port"] == 8001 {
            same!(listener["state"], "listen");
            continue;
        }
        same!(is_of(event, 20_000..), true, "{event}");
        same!((&listener["state"], &listener["owner"]), (&"bound".into(), &"vanished".into()));
        same!((&listener["exposure"], &listener["uid"]), (&"any".into(), &0.into()));
    }
    let appeared = |event: &&Value| event["event"] == "appeared";
    let mut seen: Vec<&Value> =
        events.iter().filter(appeared).map(|event| &event["listener"]["port"]).collect();
    let count = seen.len();
    seen.sort_by_key(|port| port.as_u64());
    seen.dedup();
    same!(seen.len(), count, "a socket is reported twice");
    Ok(())
}

/// Returns whether the event is about a listener on one of these ports.
fn is_of(event: &Value, ports: impl std::ops::RangeBounds<u64>) -> bool {
    event["listener"]["port"].as_u64().is_some_and(|port| ports.contains(&port))
}

/// The longest wait for any event.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running watch, and the events it writes.
pub struct Watch {
    pub child: Child,
    events: Receiver<Value>,
}

impl Watch {
    /// Starts `watch` and reads its first line.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<(Self, Value), Failed> {
        let all = ["watch", "-o", "json", "--interval", "0.1"];
        Self::run(lab.portolan(all.iter().chain(arguments)))
    }

    fn run(mut command: Command) -> Result<(Self, Value), Failed> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let watch = Watch { child, events };
        let start = watch.next()?;
        same!(start["event"], "start");
        Ok((watch, start))
    }

    fn any(&self) -> Result<Value, Failed> {
        self.events.recv_timeout(PATIENCE).map_err(|error| format!("no event: {error}").into())
    }

    /// Returns the next event about a listener: other activity on the machine may cause events about gaps at any time.
    fn next(&self) -> Result<Value, Failed> {
        loop {
            let event = self.any()?;
            if event["event"] != "complete" && event["event"] != "incomplete" {
                return Ok(event);
            }
        }
    }

    /// Waits until `watch` has scanned so often that a scan costs little: it sleeps once per scan.
    fn settled(&self) -> Outcome {
        let sleeps = || -> Result<u64, Failed> {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            Ok(line.ok_or("no count of sleeps")?.trim().parse()?)
        };
        let (began, before) = (Instant::now(), sleeps()?);
        while sleeps()? < before + 15 {
            same!(began.elapsed() < PATIENCE, true, "it does not scan");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Runs `act` between two scans: `watch` is stopped while it sleeps.
    fn between_looks(&self, act: impl FnOnce() -> Outcome) -> Outcome {
        let pid = Pid::from_child(&self.child);
        let began = Instant::now();
        let until = |wanted: &str| -> Outcome {
            loop {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
                if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(wanted)) {
                    return Ok(());
                }
                same!(began.elapsed() < PATIENCE, true, "not in state {wanted}: {stat}");
                std::thread::yield_now();
            }
        };
        until("S")?;
        kill_process(pid, Signal::STOP)?;
        until("T")?;
        let outcome = act();
        kill_process(pid, Signal::CONT)?;
        outcome
    }

    /// Asserts that no event has been reported so far: the function causes another change, which must be the next
    /// event.
    fn is_quiet(&self, port: u16) -> Outcome {
        let sentinel = udp(&format!("127.0.0.1:{port}"))?;
        let event = self.next()?;
        same!((&event["event"], &event["listener"]["port"]), (&"appeared".into(), &port.into()), "{event:#}");
        drop(sentinel);
        same!(self.next()?["event"], "vanished");
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exes(listener: &Value) -> Vec<&str> {
    let processes = listener["processes"].as_array().into_iter().flatten();
    processes.filter_map(|process| process["exe"].as_str()?.rsplit('/').next()).collect()
}

fn comes_and_goes(lab: &Lab) -> Outcome {
    let _there = Server::start(&sleep(), vec![tcp("127.0.0.1:8001")?])?;
    let (watch, start) = Watch::start(lab, &[])?;
    same!(start["counts"]["listeners"], 1);
    same!(start["schema"], "portolan.event/2");
    let server = Server::start(&sleep(), vec![tcp("0.0.0.0:3416")?])?;
    // This process owned the socket first, so the reported owner depends on the time of the scan.
    let came = watch.next()?;
    same!((&came["event"], &came["before"]), (&"appeared".into(), &Value::Null));
    same!(came["listener"]["port"], 3416);
    same!(came["listener"]["exposure"], "any");
    same!(came["listener"]["flags"][0]["code"], "orphaned");
    same!(came["host"]["os"], "linux");
    if !pids(&came["listener"]).contains(&server.pid()) {
        same!(watch.next()?["event"], "changed");
    }
    drop(server);
    let mut went = watch.next()?;
    if went["event"] == "changed" {
        went = watch.next()?; // the scan saw both owners
    }
    same!((&went["event"], &went["listener"]["port"]), (&"vanished".into(), &3416.into()));
    same!(exes(&went["listener"]), [sleep().file_name().unwrap().to_str().unwrap()]);
    watch.is_quiet(8009)
}

/// The same socket is passed from one process to another: the port is always listening.
fn change_of_hands(lab: &Lab) -> Outcome {
    let socket = tcp("127.0.0.1:8100")?;
    let first = Server::start(&sleep(), vec![socket.as_fd().try_clone_to_owned()?])?;
    let second = Server::start(&lab.sleeper_called(b"other")?, vec![socket])?;
    let (watch, _) = Watch::start(lab, &[])?;
    watch.settled()?;
    watch.between_looks(|| {
        drop(first);
        Ok(())
    })?;
    let event = watch.next()?;
    same!(event["event"], "changed", "{event:#}");
    same!(pids(&event["before"]).len(), 2);
    same!(pids(&event["listener"]), [second.pid()]);
    same!(exes(&event["listener"]), ["other"]);
    same!(event["before"]["port"], 8100);
    // The last process closes it.
    watch.between_looks(|| {
        drop(second);
        Ok(())
    })?;
    same!(watch.next()?["event"], "vanished");
    watch.is_quiet(8109)
}

/// A running process executes another program with the socket that it has.
fn another_program(lab: &Lab) -> Outcome {
    let other = lab.sleeper_called(b"other")?;
    let fifo = other.with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "read word <\"$1\"; exec \"$2\" 600", "sh"])
        .args([&fifo, &other])
        .stdin(tcp("127.0.0.1:8200")?)
        .stdout(Stdio::null())
        .spawn()?;
    let outcome = (|| {
        let (watch, _) = Watch::start(lab, &[])?;
        watch.settled()?;
        std::fs::write(&fifo, "go\n")?;
        let event = watch.next()?;
        same!(event["event"], "changed", "{event:#}");
        same!(exes(&event["listener"]), ["other"]);
        same!(pids(&event["listener"]), [shell.id()]);
        same!(pids(&event["before"]), [shell.id()]);
        Ok(())
    })();
    shell.kill()?;
    shell.wait()?;
    outcome
}

/// The program file is replaced while the process runs, as an upgrade does.
fn file_replaced(lab: &Lab) -> Outcome {
    let program = lab.sleeper_called(b"web")?;
    let server = Server::start(&program, vec![tcp("127.0.0.1:8260")?])?;
    let (watch, _) = Watch::start(lab, &[])?;
    watch.settled()?;
    let new = program.with_extension("new");
    std::fs::copy(&program, &new)?;
    std::fs::rename(&new, &program)?;
    let event = watch.next()?;
    same!(event["event"], "replaced", "{event:#}");
    same!(pids(&event["listener"]), [server.pid()]);
    same!(event["listener"]["processes"][0]["exe_state"], "replaced", "{event:#}");
    same!(event["before"]["processes"][0]["exe_state"], "present", "{event:#}");
    Ok(())
}

/// A process that keeps running closes the socket, while another process keeps it open.
fn lets_go(lab: &Lab) -> Outcome {
    let socket = tcp("127.0.0.1:8250")?;
    let keeper = Server::start(&sleep(), vec![socket.as_fd().try_clone_to_owned()?])?;
    let fifo = lab.sleeper_called(b"other")?.with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    // The second read waits for another writer: the first writer may not have closed yet.
    let script = "read word <\"$1\"; exec 0</dev/null; while :; do read word <\"$1\"; done";
    let mut shell = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(&fifo)
        .stdin(socket)
        .stdout(Stdio::null())
        .spawn()?;
    let outcome = (|| {
        let (watch, _) = Watch::start(lab, &[])?;
        watch.settled()?;
        std::fs::write(&fifo, "go\n")?;
        let event = watch.next()?;
        same!(event["event"], "changed", "{event:#}");
        same!(pids(&event["listener"]), [keeper.pid()]);
        same!(pids(&event["before"]).contains(&shell.id()), true);
        same!(shell.try_wait()?.is_none(), true, "the shell has ended");
        Ok(())
    })();
    shell.kill()?;
    shell.wait()?;
    outcome
}

/// The same program under the same user on the same port is the same listener; another user's program is not.
fn restart(lab: &Lab) -> Outcome {
    let mut server = Some(Server::start(&sleep(), vec![tcp("127.0.0.1:8300")?])?);
    let (watch, _) = Watch::start(lab, &[])?;
    let mut again = |uid: Option<u32>, program: &std::path::Path| {
        watch.settled()?;
        watch.between_looks(|| {
            drop(server.take());
            server = Some(Server::start_as(program, vec![tcp("127.0.0.1:8300")?], uid)?);
            Ok(())
        })
    };
    again(None, &sleep())?;
    watch.is_quiet(8309)?;
    let other = lab.sleeper_called(b"other")?;
    again(None, &other)?;
    let event = watch.next()?;
    same!((&event["event"], exes(&event["listener"])), (&"changed".into(), vec!["other"]));
    watch.is_quiet(8309)
}

fn wider_and_narrower(lab: &Lab) -> Outcome {
    let mut server = Some(Server::start(&sleep(), vec![tcp("127.0.0.1:8400")?])?);
    let (watch, _) = Watch::start(lab, &[])?;
    let mut moved = |to: &str| {
        watch.settled()?;
        watch.between_looks(|| {
            drop(server.take());
            server = Some(Server::start(&sleep(), vec![tcp(to)?])?);
            Ok(())
        })
    };
    moved("0.0.0.0:8400")?;
    let event = watch.next()?;
    same!(event["event"], "widened", "{event:#}");
    same!(
        (&event["listener"]["address"], &event["before"]["address"]),
        (&"0.0.0.0".into(), &"127.0.0.1".into())
    );
    moved("127.0.0.1:8400")?;
    same!(watch.next()?["event"], "narrowed");
    watch.is_quiet(8409)
}

/// The sockets stay the same, and the firewall opens and closes.
fn rules(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    sh(
        "ip link set lo up && ip link add wire6 type veth peer name wire7 && ip address add 10.78.0.1/24 dev wire6 && \
        ip link set wire6 up && ip link set wire7 up",
    )?;
    let _server = Server::start(&sleep(), vec![tcp("0.0.0.0:9350")?])?;
    let (watch, _) = Watch::start(lab, &[])?;
    watch.settled()?;
    for (rules, event) in [
        ("table inet t { chain input { type filter hook input priority 0; policy drop; }; }", "narrowed"),
        ("flush ruleset", "widened"),
    ] {
        std::fs::write(lab.path("rules"), rules)?;
        sh(&format!("nft -f {}", lab.path("rules")))?;
        let reported = watch.next()?;
        same!(
            (&reported["event"], &reported["listener"]["port"]),
            (&event.into(), &9350.into()),
            "{reported:#}"
        );
    }
    Ok(())
}

/// `/proc` is unmounted while it is watched, and mounted again.
fn hidden_parts(lab: &Lab) -> Outcome {
    let _owner = Server::start(&sleep(), vec![tcp("127.0.0.1:8500")?])?;
    let (watch, start) = Watch::start(lab, &[])?;
    same!(start["counts"]["listeners"], 1);
    unmount_proc()?;
    let without_proc = |event: &Value| {
        let gaps = event["gaps"].as_array().cloned().unwrap_or_default();
        gaps.iter().any(|gap| gap["remedy"] == "mount /proc")
    };
    let event = loop {
        let event = watch.any()?;
        if without_proc(&event) {
            break event;
        }
    };
    same!((&event["event"], &event["complete"]), (&"incomplete".into(), &false.into()), "{event:#}");
    remount_proc()?;
    let event = loop {
        let event = watch.any()?;
        if !without_proc(&event) {
            break event;
        }
    };
    same!(event["event"] == "complete", event["complete"] == true, "{event:#}");
    watch.is_quiet(8509)
}

/// A user who may not see the owners sees the sockets and a gap; a hidden owner is not a change.
fn as_nobody(lab: &Lab) -> Outcome {
    use std::os::unix::process::CommandExt;
    let mut server = Some(Server::start(&sleep(), vec![tcp("127.0.0.1:8600")?])?);
    let mut command = lab.portolan(["watch", "--interval", "0.1"]);
    command.uid(NOBODY).gid(NOBODY);
    // In a pipe, the output is a stream without an option.
    let (watch, start) = Watch::run(command)?;
    same!((&start["complete"], &start["counts"]["listeners"]), (&false.into(), &1.into()));
    drop(server.take());
    let event = watch.next()?;
    same!((&event["event"], &event["listener"]["owner"]), (&"vanished".into(), &"hidden".into()));
    watch.is_quiet(8609)
}

fn targets(lab: &Lab) -> Outcome {
    let (watch, start) = Watch::start(lab, &["-t", "8700-8709", "not-yet-running"])?;
    same!(start["counts"]["listeners"], 0);
    let _other_port = tcp("127.0.0.1:8710")?;
    let _other_protocol = udp("127.0.0.1:8701")?;
    let _meant = tcp("127.0.0.1:8702")?;
    let event = watch.next()?;
    same!(event["listener"]["port"], 8702);
    let _by_name = Server::start(&lab.sleeper_called(b"not-yet-running")?, vec![tcp("127.0.0.1:8720")?])?;
    let event = watch.next()?;
    same!(event["listener"]["port"], 8720);
    Ok(())
}

fn reader_leaves(lab: &Lab) -> Outcome {
    let mut child =
        lab.portolan(["watch", "--interval", "0.1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
    // Nothing changes, and the run still ends.
    let status = ended(&mut child)?;
    let mut messages = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut messages)?;
    same!((status, messages.contains("panicked")), (Some(0), false), "{messages}");
    Ok(())
}

/// Returns the exit code of a run that must end by itself.
pub fn ended(child: &mut Child) -> Result<Option<i32>, Failed> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Err("it does not end".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
