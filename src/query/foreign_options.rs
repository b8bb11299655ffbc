//! Accepts options and filters of ss and lsof. An option with another meaning in Portolan is refused.

use super::filter::{Filter, keyed};
use super::target::{Target, TargetKind};
use crate::model::{Family, Protocol};
use crate::registry::Registry;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ForeignOptions<'a> {
    pub(crate) inet: &'a [String],
    pub(crate) states: &'a [String],
    /// Whether `-t` was given. It selects TCP in ss, and prints only process IDs in lsof.
    pub(crate) t: bool,
    /// The number after a single `-p`. In lsof, this number is a process ID.
    pub(crate) pid: Option<&'a str>,
    pub(crate) port: Option<&'a str>,
}

/// Refuses options of ss and lsof that have another meaning in Portolan. The error names the command to type instead.
pub(super) fn refuse(foreign_options: &ForeignOptions<'_>) -> Result<(), String> {
    if let Some(port) = foreign_options.port {
        return Err(format!("--port {port}: a port needs no option; type portolan {port}"));
    }
    if let Some(pid) = foreign_options.pid {
        return Err(pid_refusal(pid));
    }
    if let (true, Some(inet)) = (foreign_options.t, foreign_options.inet.first()) {
        let port = inet.rsplit_once(':').map_or("PORT", |(_, port)| port);
        return Err(format!(
            "-t with -i{inet}: type portolan --pids {port} for the process IDs alone, or portolan tcp/{port}"
        ));
    }
    Ok(())
}

pub(crate) fn pid_refusal(pid: &str) -> String {
    format!("-p {pid}: type portolan --pid {pid} for the process, or portolan {pid} for the port")
}

/// Refuses the name of a protocol as a target. In `fuser -n tcp 80`, `tcp 80` is one port, but here it would be two
/// targets.
pub(super) fn refuse_bare_protocols(targets: &[String]) -> Result<(), String> {
    let Some(name) = targets.iter().find(|text| text.parse::<Protocol>().is_ok()) else { return Ok(()) };
    let port = targets.iter().find(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    Err(match (port, &*name.to_ascii_lowercase()) {
        (Some(port), _) => format!("{name} {port}: type portolan {name}/{port}"),
        (None, "tcp") => {
            format!("{name}: type portolan -t for every TCP socket, or portolan tcp/80 for one port")
        }
        (None, "udp") => {
            format!("{name}: type portolan -u for every UDP socket, or portolan udp/53 for one port")
        }
        (None, _) => format!("{name}: a protocol needs a port; type portolan {name}/80"),
    })
}

/// Parses the values of `-i`: `[46][protocol][@address][:port[,port…]]`. An empty value means every socket.
pub(super) fn inet(values: &[String], registry: &Registry) -> Result<Vec<Filter>, String> {
    values.iter().map(|text| one_inet(text, registry).map_err(|why| format!("-i {text}: {why}"))).collect()
}

fn one_inet(text: &str, registry: &Registry) -> Result<Filter, String> {
    const FORM: &str = "(expected [46][tcp|udp][@address][:port])";
    let mut filters = Vec::new();
    let mut rest = text;
    for (digit, family) in [("4", Family::Ipv4), ("6", Family::Ipv6)] {
        // A leading digit is a family only if no other digit follows. So `-i 40` has no family.
        let after = rest.strip_prefix(digit).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(after) = after {
            filters.push(Filter::Family(family));
            rest = after;
            break;
        }
    }
    let (protocol, rest) = rest.split_at(rest.find(['@', ':']).unwrap_or(rest.len()));
    if !protocol.is_empty() {
        let protocol = protocol.parse::<Protocol>().map_err(|_| format!("unknown protocol {FORM}"))?;
        filters.push(Filter::Protocol(protocol));
    }
    if rest.is_empty() {
        return Ok(Filter::All(filters));
    }
    if rest.ends_with(':') && !rest.ends_with("::") {
        return Err(format!("a port is missing after the colon {FORM}"));
    }
    if rest == "@" {
        return Err(format!("an address is missing after @ {FORM}"));
    }
    let target = Target::parse(rest.strip_prefix('@').unwrap_or(rest.trim_start_matches(':')), registry)?;
    match &target.kind {
        TargetKind::Name(name) if rest.starts_with('@') => {
            return Err(format!("{}: not an IP address {FORM}", name.name));
        }
        TargetKind::Name(name) if !registry.is_service(&name.name) => {
            let near = super::names::suggestion(&name.name, [], [], registry);
            return Err(format!("{} is not a registered service{near}", name.name));
        }
        _ => filters.push(Filter::Target(Box::new(target))),
    }
    Ok(Filter::All(filters))
}

/// Parses the values of `-s`: `TCP:LISTEN`, `TCP:SYN_SENT,ESTABLISHED`.
pub(super) fn states(values: &[String]) -> Result<Vec<Filter>, String> {
    let mut filters = Vec::new();
    for text in values {
        let names = text.split_once(':').map_or(&**text, |(_, names)| names);
        for name in names.split(',') {
            let name = name.to_lowercase().replace('_', "-");
            filters.push(keyed("state", &name).map_err(|why| {
                format!("-s {text}: {}", why.split_once(": ").map_or(&*why, |(_, why)| why))
            })?);
        }
    }
    Ok(filters)
}

/// The words with which a filter of ss can begin.
const SS_WORDS: [&str; 6] = ["sport", "dport", "src", "dst", "state", "exclude"];

/// Parses the words of an ss filter: `sport = :8080 or sport = :443`. `None` if the words are not an ss filter.
pub(super) fn ss_filter(targets: &[String]) -> Result<Option<Vec<String>>, String> {
    let text = targets.join(" ");
    let spaced = ["==", "=", "(", ")"]
        .iter()
        .fold(text.replace("==", "="), |text, sign| text.replace(sign, &format!(" {sign} ")));
    let words: Vec<&str> = spaced.split_whitespace().filter(|word| !["(", ")"].contains(word)).collect();
    if words.len() < 2 || !SS_WORDS.contains(&words[0]) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for condition in words.split(|word| ["or", "|", "||"].contains(word)) {
        let (key, value) = match condition {
            [key, "=" | "eq", value] | [key, value] => (*key, *value),
            _ => ("", ""),
        };
        match (key, value.rsplit_once(':')) {
            ("sport", None) => found.push(value.to_owned()),
            ("sport", Some((_, port))) => found.push(port.to_owned()),
            ("src", _) => found.push(value.to_owned()),
            ("dport", Some((_, port))) => {
                return Err(format!(
                    "{text}: to find connections with this port at either end, type portolan -a {port}"
                ));
            }
            ("state", _) => return Err(format!("{text}: type portolan --state {value}")),
            _ => {
                return Err(format!(
                    "{text}: this filter of ss is not supported (only 'sport = :8080' and similar filters \
                        are); type portolan 8080 or portolan 127.0.0.1:8080"
                ));
            }
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn filters_of_ss() {
        for (typed, wanted) in [
            (&["sport = :8080"][..], &["8080"][..]),
            (&["sport", "=", ":8080"], &["8080"]),
            (&["sport=:8080"], &["8080"]),
            (&["sport == :8080"], &["8080"]),
            (&["sport eq :http"], &["http"]),
            (&["( sport = :80 or sport = :443 )"], &["80", "443"]),
            (&["src 127.0.0.1:80"], &["127.0.0.1:80"]),
        ] {
            assert_eq!(ss_filter(&words(typed)), Ok(Some(words(wanted))), "{typed:?}");
        }
        for typed in [&["8080"][..], &["sport"], &["nginx", "80"], &[]] {
            assert_eq!(ss_filter(&words(typed)), Ok(None), "{typed:?}");
        }
        for (typed, remedy) in [
            ("dport = :443", "portolan -a 443"),
            ("state established", "portolan --state established"),
            ("sport > :1024", "portolan 8080"),
            ("sport = :80 and dport = :1", "portolan 8080"),
        ] {
            let error = ss_filter(&words(&[typed])).unwrap_err();
            assert!(error.contains(remedy), "{typed}: {error}");
        }
    }

    #[test]
    fn habits_that_mean_something_else_are_refused() {
        let inet = words(&[":8080"]);
        for (foreign_options, remedy) in [
            (ForeignOptions { port: Some("8080"), ..ForeignOptions::default() }, "type portolan 8080"),
            (ForeignOptions { pid: Some("41"), ..ForeignOptions::default() }, "portolan --pid 41"),
            (ForeignOptions { t: true, inet: &inet, ..ForeignOptions::default() }, "portolan --pids 8080"),
        ] {
            let error = refuse(&foreign_options).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
        assert_eq!(refuse(&ForeignOptions { inet: &inet, ..ForeignOptions::default() }), Ok(()));
        assert_eq!(refuse(&ForeignOptions { t: true, ..ForeignOptions::default() }), Ok(()));
    }

    #[test]
    fn a_protocol_is_not_a_target() {
        for (typed, remedy) in [
            (&["tcp"][..], "portolan -t"),
            (&["UDP"], "portolan -u"),
            (&["tcp", "80"], "portolan tcp/80"),
            (&["sctp"], "portolan sctp/80"),
        ] {
            let error = refuse_bare_protocols(&words(typed)).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
        assert_eq!(refuse_bare_protocols(&words(&["tcp/80", "ssh", "80"])), Ok(()));
    }

    #[test]
    fn states_of_lsof() {
        for text in ["TCP:LISTEN", "TCP:SYN_SENT,ESTABLISHED", "LISTEN"] {
            assert_eq!(
                states(&words(&[text])).map(|filters| filters.len()).ok(),
                Some(text.split(',').count())
            );
        }
        assert!(
            states(&words(&["TCP:^LISTEN"]))
                .is_err_and(|why| why.starts_with("-s TCP:^LISTEN: no such state"))
        );
    }
}
