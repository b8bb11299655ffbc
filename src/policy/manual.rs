//! Describes the keys of a policy, and has the texts of portolan-policy(5) that the help does not contain.

/// The keys of a rule that allows listeners, each with its meaning.
pub(crate) const ALLOW: [(&str, &str); 18] = [
    ("id", "The name of the rule in the output; unique over all files."),
    ("hosts", "The name, ID or label (site=berlin) of the hosts on which the rule applies."),
    (
        "port",
        "443, \"8000-8100\", or \"ephemeral\" (the ports that the kernel gives to outgoing connections).",
    ),
    ("protocol", "\"tcp\", \"udp\", \"udplite\", \"sctp\" or \"dccp\"."),
    ("address", "The bound address, or a block that contains it: \"127.0.0.1\", \"10.0.0.0/8\"."),
    (
        "exposure",
        "\"any\", \"public\", \"private\", \"link-local\", \"multicast\", \"loopback\" or \"none\".",
    ),
    ("device", "The device that the socket is bound to."),
    (
        "executable",
        "The absolute path of the program file of each process; \"kernel\" matches sockets of the kernel.",
    ),
    (
        "runs",
        "The code that each interpreter runs: the path of its script or jar, the Java class, -m MODULE or -c CODE. For a relay such as socat, its arguments.",
    ),
    ("user", "The user of each process, by name or number."),
    ("unit", "The systemd unit of each process; a unit of a user is \"user@1000.service/NAME.service\"."),
    ("container", "The container of each process, by name or ID."),
    (
        "netns",
        "The network namespace: \"own\" (the default), the name of another namespace, or \"unnamed\" \
            (any other namespace that has no name).",
    ),
    ("reason", "Why the listener is allowed."),
    ("owner", "The person or team that is responsible for the listener."),
    ("expires", "The last day of the rule, in UTC. After this day, the rule allows nothing."),
    ("accept", "Findings that the rule accepts for its listeners: [\"impostor\"]."),
    ("required", "If true, the audit reports a missing listener."),
];

/// The keys of a rule that sets the severity of findings.
pub(crate) const SEVERITY: [(&str, &str); 7] = [
    ("code", "The code of a finding, or a list of codes. Required."),
    (
        "severity",
        "\"off\", \"info\", \"notice\", \"warning\" or \"critical\"; off removes the finding. Required.",
    ),
    ("reason", "Why the severity is different on these hosts. Required."),
    ("id", "The name of the rule; unique over all files."),
    ("hosts", "The name, ID or label (site=berlin) of the hosts on which the rule applies."),
    ("owner", "The person or team that is responsible for the rule."),
    ("expires", "The last day of the rule, in UTC."),
];

pub(crate) const PATTERNS: &str = "\
The values of hosts, device, executable, runs, unit, container and netns are patterns, which must match the whole text. \
* matches any characters except /. ** as a whole path component matches any number of directories. ? matches one \
character. [a-z] and [!a-z] match one character in or not in the set. {a,b} matches either text. A pattern \
for executable that begins with a wildcard, such as **/nginx, does not match a file that a user other than root can \
replace.";

pub(crate) const DECISION: &str = "\
Only the first rule that applies to a listener has an effect. It lowers findings about the purpose of the port (orphaned, \
ephemeral, unexplained) to info. Findings about the program keep their severity, unless the rule accepts them. A \
listener that no rule allows is unexpected, and critical.

If a rule has a condition on processes, and the processes could not be read, the audit is incomplete.";

pub(crate) const INCLUDE: &str = "\
include names other policy files. A path is relative to the including file, and the file must be in or below the \
directory of the first file. The rules of an included file come after the rules of the including file. The limits are 64 \
files, 4 MiB and 5,000 rules. An invalid policy is refused before the scan.";

#[cfg(test)]
mod tests {
    use super::super::parse::SEVERITY_KEYS;
    use super::*;

    #[test]
    fn the_manual_has_every_key_of_a_rule_about_severity() {
        let mut keys = SEVERITY.map(|(key, _)| key);
        let mut parsed = SEVERITY_KEYS;
        keys.sort_unstable();
        parsed.sort_unstable();
        assert_eq!(keys, parsed);
    }
}
