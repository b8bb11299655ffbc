//! The options for a debugger that the environment of Node.js and Java has.
//!
//! An environment can have secrets. Nothing but these options leaves this file.

use std::os::fd::AsFd;

use super::super::files::slurp_at;
use crate::model::Process;

/// Environments are read up to this many bytes. The kernel allows half of it for one variable (`MAX_ARG_STRLEN` of
/// linux/binfmts.h).
const LONGEST: usize = 256 * 1024;
/// Real environments have one or two such options.
const MOST_OPTIONS: usize = 16;
/// The variables with options, by the program: Node.js, and the launcher and the machine of Java.
const OF_NODE: [&str; 1] = ["NODE_OPTIONS"];
const OF_JAVA: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];
/// How the options begin that let a debugger or JMX connect.
const DEBUGGERS: [&str; 4] = ["--inspect", "-agentlib:jdwp=", "-Xrunjdwp:", "-Dcom.sun.management.jmxremote"];

/// Returns the variables that a program reads options from; none for other programs.
pub(super) fn variables(process: &Process) -> &'static [&'static str] {
    let program = process.exe.as_ref().and_then(|exe| exe.path.rsplit('/').next());
    match program.map(|name| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        Some("node" | "nodejs") => &OF_NODE,
        Some("java") => &OF_JAVA,
        _ => &[],
    }
}

/// Reads the options for a debugger from the environment of a process; none if it cannot be read.
pub(super) fn read(process: impl AsFd, variables: &[&str]) -> Vec<String> {
    slurp_at(process, "environ", 4096, LONGEST).map(|bytes| options(&bytes, variables)).unwrap_or_default()
}

/// Returns the options for a debugger in these variables of an environment: `NAME=VALUE`, each with a zero byte after it.
pub(super) fn options(environment: &[u8], variables: &[&str]) -> Vec<String> {
    let values = environment.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        variables.contains(&name).then_some(value)
    });
    let words = values.flat_map(str::split_whitespace).map(|word| word.trim_matches(['"', '\'']));
    let options = words.filter(|word| DEBUGGERS.iter().any(|begin| word.starts_with(begin)));
    options.take(MOST_OPTIONS).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_for_debuggers_are_found() {
        let java = b"PATH=/bin\0JAVA_TOOL_OPTIONS=-Dpassword=x -agentlib:jdwp=address=*:5005\0_JAVA_OPTIONS=\"-Xrunjdwp:x\"\0";
        for (name, environment, variables, found) in [
            ("Java", &java[..], &OF_JAVA[..], &["-agentlib:jdwp=address=*:5005", "-Xrunjdwp:x"][..]),
            ("not its variables", java, &OF_NODE, &[]),
            (
                "Node.js",
                b"NODE_OPTIONS=--inspect=0.0.0.0:9999 --title=x",
                &OF_NODE,
                &["--inspect=0.0.0.0:9999"],
            ),
            ("a similar name", b"XNODE_OPTIONS=--inspect\0NODE_OPTIONS\0=--inspect", &OF_NODE, &[]),
            ("not text", b"NODE_OPTIONS=--inspect\xff\0", &OF_NODE, &[]),
            ("empty", b"\0\0", &OF_NODE, &[]),
        ] {
            assert_eq!(options(environment, variables), found, "{name}");
        }
        let many = format!("NODE_OPTIONS={}", "--inspect ".repeat(1000));
        assert_eq!(options(many.as_bytes(), &OF_NODE).len(), MOST_OPTIONS);
    }
}
