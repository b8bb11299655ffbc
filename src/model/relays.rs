//! Relays: programs that pass connections to another program or another address, which their arguments name.

/// Programs that forward connections or start other programs. The list is sorted for a fast search.
const RELAYS: [&str; 70] = [
    "busybox",
    "bwrap",
    "catatonit",
    "chronic",
    "dbus-run-session",
    "doas",
    "dumb-init",
    "entr",
    "faketime",
    "faucet",
    "find",
    "firejail",
    "flock",
    "ifne",
    "inetd",
    "inetutils-inetd",
    "ltrace",
    "nc",
    "nc.openbsd",
    "nc.traditional",
    "ncat",
    "netcat",
    "nsenter",
    "onenetd",
    "pkexec",
    "proot",
    "redir",
    "rlinetd",
    "runsv",
    "runuser",
    "s6-supervise",
    "s6-tcpserver",
    "s6-tcpserver4",
    "s6-tcpserver4d",
    "s6-tcpserver6",
    "s6-tcpserver6d",
    "s6-tcpserverd",
    "s6-tlsserver",
    "s6-tlsserverd",
    "script",
    "setsid",
    "simpleproxy",
    "socat",
    "socat1",
    "socat2",
    "socket",
    "ssh",
    "sslserver",
    "start-stop-daemon",
    "strace",
    "su",
    "sudo",
    "sudo-rs",
    "systemd-inhibit",
    "systemd-run",
    "systemd-socket-activate",
    "systemd-socket-proxyd",
    "tcp-socket-listen",
    "tcpserver",
    "tcpsvd",
    "timeout",
    "tini",
    "tini-static",
    "toybox",
    "udpsvd",
    "unshare",
    "watchexec",
    "websocat",
    "xargs",
    "xinetd",
];

pub(super) fn is_relay(program: &str) -> bool {
    RELAYS.binary_search(&program).is_ok()
}

/// Returns the words of a relay's command line that may be paths of programs: words with a slash, also after a keyword
/// (`EXEC:/srv/x`) or in a text for the shell (`--sh-exec "cd /; /srv/x"`).
pub(crate) fn possible_programs<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    if !is_relay(program) {
        return Vec::new();
    }
    let arguments = cmdline.iter().skip(1);
    let words = arguments.flat_map(|argument| {
        argument.split([' ', ',', ':', ';', '|', '&', '=', '(', ')', '"', '\'', '`', '\n', '\t'])
    });
    words.filter(|word| word.contains('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_a_relay_starts() {
        for (program, line, words) in [
            ("flock", "flock /tmp/l ./server -d", &["/tmp/l", "./server"][..]),
            ("socat", "socat TCP-LISTEN:1,fork EXEC:/srv/x,pty", &["/srv/x"]),
            ("ncat", "ncat -l 1 --sh-exec cd /; /srv/x", &["/", "/srv/x"]),
            ("tcpserver", "tcpserver 0 1 server", &[]),
            ("nginx", "nginx -c /srv/x", &[]),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(possible_programs(program, &line), words, "{line:?}");
        }
        assert!(RELAYS.iter().all(|relay| is_relay(relay)));
    }
}
