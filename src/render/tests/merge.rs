use std::sync::Arc;

use super::super::fixtures::*;
use super::super::{merge, table};
use super::PLAIN;
use crate::model::*;

fn held(local: &str, pids: &[Pid]) -> Socket {
    socket(local, Owner::Held(pids.to_vec().into()))
}

fn with_unit(socket: Socket, unit: &str) -> Socket {
    let mut socket = socket;
    Arc::make_mut(&mut socket.attributes).unit = Some(unit.to_owned());
    socket
}

/// Returns the addresses and processes of the rows.
fn rows(sockets: Vec<Socket>) -> String {
    let processes = vec![
        process(7, "nginx"),
        process(8, "nginx"),
        process(9, "sshd"),
        Process { uid: Some(33), ..process(10, "nginx") },
    ];
    let numbered = (1..)
        .zip(sockets)
        .map(|(inode, socket)| Socket { inode: std::num::NonZeroU64::new(inode), ..socket });
    let sockets = numbered.collect();
    let mut report = report(&Snapshot { sockets, processes, ..empty() });
    report.entries = merge(report.entries);
    let columns = ["address", "processes.pid"].map(|name| super::super::columns::named(name).unwrap());
    let text = text(|w| table::grid(&report, &columns, false, &PLAIN, w));
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A row stands for two sockets only if it shows the same values for both.
#[test]
fn sockets_of_one_server_are_one_row() {
    let dual = |local: &str, pids: &[Pid]| Socket { v6only: Some(false), ..held(local, pids) };
    for (name, sockets, shown) in [
        ("every address", vec![held("tcp/0.0.0.0:80", &[7]), held("tcp/[::]:80", &[7])], "* 7"),
        ("loopback", vec![held("tcp/127.0.0.1:80", &[7]), held("tcp/[::1]:80", &[7])], "127.0.0.1+[::1] 7"),
        ("on a device", vec![held("udp/0.0.0.0%eth0:80", &[7]), held("udp/[::%eth0]:80", &[7])], "*%eth0 7"),
        ("both in one socket", vec![dual("tcp/[::]:80", &[7])], "* 7"),
        ("IPv6 alone", vec![Socket { v6only: Some(true), ..held("tcp/[::]:80", &[7]) }], "[::] 7"),
        (
            "the kernel",
            vec![socket("udp/0.0.0.0:2049", Owner::Kernel), socket("udp/[::]:2049", Owner::Kernel)],
            "* -",
        ),
        ("threads", vec![held("udp/127.0.0.1:53", &[7]), held("udp/127.0.0.1:53", &[7])], "127.0.0.1 7"),
        ("workers", vec![held("tcp/0.0.0.0:80", &[7]), held("tcp/0.0.0.0:80", &[8])], "0.0.0.0 7,8"),
        (
            "workers of both families",
            vec![
                held("tcp/0.0.0.0:80", &[7]),
                held("tcp/0.0.0.0:80", &[8]),
                held("tcp/[::]:80", &[7]),
                held("tcp/[::]:80", &[8]),
            ],
            "* 7,8",
        ),
        ("two processes", vec![held("tcp/0.0.0.0:80", &[7]), held("tcp/[::]:80", &[8])], "0.0.0.0 7; [::] 8"),
        (
            "two programs",
            vec![held("udp/0.0.0.0:80", &[7]), held("udp/0.0.0.0:80", &[9])],
            "0.0.0.0 7; 0.0.0.0 9",
        ),
        (
            "two users",
            vec![held("udp/0.0.0.0:80", &[7]), held("udp/0.0.0.0:80", &[10])],
            "0.0.0.0 7; 0.0.0.0 10",
        ),
        ("two protocols", vec![held("tcp/0.0.0.0:80", &[7]), held("udp/[::]:80", &[7])], "0.0.0.0 7; [::] 7"),
        ("two ports", vec![held("tcp/0.0.0.0:80", &[7]), held("tcp/[::]:81", &[7])], "0.0.0.0 7; [::] 7"),
        (
            "two units",
            vec![with_unit(held("tcp/0.0.0.0:80", &[7]), "a.service"), held("tcp/[::]:80", &[7])],
            "0.0.0.0 7; [::] 7",
        ),
        (
            "hidden",
            vec![socket("tcp/0.0.0.0:80", Owner::Hidden), socket("tcp/[::]:80", Owner::Hidden)],
            "0.0.0.0 -; [::] -",
        ),
        (
            "one not read",
            vec![held("udp/0.0.0.0:80", &[7]), held("udp/0.0.0.0:80", &[7, 11])],
            "0.0.0.0 7; 0.0.0.0 7,11",
        ),
        (
            "loopback and every address",
            vec![held("tcp/127.0.0.1:80", &[7]), held("tcp/[::]:80", &[7])],
            "[::] 7; 127.0.0.1 7",
        ),
    ] {
        assert_eq!(rows(sockets), shown, "{name}");
    }
}

/// Sockets with hidden owners share a row if everything visible about their owners is the same.
#[test]
fn hidden_sockets_of_one_unit() {
    let hidden = |local: &str, uid, unit: Option<&str>| {
        let mut socket = socket(local, Owner::Hidden);
        let attributes = Arc::make_mut(&mut socket.attributes);
        attributes.uid = uid;
        attributes.unit = unit.map(str::to_owned);
        attributes.cgroup = Some(format!("/system.slice/{}", unit.unwrap_or_default()));
        socket
    };
    let (four, six, nginx) = ("tcp/0.0.0.0:80", "tcp/[::]:80", Some("nginx.service"));
    for (name, sockets, shown) in [
        ("the same", [hidden(four, Some(0), nginx), hidden(six, Some(0), nginx)], "* -"),
        ("another user", [hidden(four, Some(0), nginx), hidden(six, Some(1), nginx)], "0.0.0.0 -; [::] -"),
        ("no user", [hidden(four, None, nginx), hidden(six, None, nginx)], "0.0.0.0 -; [::] -"),
        ("no unit", [hidden(four, Some(0), None), hidden(six, Some(0), None)], "0.0.0.0 -; [::] -"),
        (
            "another unit",
            [hidden(four, Some(0), nginx), hidden(six, Some(0), Some("b.service"))],
            "0.0.0.0 -; [::] -",
        ),
    ] {
        assert_eq!(rows(sockets.to_vec()), shown, "{name}");
    }
}

#[test]
fn flags_are_never_merged_away() {
    let backlog =
        |local: &str, receive| Socket { queues: Some(Queues { receive, send: 4 }), ..held(local, &[7]) };
    assert_eq!(rows(vec![backlog("tcp/0.0.0.0:80", 5), backlog("tcp/[::]:80", 0)]), "0.0.0.0 7; [::] 7");
    assert_eq!(rows(vec![backlog("tcp/0.0.0.0:80", 0), backlog("tcp/[::]:80", 0)]), "* 7");
}
