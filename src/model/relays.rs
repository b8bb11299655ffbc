//! Relays: programs that pass connections to another program or another address, which their arguments name.

use super::interpreter_syntax::{Property, properties_of};

pub(super) fn is_relay(program: &str) -> bool {
    properties_of(program).is_some_and(|known| known.has(Property::Argument, "relay"))
}

/// Returns the words of a relay's command line that may be paths of programs: words with a slash. A path can also
/// follow a keyword (`EXEC:/srv/x`) or be part of shell code (`--sh-exec "cd /; /srv/x"`).
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
    }
}
