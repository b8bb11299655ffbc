//! Parses the configuration of Redis, Valkey and KeyDB.

use std::net::{IpAddr, SocketAddr};

use super::lines;
use crate::model::{AccessSetting, AdmittedClients};

/// Parses `redis.conf`. The settings count only for the ports in the file. A server on another port was started with
/// another file, or with options that are not visible.
pub(super) fn redis(bytes: &[u8]) -> Vec<AccessSetting> {
    parse(bytes).unwrap_or_default()
}

/// Returns the words of each line; `None` if a line is not understood.
fn directives(bytes: &[u8]) -> Option<Vec<Vec<String>>> {
    lines::redis(&String::from_utf8_lossy(bytes))?.iter().map(|line| lines::redis_words(line)).collect()
}

fn parse(bytes: &[u8]) -> Option<Vec<AccessSetting>> {
    let (mut password, mut acl, mut is_protected, mut is_bound) = (false, None, true, false);
    let mut admits_without_password = false;
    let (mut port, mut tls_port) = ("6379".to_owned(), String::new());
    // By default, clients of the TLS port need a certificate.
    let (mut asks_for_certificate, mut has_authority) = (true, false);
    for words in directives(bytes)? {
        let Some((directive, values)) = words.split_first() else { continue };
        let value = values.first().map_or("", String::as_str);
        match directive.to_ascii_lowercase().as_str() {
            "requirepass" => password = !value.is_empty(),
            "protected-mode" => is_protected = !value.eq_ignore_ascii_case("no"),
            "bind" => is_bound = true,
            // Redis refuses a name with white space, so it cannot have read this file.
            "user" if value.contains(char::is_whitespace) => return None,
            "user" => {
                let user = user(values);
                match user.name {
                    "default" => acl = Some(user.without_password.unwrap_or(Rights::Nothing)),
                    _ => admits_without_password |= user.without_password.is_some(),
                }
            }
            "port" => value.clone_into(&mut port),
            "tls-port" => value.clone_into(&mut tls_port),
            "tls-auth-clients" => asks_for_certificate = value.eq_ignore_ascii_case("yes"),
            "tls-ca-cert-file" | "tls-ca-cert-dir" => has_authority = !value.is_empty(),
            // The named file may set or remove a password, so the result is unknown.
            "include" | "aclfile" => return None,
            _ => {}
        }
    }
    let decided = match (password, acl) {
        (_, Some(Rights::Undecided)) => None,
        // Some user other than `default` needs no password. The rights of this user are not checked, so the result is
        // unknown.
        (_, Some(Rights::Nothing)) | (true, None) if admits_without_password => None,
        (_, Some(Rights::Nothing)) => Some(("user default", AdmittedClients::Authenticated)),
        (true, None) => Some(("requirepass", AdmittedClients::Authenticated)),
        (_, acl) if !is_protected => {
            let setting = if acl.is_some() { "user default nopass" } else { "protected-mode no" };
            Some((setting, AdmittedClients::Anyone))
        }
        // Without a password, protected mode refuses other machines. Before Redis 6.2, protected mode has no effect if
        // the file has `bind`. The version is not known, so a file with `bind` gives no result.
        _ if is_bound => None,
        _ => Some(("protected-mode yes, without a password", AdmittedClients::Local)),
    };
    let for_tls = match decided {
        Some((_, AdmittedClients::Anyone)) | None if asks_for_certificate && has_authority => {
            Some(("tls-auth-clients yes", AdmittedClients::Authenticated))
        }
        decided => decided,
    };
    let ports = [(port, decided), (tls_port, for_tls)].into_iter();
    let settings = ports.filter_map(|(port, decided)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let (setting, clients) = decided?;
        Some(AccessSetting { port: Some(port), setting: setting.to_owned(), clients })
    });
    Some(settings.collect())
}

/// Returns the options on the command line of Redis, as lines of its file. Returns `None` if Redis also reads lines
/// from standard input.
pub(super) fn redis_options(arguments: &[String]) -> Option<String> {
    let mut text = String::new();
    for argument in arguments {
        match argument.strip_prefix("--") {
            _ if argument == "-" => return None,
            Some(option) => text.extend(["\n", option, " "]),
            None => text.extend([&*lines::redis_quoted(argument), " "]),
        }
    }
    Some(text)
}

/// Rules that permit harmless commands. These commands neither read nor change data or settings.
const HARMLESS: [&str; 8] = ["+ping", "+hello", "+auth", "+echo", "+quit", "+reset", "+select", "+time"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// No commands, or only [`HARMLESS`] ones.
    Nothing,
    Undecided,
    Everything,
}

struct User<'t> {
    name: &'t str,
    /// The rights of a client without a password; `None` if the user is off or needs a password.
    without_password: Option<Rights>,
}

/// Parses the rules of a user. As in Redis, a user starts switched off and without rights.
fn user(rules: &[String]) -> User<'_> {
    let mut rules = rules.iter();
    let name = rules.next().map_or("", String::as_str);
    let (mut is_on, mut is_open, mut rights) = (false, false, Rights::Nothing);
    for rule in rules {
        match rule.to_ascii_lowercase().as_str() {
            "on" => is_on = true,
            "off" => is_on = false,
            "nopass" => is_open = true,
            "resetpass" => is_open = false,
            "reset" => (is_on, is_open, rights) = (false, false, Rights::Nothing),
            password if password.starts_with(['>', '#']) => is_open = false,
            "+@all" | "allcommands" => rights = Rights::Everything,
            "-@all" | "nocommands" => rights = Rights::Nothing,
            command if HARMLESS.contains(&command) => {}
            rule if rule.starts_with(['+', '-', '('])
                && !(rule.starts_with('-') && rights == Rights::Nothing) =>
            {
                rights = Rights::Undecided;
            }
            _ => {}
        }
    }
    User { name, without_password: (is_on && is_open).then_some(rights) }
}

/// Returns whether a server with this file can have these TCP sockets. Each socket on a port of the file must have an
/// address of `bind`. If not, the server has read another file, or was reconfigured while it was running.
pub(super) fn agrees_with(bytes: &[u8], sockets: &[SocketAddr]) -> bool {
    let directives = directives(bytes).unwrap_or_default();
    let bind =
        directives.iter().rfind(|words| words.first().is_some_and(|name| name.eq_ignore_ascii_case("bind")));
    let all = ["*".to_owned()];
    let addresses = bind.map_or(&all[..], |words| &words[1..]);
    let addresses = addresses.iter().map(|address| address.strip_prefix('-').unwrap_or(address));
    let ports: Vec<u16> = redis(bytes).iter().filter_map(|access| access.port).collect();
    let is_bound = |socket: &SocketAddr| {
        addresses.clone().any(|address| match address.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => socket.ip().is_unspecified(),
            Ok(address) => socket.ip() == address,
            Err(_) if matches!(address, "*" | "::*") => socket.ip().is_unspecified(),
            // The address of a host name is not known.
            Err(_) => true,
        })
    };
    sockets.iter().filter(|socket| ports.contains(&socket.port())).all(is_bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings of a file apply only to the ports in this file.
    #[test]
    fn redis_files() {
        use AdmittedClients::{Anyone, Authenticated, Local};
        let protected = Some(("protected-mode yes, without a password", Local));
        for (text, is) in [
            ("", protected),
            ("port 6379\nrequirepass secret\n", Some(("requirepass", Authenticated))),
            ("# requirepass foobared\n", protected),
            ("requirepass secret\nrequirepass \"\"\n", protected),
            ("bind * -::*\n", None),
            ("bind 10.0.0.1\nprotected-mode no\n", Some(("protected-mode no", Anyone))),
            ("user default on >secret ~* +@all\n", Some(("user default", Authenticated))),
            ("user default off\n", Some(("user default", Authenticated))),
            ("protected-mode no\nuser default on ~* +@all\n", Some(("user default", Authenticated))),
            ("protected-mode no\nuser default nopass ~* +@all\n", Some(("user default", Authenticated))),
            (
                "protected-mode no\nuser default on nopass resetkeys -@all +ping\nuser shop on >x ~* +@all\n",
                Some(("user default", Authenticated)),
            ),
            ("protected-mode no\nuser default on nopass ~* +@all -@dangerous\n", None),
            ("protected-mode no\nuser default on nopass ~* -@all +get\n", None),
            ("protected-mode no\nuser default on nopass ~* +@all\n", Some(("user default nopass", Anyone))),
            (
                "requirepass x\nuser default on nopass ~* +@all\nprotected-mode no\n",
                Some(("user default nopass", Anyone)),
            ),
            ("user ann on >x\n", protected),
            ("requirepass x\nuser ann on >y\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann off nopass\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann on nopass >y\n", Some(("requirepass", Authenticated))),
            ("requirepass x\nuser ann on nopass ~* +@all\n", None),
            ("user default on >x\nUSER ann NOPASS ON +@all\n", None),
            ("protected-mode no\nuser ann on nopass\n", Some(("protected-mode no", Anyone))),
            ("\"protected-mode\" no\n", Some(("protected-mode no", Anyone))),
            ("requirepass ''\nprotected-mode \"no\"", Some(("protected-mode no", Anyone))),
            ("\"\\x72equirepass\" secret\n", Some(("requirepass", Authenticated))),
            (
                "protected-mode no\nuser default \"on\" 'nopass' ~* +@all\n",
                Some(("user default nopass", Anyone)),
            ),
            ("requirepass \"x\n", None),
            ("requirepass x\nuser \"bob on nopass\"\n", None),
            ("requirepass x\n\"include\" /etc/other.conf\n", None),
            ("# x \\\nprotected-mode no\n", Some(("protected-mode no", Anyone))),
            ("requirepass x\ninclude /etc/other.conf\n", None),
            ("aclfile /etc/redis/users.acl\n", None),
        ] {
            let is = is.map(|(setting, clients)| AccessSetting {
                port: Some(6379),
                setting: setting.to_owned(),
                clients,
            });
            assert_eq!(redis(text.as_bytes()), is.into_iter().collect::<Vec<_>>(), "{text}");
        }
        let ports = |text: &str| redis(text.as_bytes()).iter().map(|access| access.port).collect::<Vec<_>>();
        assert_eq!(ports("port 7000\ntls-port 7001\n"), [Some(7000), Some(7001)]);
        assert_eq!(ports("port 0\n"), []);
    }

    /// Clients of the TLS port need a certificate, unless the file says otherwise.
    #[test]
    fn certificates_of_clients() {
        let open = "protected-mode no\nport 7000\ntls-port 7001\n";
        for (text, is) in [
            ("tls-ca-cert-file /ca\n", Some("tls-auth-clients yes")),
            ("TLS-CA-CERT-DIR /ca\ntls-auth-clients \"yes\"\n", Some("tls-auth-clients yes")),
            ("tls-ca-cert-file /ca\ntls-auth-clients optional\n", None),
            ("tls-ca-cert-file /ca\ntls-auth-clients no\n", None),
            ("", None),
        ] {
            let found = redis(format!("{open}{text}").as_bytes());
            let found = found.into_iter().map(|one| (one.port.unwrap(), one.setting)).collect::<Vec<_>>();
            let of_tls = (7001, is.unwrap_or("protected-mode no").to_owned());
            assert_eq!(found, [(7000, "protected-mode no".to_owned()), of_tls], "{text}");
        }
    }

    /// If the server listens on addresses or ports that are not in the file, the server has read another file.
    #[test]
    fn a_file_that_contradicts_the_sockets() {
        for (text, socket, agrees) in [
            ("bind 127.0.0.1 -::1\n", "0.0.0.0:6379", false),
            ("bind 127.0.0.1 -::1\n", "[::]:6379", false),
            ("bind 127.0.0.1 10.0.0.1\n", "10.0.0.1:6379", true),
            ("bind 127.0.0.1 10.0.0.1\n", "10.0.0.2:6379", false),
            ("bind * -::*\nrequirepass x\n", "[::]:6379", true),
            ("BIND 0.0.0.0\nrequirepass x\n", "0.0.0.0:6379", true),
            ("bind db.example.org\n", "10.0.0.1:6379", true),
            ("bind 127.0.0.1\nbind 0.0.0.0\nrequirepass x\n", "0.0.0.0:6379", true),
            ("requirepass x\n", "0.0.0.0:6379", true),
            ("requirepass x\n", "10.0.0.1:6379", false),
            ("bind 127.0.0.1\nrequirepass x\n", "0.0.0.0:16379", true),
        ] {
            let text = format!("requirepass x\n{text}");
            assert_eq!(agrees_with(text.as_bytes(), &[socket.parse().unwrap()]), agrees, "{text} {socket}");
        }
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in ["", "user default", "bind", "bind -", "user", "port x", "\u{fffd}"] {
            assert!(redis(text.as_bytes()).len() <= 2, "{text}");
            assert!(agrees_with(text.as_bytes(), &[]), "{text}");
        }
    }
}
