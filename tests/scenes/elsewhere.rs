//! Scenes on systems without namespaces: real sockets of this machine, on loopback if the scene allows it.
//!
//! Other programs may listen on the machine as well, so a scene filters by its own ports. This test program itself,
//! started again as `scenes --helper listen SOCKET…`, owns the sockets; it ends with the scene.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::report::{Outcome, flags, held, listeners, on_port, pids};
use crate::same;

/// A scene with its name.
pub type Scene = (&'static str, fn() -> Outcome);

pub const SCENES: &[Scene] = &[
    ("five_listeners", five_listeners),
    ("the_owner_is_reported", the_owner_is_reported),
    ("both_families_at_once", both_families_at_once),
    ("absent_present_absent", absent_present_absent),
    ("two_hundred", two_hundred),
    ("ephemeral", ephemeral),
    ("a_connection_has_two_ends", a_connection_has_two_ends),
    ("hostile_name", hostile_name),
    ("a_capture_gives_the_same_listing", a_capture_gives_the_same_listing),
    ("explain_names_the_process", explain_names_the_process),
    ("waiting_for_a_port", waiting_for_a_port),
    ("targets_and_options", targets_and_options),
    ("a_deep_scan_is_a_gap", a_deep_scan_is_a_gap),
    ("a_draft_allows_the_current_listeners", a_draft_allows_the_current_listeners),
];

/// Acts as a helper: opens the sockets that the arguments name, and prints the ports they got.
pub fn help(words: &[String]) -> ExitCode {
    match hold(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("helper {words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hold(words: &[String]) -> Result<(), Box<dyn Error>> {
    let (mut listeners, mut sockets, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        match word.split_once('/').ok_or("no protocol")? {
            ("tcp", address) => {
                let listener = TcpListener::bind(address).map_err(|error| format!("{word}: {error}"))?;
                ports.push(listener.local_addr()?.port());
                listeners.push(listener);
            }
            ("udp", address) => {
                let socket = UdpSocket::bind(address).map_err(|error| format!("{word}: {error}"))?;
                ports.push(socket.local_addr()?.port());
                sockets.push(socket);
            }
            _ => return Err("no such protocol".into()),
        }
    }
    println!("ready {}", serde_json::to_string(&ports)?);
    std::io::stdout().flush()?;
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// A process that owns sockets.
struct Server {
    child: Child,
    ports: Vec<u16>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(sockets: &[&str]) -> Result<Self, Failed> {
        Server::start_as(&std::env::current_exe()?, sockets)
    }

    fn start_as(program: &Path, sockets: &[&str]) -> Result<Self, Failed> {
        let child = Command::new(program)
            .arg("--helper")
            .args(sockets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Server { child, ports: Vec::new() };
        let mut line = String::new();
        BufReader::new(server.child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let ports =
            line.strip_prefix("ready ").ok_or_else(|| format!("{sockets:?} could not be held: {line:?}"))?;
        server.ports = serde_json::from_str(ports)?;
        Ok(server)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn run(arguments: &[&str]) -> Result<Output, Failed> {
    Ok(Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).stdin(Stdio::null()).output()?)
}

/// Runs the program with these arguments, and returns its JSON.
fn json(arguments: &[&str]) -> Result<Value, Failed> {
    let output = run(&[arguments, &["-o", "json"]].concat())?;
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ok(report),
        Err(error) => Err(format!("{arguments:?}: {error}: {output:?}").into()),
    }
}

/// Asserts that everything relevant was visible. A setting of the host that could not be read is not relevant: wine has
/// no tool for it.
fn whole(report: &Value) -> Outcome {
    let gaps = report["gaps"].as_array().ok_or("no gaps in the report")?;
    let blind: Vec<_> = gaps.iter().filter(|gap| gap["stage"] != "host").collect();
    same!(blind, Vec::<&Value>::new());
    same!(report["complete"], gaps.is_empty());
    Ok(())
}

const FIVE: [(&str, &str, u16); 5] = [
    ("tcp", "0.0.0.0", 3416),
    ("tcp", "127.0.0.1", 60416),
    ("udp", "::", 3414),
    ("tcp", "127.0.0.1", 5432),
    ("tcp", "0.0.0.0", 1),
];

fn five_listeners() -> Outcome {
    let servers = FIVE
        .iter()
        .map(|(protocol, address, port)| {
            let address = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
            Server::start(&[&format!("{protocol}/{address}:{port}")])
        })
        .collect::<Result<Vec<_>, _>>()?;
    let report = json(&["3416", "60416", "udp/3414", "5432", "tcp/1"])?;
    same!(report["schema"], "portolan/2");
    same!(report["host"]["os"], std::env::consts::OS);
    let shown: BTreeSet<_> = listeners(&report)?
        .iter()
        .map(|l| (l["protocol"].as_str(), l["address"].as_str(), l["port"].as_u64()))
        .collect();
    let wanted = FIVE
        .iter()
        .map(|(protocol, address, port)| (Some(*protocol), Some(*address), Some(u64::from(*port))))
        .collect();
    same!(shown, wanted);
    same!(listeners(&report)?.len(), 5);
    for (server, (_, _, port)) in servers.iter().zip(FIVE) {
        held(&report, port, &[server.pid()])?;
    }
    same!(flags(on_port(&report, 3416)?), ["orphaned"]);
    same!(flags(on_port(&report, 60416)?), ["ephemeral"]);
    // This program, on a port that is guarded for PostgreSQL.
    same!(flags(on_port(&report, 5432)?), ["impostor"]);
    same!(flags(on_port(&report, 3414)?), ["unexplained"]);
    same!(on_port(&report, 3414)?["state"], "unconnected");
    whole(&report)
}

fn the_owner_is_reported() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"])?;
    let report = json(&[&server.ports[0].to_string()])?;
    let listener = on_port(&report, server.ports[0])?;
    let process = &listener["processes"][0];
    let exe = std::env::current_exe()?;
    let printed = process["exe"].as_str().ok_or("no executable")?;
    same!(printed.to_lowercase(), exe.to_str().ok_or("a strange path")?.to_lowercase());
    same!(process["exe_deleted"], false);
    let name = process["name"].as_str().ok_or("no name")?;
    same!(
        exe.file_name().and_then(|name| name.to_str()).is_some_and(|file| file.starts_with(name)),
        true,
        "{name}"
    );
    // The user is a name, not a SID.
    let user = process["user"].as_str().ok_or("no user")?;
    same!(user.is_empty() || user.starts_with("S-1-"), false, "{user}");
    same!(listener["user"], user);
    same!(process["started"].is_string(), true, "{process:#}");
    whole(&report)
}

fn both_families_at_once() -> Outcome {
    let four = Server::start(&["tcp/127.0.0.1:0"])?;
    let port = four.ports[0];
    let six = Server::start(&[&format!("tcp/[::1]:{port}"), &format!("udp/[::1]:{port}")])?;
    let report = json(&[&port.to_string()])?;
    let shown: BTreeSet<_> = listeners(&report)?
        .iter()
        .map(|l| (l["protocol"].as_str(), l["family"].as_str(), l["address"].as_str(), pids(l)))
        .collect();
    let wanted = BTreeSet::from([
        (Some("tcp"), Some("ipv4"), Some("127.0.0.1"), vec![four.pid()]),
        (Some("tcp"), Some("ipv6"), Some("::1"), vec![six.pid()]),
        (Some("udp"), Some("ipv6"), Some("::1"), vec![six.pid()]),
    ]);
    same!(shown, wanted);
    for (option, count) in [("-4", 1), ("-6", 2), ("-t", 2), ("-u", 1)] {
        same!(listeners(&json(&[option, &port.to_string()])?)?.len(), count, "{option}");
    }
    whole(&report)
}

fn absent_present_absent() -> Outcome {
    let held = Server::start(&["tcp/127.0.0.1:0"])?;
    let port = held.ports[0].to_string();
    same!(run(&[&port])?.status.code(), Some(0));
    drop(held);
    let output = run(&[&port])?;
    same!(output.status.code(), Some(1), "{output:?}");
    let again = Server::start(&[&format!("tcp/127.0.0.1:{port}")])?;
    let output = run(&["--pids", &port])?;
    same!(String::from_utf8(output.stdout)?.trim(), again.pid().to_string());
    Ok(())
}

fn two_hundred() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"; 200])?;
    let shown: BTreeSet<u64> = listeners(&json(&["--pid", &server.pid().to_string()])?)?
        .iter()
        .filter_map(|listener| listener["port"].as_u64())
        .collect();
    same!(shown, server.ports.iter().map(|port| u64::from(*port)).collect());
    Ok(())
}

/// A port that the system picked lies in the range from which the system says it picks.
fn ephemeral() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0", "tcp/[::1]:0", "udp/127.0.0.1:0"])?;
    let report = json(&["--pid", &server.pid().to_string()])?;
    let range = &report["host"]["ephemeral"][0];
    same!(range["low"].is_u64() && range["high"].is_u64(), true, "{range}");
    let assumed = report["gaps"].as_array().into_iter().flatten().any(|gap| gap["stage"] == "host");
    for listener in listeners(&report)? {
        let (port, low, high) = (listener["port"].as_u64(), range["low"].as_u64(), range["high"].as_u64());
        if assumed {
            continue; // wine picks ports like the system below it
        }
        same!(low <= port && port <= high, true, "{port:?} is not in {range}");
        same!(flags(listener).contains(&"ephemeral"), true, "{listener:#}");
    }
    same!(listeners(&report)?.len(), 3);
    Ok(())
}

fn a_connection_has_two_ends() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"])?;
    let port = server.ports[0];
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    let own = stream.local_addr()?.port();
    let report = json(&["-a", "--state", "established", &own.to_string()])?;
    let ours = on_port(&report, own)?;
    same!(ours["peer"]["port"], port);
    same!(pids(ours), vec![std::process::id()]);
    same!(ours["state"], "established");
    same!(listeners(&json(&[&own.to_string()])?)?.len(), 0);
    Ok(())
}

/// A right-to-left override in the name of a program and in the path of its file.
fn hostile_name() -> Outcome {
    let directory = tempfile::tempdir()?;
    let program = directory.path().join(format!("x\u{202e}cod{}", std::env::consts::EXE_SUFFIX));
    std::fs::copy(std::env::current_exe()?, &program)?;
    let server = Server::start_as(&program, &["tcp/127.0.0.1:0"])?;
    let port = server.ports[0].to_string();
    let report = json(&[&port])?;
    let exe = on_port(&report, server.ports[0])?["processes"][0]["exe"].as_str().ok_or("no executable")?;
    same!(exe.contains('\u{202e}'), true, "{exe:?}");
    for arguments in
        [&[port.as_str()][..], &["-o", "wide", &port], &["-o", "csv", &port], &["explain", &port]]
    {
        let output = run(arguments)?;
        let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        same!(text.contains('\u{202e}'), false, "{arguments:?}: {text:?}");
    }
    drop(server);
    Ok(())
}

fn a_capture_gives_the_same_listing() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0", "udp/[::1]:0"])?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("capture.json");
    std::fs::write(&file, run(&["capture"])?.stdout)?;
    for port in &server.ports {
        let port = port.to_string();
        let (live, saved) =
            (json(&[&port])?, json(&["--from", file.to_str().ok_or("a strange path")?, &port])?);
        let bare = |report: &Value| -> Result<Vec<(Value, Value, Vec<u32>)>, Failed> {
            let each = |l: &Value| (l["address"].clone(), l["port"].clone(), pids(l));
            Ok(listeners(report)?.iter().map(each).collect())
        };
        same!(bare(&live)?, bare(&saved)?);
        same!(listeners(&saved)?.len(), 1);
    }
    Ok(())
}

fn explain_names_the_process() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:3417"])?;
    let report = json(&["explain", "tcp/3417"])?;
    same!(report["schema"], "portolan.explain/2");
    let port = report["ports"][0].clone();
    same!((&port["port"], &port["protocol"]), (&Value::from(3417), &Value::from("tcp")));
    same!(pids(&port["listeners"][0]), vec![server.pid()]);
    Ok(())
}

fn waiting_for_a_port() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"])?;
    let port = server.ports[0].to_string();
    let wait = |arguments: &[&str]| run(&[&["watch", &port, "--timeout", "20"], arguments].concat());
    same!(wait(&["--until-listening"])?.status.code(), Some(0));
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(server);
    });
    let output = wait(&["--until-free"])?;
    same!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

fn targets_and_options() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0", "udp/127.0.0.1:0"])?;
    let (tcp, udp) = (server.ports[0].to_string(), server.ports[1].to_string());
    let program = std::env::current_exe()?;
    let name = program.file_stem().and_then(|name| name.to_str()).ok_or("a strange name")?;
    let report = json(&["--process", name, "--pid", &server.pid().to_string()])?;
    same!(listeners(&report)?.len(), 2);
    let user = listeners(&report)?[0]["user"].as_str().ok_or("no user")?.to_owned();
    let bare = user.rsplit('\\').next().unwrap_or_default();
    for user in [user.as_str(), bare] {
        same!(listeners(&json(&["--user", user, &tcp, &udp])?)?.len(), 2, "{user}");
    }
    same!(run(&["--user", "no-such-user-anywhere"])?.status.code(), Some(2));
    same!(run(&["--netns", "all"])?.status.code(), Some(2));
    let both = format!("127.0.0.1:{tcp}");
    same!(listeners(&json(&[&both])?)?.len(), 1);
    Ok(())
}

/// These systems have no deep scan: the report says this and is not an all-clear.
fn a_deep_scan_is_a_gap() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"])?;
    let output = run(&["audit", "--deep", "-o", "json", &server.ports[0].to_string()])?;
    same!(output.status.code().is_some_and(|code| [1, 3].contains(&code)), true, "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    same!(report["complete"], false);
    let gaps = report["gaps"].as_array().ok_or("no gaps in the report")?;
    same!(gaps.iter().filter(|gap| gap["what"] == "the deep scan").count(), 1, "{gaps:?}");
    Ok(())
}

/// A policy that is drafted on this machine allows the current listeners, by the paths of this system; another
/// program is unexpected.
fn a_draft_allows_the_current_listeners() -> Outcome {
    let server = Server::start(&["tcp/127.0.0.1:0"])?;
    let port = server.ports[0].to_string();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("policy.toml");
    let file = file.to_str().ok_or("a strange path")?;
    let drafted = run(&["policy", "init", "--write", file])?;
    same!(drafted.status.code().is_some_and(|code| [0, 3].contains(&code)), true, "{drafted:?}");
    let unexpected = |program: &str| -> Result<usize, Failed> {
        let rule = "schema = \"portolan.policy/1\"\n[[allow]]\nid = \"a\"\nexecutable = ";
        let text = match program {
            "" => std::fs::read_to_string(file)?,
            program => format!("{rule}'{program}'\n"),
        };
        std::fs::write(directory.path().join("used.toml"), text)?;
        let used = directory.path().join("used.toml");
        let used = used.to_str().ok_or("a strange path")?;
        let report = json(&["audit", "--policy", used, &port])?;
        let findings = report["findings"].as_array().ok_or("no findings")?;
        Ok(findings.iter().filter(|finding| finding["code"] == "unexpected").count())
    };
    same!(unexpected("")?, 0);
    let program = std::env::current_exe()?;
    let own = program.to_str().ok_or("a strange path")?;
    let name = program.file_name().and_then(|name| name.to_str()).ok_or("a strange name")?;
    same!(unexpected(own)?, 0);
    same!(unexpected(&own.replace('\\', "/"))?, 0);
    same!(unexpected(&format!("**/{name}"))?, 0);
    let elsewhere = format!("**/nowhere/{name}");
    same!(unexpected(&elsewhere)?, 1);
    Ok(())
}
