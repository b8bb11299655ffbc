//! BPF programs and filters of traffic control that see packets before the firewall and the sockets.
//!
//! Each scene needs a tool, and says so by name if the tool is missing: `tc` of iproute2, or Python 3, which makes the
//! system calls of BPF.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::lab::{Lab, Outcome, Scene, Server, on_port, sleep, tcp};
use crate::report::gap;
use crate::{same, wires};

pub const SCENES: &[Scene] = &[
    ("an_xdp_program_is_named", xdp),
    ("a_tcx_program_is_named", tcx),
    ("a_filter_of_traffic_control_is_named", traffic_control),
    ("a_program_that_gives_a_port_to_a_loopback_listener", steered),
];

/// Calls bpf(2), or prints why this machine cannot.
const BPF: &str = r"
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(number, command, buffer, len(attributes))
    if result < 0:
        print('refused', os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
    return result
";

/// Loads a program of two instructions, attaches it to a device with a link, and prints its ID.
const ATTACH: &str = r"
device, kind, attach, verdict = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
code = ctypes.create_string_buffer(struct.pack('<BBhiBBhi', 0xb7, 0, 0, verdict, 0x95, 0, 0, 0))
name = ctypes.create_string_buffer(b'GPL')
load = struct.pack('<IIQQ', kind, 2, ctypes.addressof(code), ctypes.addressof(name)).ljust(128, b'\0')
program = bpf(5, load)
link = bpf(28, struct.pack('<IIII', program, socket.if_nametoindex(device), attach, 0).ljust(64, b'\0'))
info = open('/proc/self/fdinfo/%d' % link).read()
print('ready', [line.split()[1] for line in info.splitlines() if line.startswith('prog_id')][0], flush=True)
sys.stdin.read()
";

/// Listens on the second port of 127.0.0.1, and attaches a program (`BPF_PROG_TYPE_SK_LOOKUP`) that gives this listener
/// the connections to the first port.
const STEER: &str = r"
port, listener = int(sys.argv[1]), socket.create_server(('127.0.0.1', int(sys.argv[2])))
table = bpf(0, struct.pack('<IIIII', 15, 4, 8, 1, 0).ljust(128, b'\0'))
key, value = (ctypes.create_string_buffer(struct.pack('<Q', number)) for number in (0, listener.fileno()))
bpf(2, struct.pack('<IIQQQ', table, 0, ctypes.addressof(key), ctypes.addressof(value), 0).ljust(128, b'\0'))
code = b''.join(struct.pack('<BBhi', *line) for line in (
    (0xbf, 0x16, 0, 0), (0x61, 0x62, 60, 0), (0x55, 2, 14, port), (0x62, 10, -4, 0), (0xbf, 0xa2, 0, 0), (0x07, 2, 0, -4),
    (0x18, 0x11, 0, table), (0, 0, 0, 0), (0x85, 0, 0, 1), (0x15, 0, 7, 0), (0xbf, 0x07, 0, 0), (0xbf, 0x61, 0, 0),
    (0xbf, 0x72, 0, 0), (0xb7, 3, 0, 0), (0x85, 0, 0, 124), (0xbf, 0x71, 0, 0), (0x85, 0, 0, 86), (0xb7, 0, 0, 1),
    (0x95, 0, 0, 0)))
code, name = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b'GPL')
load = struct.pack('<IIQQ', 30, len(code) // 8, ctypes.addressof(code), ctypes.addressof(name)).ljust(68, b'\0')
program = bpf(5, (load + struct.pack('<I', 36)).ljust(128, b'\0'))
link = bpf(28, struct.pack('<IIII', program, os.open('/proc/self/ns/net', os.O_RDONLY), 36, 0).ljust(64, b'\0'))
print('ready', flush=True)
sys.stdin.read()
";

/// Attaches a program to a device: its type, the type of its link, and the number that it returns for each packet.
/// Returns nothing, and says why, if this machine cannot.
fn attach(device: &str, [kind, attach, verdict]: [&str; 3]) -> Option<Server> {
    run(ATTACH, &[device, kind, attach, verdict])
}

/// Starts a program in Python that attaches a BPF program. Returns nothing, and says why, if this machine cannot.
fn run(program: &str, arguments: &[&str]) -> Option<Server> {
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        eprintln!("python3 is not installed: no BPF program is attached");
        return None;
    }
    let server = Server::ready(Command::new(python).args(["-c", &format!("{BPF}{program}")]).args(arguments));
    server.map_err(|failed| eprintln!("no BPF program is attached: {}", failed.message().unwrap_or("?"))).ok()
}

/// Returns whether an important note has this text.
fn notes(report: &Value, text: &str) -> bool {
    let mut notes = report["notes"].as_array().into_iter().flatten();
    notes.any(|note| {
        note["what"].as_str().is_some_and(|what| what.contains(text)) && note["important"] == true
    })
}

/// The reach of the listener on port 8710, and the reason.
fn reach(report: &Value) -> Result<(&Value, String), libtest_mimic::Failed> {
    let listener = on_port(report, 8710)?;
    Ok((&listener["reach"], listener["reach_rule"].as_str().unwrap_or_default().to_owned()))
}

fn xdp(lab: &Lab) -> Outcome {
    wires::address(wires::veth("left")?, "2001:db8::1".parse()?)?;
    lab.alone()?;
    let _server = Server::start(&sleep(), vec![tcp("[::]:8710")?])?;
    let before = lab.json(&[])?;
    same!(reach(&before)?.0, &json!("open"));
    same!(notes(&before, "XDP"), false);
    // BPF_PROG_TYPE_XDP, BPF_XDP, XDP_PASS.
    let Some(program) = attach("left", ["6", "37", "2"]) else { return Ok(()) };
    let report = lab.json(&[])?;
    same!(notes(&report, &format!("(XDP on left: program {})", program.said[1])), true, "{report:#}");
    let (kind, why) = reach(&report)?;
    same!((kind, why.contains("XDP")), (&json!("unknown"), true), "{why}");
    drop(program);
    same!(reach(&lab.json(&[])?)?.0, &json!("open"));
    Ok(())
}

fn tcx(lab: &Lab) -> Outcome {
    wires::address(wires::veth("left")?, "2001:db8::1".parse()?)?;
    lab.alone()?;
    let _server = Server::start(&sleep(), vec![tcp("[::]:8710")?])?;
    // BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_INGRESS, TC_ACT_OK.
    let Some(program) = attach("left", ["3", "46", "0"]) else { return Ok(()) };
    let report = lab.json(&[])?;
    let named = format!("(program {}, attached by pid {})", program.said[1], program.pid());
    same!(notes(&report, &named), true, "{report:#}");
    let (kind, why) = reach(&report)?;
    same!((kind, why.contains("tcx")), (&json!("unknown"), true), "{why}");
    Ok(())
}

fn traffic_control(lab: &Lab) -> Outcome {
    let tc = |arguments: &str| Command::new("/sbin/tc").args(arguments.split(' ')).output();
    wires::address(wires::veth("left")?, "2001:db8::1".parse()?)?;
    if !Path::new("/sbin/tc").exists() {
        eprintln!("tc is not installed: no filter is attached");
        return Ok(());
    }
    lab.alone()?;
    let _server = Server::start(&sleep(), vec![tcp("[::]:8710")?])?;
    same!(tc("qdisc add dev left clsact")?.status.success(), true);
    same!(notes(&lab.json(&[])?, "tc on left"), false, "a queue without a filter");
    let mut command = Command::new("/sbin/tc");
    command.args(["filter", "add", "dev", "left", "ingress", "bpf", "da", "bytecode", "1,6 0 0 4294967295,"]);
    let output = command.output()?;
    same!(output.status.success(), true, "{}", String::from_utf8_lossy(&output.stderr));
    let report = lab.json(&[])?;
    same!(notes(&report, "(tc on left)"), true, "{report:#}");
    let (kind, why) = reach(&report)?;
    same!((kind, why.contains("(tc)")), (&json!("unknown"), true), "{why}");
    Ok(())
}

/// Clients of a port without a listener reach a listener on 127.0.0.1, and could do so from other machines.
fn steered(lab: &Lab) -> Outcome {
    wires::loopback_up()?;
    lab.alone()?;
    let _server = Server::start(&sleep(), vec![tcp("127.0.0.1:8710")?])?;
    same!(reach(&lab.json(&[])?)?.0, &Value::Null);
    let Some(program) = run(STEER, &["8711", "8712"]) else { return Ok(()) };
    same!(std::net::TcpStream::connect("127.0.0.1:8711").is_ok(), true);
    let report = lab.json(&[])?;
    gap(&report, "sockets", "sk_lookup")?;
    // Any listener can be the one that the program chooses.
    for port in [8710, 8712] {
        let listener = on_port(&report, port)?;
        same!((&listener["exposure"], &listener["reach"]), (&json!("loopback"), &json!("unknown")), "{port}");
        same!(listener["reach_rule"].to_string().contains("sk_lookup"), true, "{listener:#}");
    }
    let table = String::from_utf8(lab.portolan(["list"]).output()?.stdout)?;
    same!(table.contains("loopback?"), true, "{table}");
    same!(lab.portolan(["audit"]).output()?.status.code(), Some(3));
    drop(program);
    same!(reach(&lab.json(&[])?)?.0, &Value::Null);
    // Without bpf(2), it is not known whether there is such a program.
    for mut command in [
        lab.portolan(["audit", "--no-bpf", "-o", "json"]),
        lab.portolan_under("bpf-refused", ["audit", "-o", "json"]),
    ] {
        let report = serde_json::from_slice(&command.output()?.stdout)?;
        gap(&report, "sockets", "the BPF programs (sk_lookup)")?;
    }
    Ok(())
}
