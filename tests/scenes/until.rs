//! Waiting with `watch --until-listening` and `--until-free`.

use libtest_mimic::Failed;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::lab::{Lab, Outcome, Scene, Server, tcp, unmount_proc};
use crate::same;
use crate::watch::{Watch, ended};

pub const SCENES: &[Scene] = &[
    ("until_listening", until_listening),
    ("until_free", until_free),
    ("until_free_is_incomplete_without_proc", until_free_hidden_parts),
];

fn code(lab: &Lab, arguments: &[&str]) -> Result<Option<i32>, Failed> {
    let output = lab.portolan(["watch"].iter().chain(arguments)).output()?;
    same!(String::from_utf8_lossy(&output.stdout), "", "it waits in silence");
    Ok(output.status.code())
}

/// Starts to wait, checks that it waits, runs `act`, and returns the exit code.
fn waits(lab: &Lab, arguments: &[&str], act: impl FnOnce() -> Outcome) -> Result<Option<i32>, Failed> {
    // The stream of events shows that it has scanned once and continues.
    let (mut watch, _) = Watch::start(lab, arguments)?;
    same!(watch.child.try_wait()?.is_none(), true, "it does not wait");
    act()?;
    ended(&mut watch.child)
}

fn until_listening(lab: &Lab) -> Outcome {
    let program = lab.sleeper_called(b"shopd")?;
    let named = ["watch", "--until-listening", "shopd", "--timeout"];
    same!(lab.portolan(named).arg("0").status()?.code(), Some(1), "the program does not listen yet");
    let waiting = lab.portolan(named).arg("20").spawn()?;
    let _server = Server::start(&program, vec![tcp("127.0.0.1:8810")?])?;
    same!(waiting.wait_with_output()?.status.code(), Some(0), "a program by its name");
    let until = |targets: &[&'static str]| [targets, &["--until-listening"]].concat();
    let at_once = |targets: &[&'static str]| [&until(targets)[..], &["--timeout", "0"]].concat();
    same!(code(lab, &at_once(&["8800"]))?, Some(1));
    same!(code(lab, &[&until(&["8800"])[..], &["--timeout", "0.3"]].concat())?, Some(1));
    let mut held = Vec::new();
    same!(
        waits(lab, &until(&["tcp/8800"]), || {
            held.push(tcp("127.0.0.1:8800")?);
            Ok(())
        })?,
        Some(0)
    );
    same!(code(lab, &at_once(&["8800"]))?, Some(0));
    same!(code(lab, &at_once(&["127.0.0.1:8800"]))?, Some(0));
    // Every target must match, any port of a range is enough, and other ports do not count.
    same!(code(lab, &at_once(&["8790-8810"]))?, Some(0));
    same!(code(lab, &at_once(&["8800", "8801"]))?, Some(1));
    same!(code(lab, &at_once(&["udp/8800"]))?, Some(1));
    same!(code(lab, &at_once(&["-6", "8800"]))?, Some(1));
    same!(code(lab, &at_once(&["0.0.0.0:8800"]))?, Some(1));
    // A socket that is bound but does not listen serves no client.
    let idle = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&idle, &std::net::SocketAddr::from(([127, 0, 0, 1], 8802)))?;
    same!(code(lab, &at_once(&["8802"]))?, Some(1));
    // A service, by its name.
    same!(code(lab, &at_once(&["postgresql"]))?, Some(1));
    let _postgres = tcp("127.0.0.1:5432")?;
    same!(code(lab, &at_once(&["postgresql"]))?, Some(0));
    Ok(())
}

fn until_free(lab: &Lab) -> Outcome {
    let at_once = |targets: &[&'static str]| [targets, &["--until-free", "--timeout", "0"]].concat();
    same!(code(lab, &at_once(&["8900"]))?, Some(0));
    let mut held = vec![tcp("127.0.0.1:8900")?];
    same!(code(lab, &at_once(&["8900"]))?, Some(1));
    same!(code(lab, &at_once(&["8901"]))?, Some(0));
    same!(code(lab, &at_once(&["8901", "8900"]))?, Some(1));
    same!(
        waits(lab, &["8900", "--until-free"], || {
            held.clear();
            Ok(())
        })?,
        Some(0)
    );
    // A bound port is not free, whether its socket listens or not.
    let idle = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&idle, &std::net::SocketAddr::from(([127, 0, 0, 1], 8902)))?;
    same!(code(lab, &at_once(&["8902"]))?, Some(1));
    Ok(())
}

fn until_free_hidden_parts(lab: &Lab) -> Outcome {
    unmount_proc()?;
    let output = lab.portolan(["watch", "8950", "--until-free", "--timeout", "5"]).output()?;
    let messages = String::from_utf8(output.stderr)?;
    same!(output.status.code(), Some(3), "{messages}");
    same!(
        messages.contains("not every socket could be seen") && messages.contains("mount /proc"),
        true,
        "{messages}"
    );
    Ok(())
}
