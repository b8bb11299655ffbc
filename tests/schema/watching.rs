//! The events of `watch` as they happen.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portolan::internals::ChangeKind;
use serde_json::Value;

use crate::{holds, portolan, validator};

/// A process that ends when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every kind of change, as it happens: another process takes a port of this process, between two scans. If a scan
/// happens in between, the change appears as vanished and appeared, and the test repeats it.
///
/// The test is for Unix only: only there can a socket be passed on as standard input, and a program be replaced while
/// it runs.
#[test]
fn events_as_they_happen() {
    let schema = validator("portolan.event-2.json");
    let bind = |address: &str, port| TcpListener::bind((address, port)).unwrap();
    let port = bind("127.0.0.1", 0).local_addr().unwrap().port();
    let mut watch = portolan(&["watch", "-o", "json", "--interval", "0.3", &format!("tcp/{port}")]);
    let mut watch = Ended(watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let stream = BufReader::new(watch.0.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || stream.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // A watch does not compare the findings of two scans.
    let kinds = ChangeKind::ALL.into_iter().filter(|kind| *kind != ChangeKind::Weakened);
    let mut left: Vec<&str> = kinds.map(ChangeKind::name).collect();
    left.push("start");
    // Returns the events of the next two scans.
    let mut printed = || {
        while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
            let event: Value = serde_json::from_str(&line).unwrap();
            holds(&schema, &line, &event);
            left.retain(|kind| event["event"] != *kind);
        }
        left.clone()
    };
    for _ in 0..10 {
        printed();
        let here = bind("127.0.0.1", port);
        printed();
        drop(here);
        let anywhere = bind("0.0.0.0", port);
        printed();
        drop(anywhere);
        let here = bind("127.0.0.1", port);
        printed();
        drop(here);
        let other = std::os::fd::OwnedFd::from(bind("127.0.0.1", port));
        let directory = tempfile::tempdir().unwrap();
        let sleep = directory.path().join("sleep");
        // A separate process makes the copy. If this process did, a child of another test could inherit the open
        // file, and the copy could not be run.
        assert!(Command::new("cp").arg("/bin/sleep").arg(&sleep).status().unwrap().success());
        let other = Ended(Command::new(&sleep).arg("60").stdin(other).spawn().unwrap());
        printed();
        // An upgrade replaces the file in the same way. A separate process makes the copy. If this process did, a
        // child of another test could inherit the open file, and the copy could not be run.
        assert!(
            Command::new("cp")
                .arg("/bin/sleep")
                .arg(directory.path().join("new"))
                .status()
                .unwrap()
                .success()
        );
        std::fs::rename(directory.path().join("new"), &sleep).unwrap();
        printed();
        drop(other);
        if printed().is_empty() {
            return;
        }
    }
    panic!("never seen: {:?}", printed());
}
