//! Raw and packet sockets, which receive packets without a port: listed with `--raw`, and judged by an audit.

use std::fs;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, setns};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use serde_json::{Value, json};

use crate::audit_rules::flag;
use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, complete, listeners, pids, tcp};
use crate::{same, wires};

pub const SCENES: &[Scene] = &[
    ("raw_sockets_are_listed_on_request", listed),
    ("raw_sockets_of_another_namespace", elsewhere),
    ("raw_sockets_are_judged_by_their_program", judged),
    ("raw_sockets_in_a_saved_snapshot", saved),
    ("raw_sockets_as_nobody", as_nobody),
    ("raw_sockets_accepted_by_a_policy", accepted),
    ("raw_sockets_of_tcpdump", recorder),
    ("a_promiscuous_device_is_noted", promiscuous),
];

/// `ETH_P_ALL`, `ETH_P_LLDP` (linux/if_ether.h).
const ALL: u16 = 3;
const LLDP: u16 = 0x88cc;

/// Returns a raw socket of a protocol of IP.
fn raw(family: AddressFamily, protocol: u32) -> Result<OwnedFd, Failed> {
    let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
    Ok(socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// Returns a packet socket for an `EtherType`, which is in network order; 0 receives nothing.
fn packet(protocol: u16) -> Result<OwnedFd, Failed> {
    let protocol = NonZeroU32::new(protocol.to_be().into()).map(Protocol::from_raw);
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// Returns the protocol of each socket and the packets that it receives.
fn received(report: &Value) -> Result<Vec<(String, String)>, Failed> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let all = listeners(report)?;
    Ok(all.iter().map(|one| (text(&one["protocol"]), text(&one["receives"]["name"]))).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(protocol, name)| ((*protocol).to_owned(), (*name).to_owned())).collect()
}

/// Runs an audit, and returns its exit code and its JSON.
fn audit(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, Value), Failed> {
    let output = lab.portolan(["audit", "-o", "json"].iter().chain(arguments)).output()?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// Returns the severity and the evidence of each finding with this code.
fn findings<'a>(audit: &'a Value, code: &str) -> Vec<(&'a str, &'a Value)> {
    let all = audit["findings"].as_array().into_iter().flatten();
    let with_code = all.filter(|found| found["code"] == code);
    with_code.map(|found| (found["severity"].as_str().unwrap_or_default(), &found["evidence"])).collect()
}

fn listed(lab: &Lab) -> Outcome {
    lab.alone()?;
    same!(received(&lab.json(&["--raw"])?)?, pairs(&[]));
    let ip =
        vec![raw(AddressFamily::INET, 6)?, raw(AddressFamily::INET6, 58)?, raw(AddressFamily::INET, 255)?];
    let program = lab.sleeper_called(b"xyzzy")?;
    let ip = Server::start(&program, ip)?;
    let link = Server::start(&program, vec![packet(ALL)?, packet(LLDP)?, packet(0)?])?;
    let listener = Server::start(&program, vec![tcp("127.0.0.1:8700")?])?;
    let report = lab.json(&["--raw"])?;
    complete(&report, 6)?;
    let expected = [
        ("raw", "tcp"),
        ("raw", "-"),
        ("raw", "ipv6-icmp"),
        ("packet", "lldp"),
        ("packet", "-"),
        ("packet", "all"),
    ];
    let mut sorted = [received(&report)?, pairs(&expected)];
    sorted.iter_mut().for_each(|list| list.sort_unstable());
    same!(sorted[0], sorted[1]);
    for socket in listeners(&report)? {
        let owner = if socket["protocol"] == "raw" { ip.pid() } else { link.pid() };
        same!(pids(socket), [owner], "{socket:#}");
        same!((&socket["state"], &socket["port"]), (&json!("raw"), &Value::Null));
        same!(socket["registry"], Value::Null);
    }
    // Neither a listing nor `explain` for a port shows these sockets; the option for every socket does.
    same!(pids(&listeners(&lab.json(&[])?)?[0]), [listener.pid()]);
    complete(&lab.json(&[])?, 1)?;
    complete(&lab.json(&["0-65535"])?, 1)?;
    complete(&lab.json(&["-a"])?, 7)?;
    // Filters apply to these sockets too.
    complete(&lab.json(&["--raw", "--pid", &ip.pid().to_string()])?, 3)?;
    complete(&lab.json(&["--raw", "xyzzy"])?, 6)?;
    complete(&lab.json(&["--state", "raw"])?, 6)?;
    same!(received(&lab.json(&["--flag", "sniffer", "--pid", &link.pid().to_string()])?)?.len(), 2);
    let nothing = lab.portolan(["--raw", "--pid", "1"]).output()?;
    same!(nothing.status.code(), Some(1));
    let table = String::from_utf8(lab.portolan(["--raw"]).output()?.stdout)?;
    let heading = table.lines().next().unwrap_or_default();
    same!(heading.contains("RECEIVES") && !heading.contains("PORT"), true, "{table}");
    same!(table.lines().count(), 7, "{table}");
    Ok(())
}

/// Another namespace has tables of its own.
fn elsewhere(lab: &Lab) -> Outcome {
    let own = fs::File::open("/proc/thread-self/ns/net")?;
    lab.alone()?;
    let inside = lab.helper(["elsewhere", "127.0.0.1:8701", "-", "stays"])?;
    setns(fs::File::open(format!("/proc/{}/ns/net", inside.pid()))?, CloneFlags::CLONE_NEWNET)?;
    let socket = packet(ALL);
    setns(own, CloneFlags::CLONE_NEWNET)?;
    let socket = socket?;
    let server = Server::start(&lab.sleeper_called(b"xyzzy")?, vec![socket])?;
    complete(&lab.json(&["--raw"])?, 0)?;
    let report = lab.json(&["--raw", "--netns", "all"])?;
    complete(&report, 1)?;
    let socket = &listeners(&report)?[0];
    same!(pids(socket), [server.pid()]);
    same!(socket["netns"]["inode"].to_string(), inside.said[1]);
    Ok(())
}

fn judged(lab: &Lab) -> Outcome {
    lab.alone()?;
    // A file of root that no package installed.
    let unknown = Server::start(&lab.sleeper_called(b"xyzzy")?, vec![packet(ALL)?])?;
    let (code, printed) = audit(lab, &[])?;
    same!(code, Some(1), "{printed:#}");
    let [(severity, evidence)] = findings(&printed, "sniffer")[..] else {
        return Err(format!("{printed:#}").into());
    };
    same!(severity, "warning");
    same!(evidence["pid"], unknown.pid());
    same!((&evidence["receives"], &evidence["attack"]), (&json!("all"), &json!("T1040")));
    same!(evidence["known_as"], Value::Null);
    drop(unknown);
    // The DHCP client of every ordinary machine, and a socket that only sends.
    let client = lab.sleeper_called(b"dhclient")?;
    let _client = Server::start(&client, vec![packet(ALL)?, raw(AddressFamily::INET, 255)?])?;
    let (code, printed) = audit(lab, &[])?;
    same!(code, Some(0), "{printed:#}");
    let [(severity, evidence)] = findings(&printed, "sniffer")[..] else {
        return Err(format!("{printed:#}").into());
    };
    same!((severity, &evidence["known_as"]), ("notice", &json!("DHCP client")));
    // The name is not evidence if a user can replace the file.
    let open = lab.sleeper_called(b"dhclient")?;
    std::os::unix::fs::chown(&open, Some(1000), Some(1000))?;
    let _open = Server::start_as(&open, vec![packet(ALL)?], None)?;
    let (_, printed) = audit(lab, &[])?;
    let mut severities: Vec<_> =
        findings(&printed, "sniffer").into_iter().map(|(severity, _)| severity).collect();
    severities.sort_unstable();
    same!(severities, ["notice", "warning"], "{printed:#}");
    Ok(())
}

fn saved(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = Server::start(&lab.sleeper_called(b"xyzzy")?, vec![raw(AddressFamily::INET, 1)?])?;
    let file = lab.path("saved.json");
    fs::write(&file, lab.portolan(["capture"]).output()?.stdout)?;
    drop(server);
    let report = lab.json(&["--from", &file, "--raw"])?;
    same!(received(&report)?, pairs(&[("raw", "icmp")]));
    complete(&report, 1)?;
    let (_, printed) = audit(lab, &["--from", &file])?;
    same!(findings(&printed, "sniffer").len(), 1, "{printed:#}");
    // A snapshot without these sockets is not complete.
    let mut old: Value = serde_json::from_slice(&fs::read(&file)?)?;
    old["sockets"] = json!([]);
    old["scope"]["states"].as_array_mut().ok_or("no states")?.retain(|state| state != "raw");
    fs::write(&file, old.to_string())?;
    let (code, printed) = audit(lab, &["--from", &file])?;
    same!(code, Some(3), "{printed:#}");
    same!(printed["gaps"][0]["what"], "sockets in the state raw");
    Ok(())
}

/// Every user sees the sockets, but not their owners.
fn as_nobody(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _server = Server::start(&lab.sleeper_called(b"xyzzy")?, vec![packet(ALL)?])?;
    let (report, _) = lab.json_as_nobody(&["--raw"])?;
    same!(received(&report)?, pairs(&[("packet", "all")]));
    same!(listeners(&report)?[0]["owner"], "hidden");
    same!(report["complete"], false);
    let mut command = lab.portolan(["audit", "-o", "json"]);
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    same!(output.status.code(), Some(3));
    Ok(())
}

/// A policy names listeners, so such a socket is never unexpected; a rule for its program accepts the finding.
fn accepted(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.sleeper_called(b"xyzzy")?;
    let _server = Server::start(&program, vec![packet(ALL)?])?;
    let policy = lab.path("policy.toml");
    let rule = |accept: &str| {
        format!(
            "schema = \"portolan.policy/1\"\n[[allow]]\nid = \"xyzzy\"\nexecutable = \"{}\"\n{accept}",
            program.display()
        )
    };
    for (accept, expected) in [
        ("", (Some(1), vec![("warning", "sniffer")])),
        ("accept = [\"sniffer\"]\nreason = \"it counts packets\"\n", (Some(0), vec![("info", "sniffer")])),
    ] {
        fs::write(&policy, rule(accept))?;
        let (code, printed) = audit(lab, &["--policy", &policy])?;
        let all = printed["findings"].as_array().into_iter().flatten();
        let text = |found: &'_ Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
        let found: Vec<_> = all.map(|found| (text(found, "severity"), text(found, "code"))).collect();
        let found: Vec<_> = found.iter().map(|(severity, code)| (severity.as_str(), code.as_str())).collect();
        same!((code, found), expected, "{accept}");
    }
    Ok(())
}

/// If tcpdump is installed: the socket is bound to a device and has made it promiscuous.
fn recorder(lab: &Lab) -> Outcome {
    let tcpdump = Path::new("/usr/bin/tcpdump");
    if !tcpdump.exists() {
        eprintln!("tcpdump is not installed: its sockets are not checked");
        return Ok(());
    }
    lab.alone()?;
    wires::veth("left")?;
    let mut command = Command::new(tcpdump);
    command.args(["-i", "left", "-n", "-Z", "root", "-w", "/dev/null"]);
    let server = Server::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let is_ready = |report: &Value| {
        let socket = &report["listeners"][0];
        let receives = &socket["receives"];
        // libpcap chooses the packets last.
        receives["name"] == "all" && socket["device"] == "left" && receives["promiscuous"] == json!(["left"])
    };
    let mut report = Value::Null;
    for _ in 0..200 {
        report = lab.json(&["--raw"])?;
        if is_ready(&report) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    same!(is_ready(&report), true, "{report:#}");
    let socket = &listeners(&report)?[0];
    same!(pids(socket), [server.pid()]);
    same!(socket["service"]["product"], "recorder of traffic");
    same!(flag(socket, "sniffer")["evidence"]["promiscuous"], json!(["left"]));
    let (code, printed) = audit(lab, &[])?;
    same!(code, Some(0), "{printed:#}");
    same!(
        findings(&printed, "sniffer").into_iter().map(|(severity, _)| severity).collect::<Vec<_>>(),
        ["notice"]
    );
    Ok(())
}

fn promiscuous(lab: &Lab) -> Outcome {
    lab.alone()?;
    let device = wires::veth("left")?;
    let noted = |report: &Value| {
        let mut notes = report["notes"].as_array().into_iter().flatten();
        notes.any(|note| note["what"].as_str().is_some_and(|what| what.contains("promiscuous mode, left")))
    };
    same!(noted(&lab.json(&["--raw"])?), false, "before");
    wires::promiscuous(device)?;
    same!(noted(&lab.json(&["--raw"])?), true);
    same!(noted(&lab.json(&[])?), false, "a listing of listeners");
    let text = lab.portolan(["--raw"]).output()?.stderr;
    same!(String::from_utf8(text)?.contains("promiscuous"), true);
    Ok(())
}
