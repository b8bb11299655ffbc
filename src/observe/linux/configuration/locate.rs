//! Finds the configuration file of a server. Its command line or its systemd unit names the file, or the program uses a
//! default path.

use std::net::SocketAddr;

use super::super::process;
use super::include::{self, Syntax};
use super::{Parser, access_rules, dockerd, kafka, kubelet, nats, parse, redis, sshd, web};
use crate::model::Process;

/// The possible paths of a configuration file, and how to read the file. The file is read only if exactly one of the
/// paths exists.
pub(super) struct ConfigurationFiles {
    pub(super) paths: Vec<String>,
    /// The service whose unit names the file, if the command line does not.
    pub(super) unit: Option<String>,
    pub(super) parser: Parser,
    /// The form of `include` lines, if the format allows them.
    pub(super) includes: Option<Syntax>,
    /// The settings on the command line, as lines of the file. The server reads them after the file.
    pub(super) options: String,
    /// The beginnings of the environment variables that can replace settings of the file.
    pub(super) overriding: &'static [&'static str],
    /// Whether the settings of the file matter only if some account has no password.
    pub(super) needs_empty_account: bool,
    /// Returns whether a server with this file and these options can have these sockets.
    pub(super) agrees: fn(&[u8], &[SocketAddr]) -> bool,
}

/// Returns the command line that names the configuration file. A worker of nginx does not have it, so the command line
/// of its master is returned.
pub(super) fn command_line<'p>(process: &'p Process, all: &'p [Process]) -> &'p [String] {
    let is_worker = process.cmdline.first().is_some_and(|title| title.starts_with("nginx: worker process"));
    let master = process.parents.first().filter(|_| is_worker);
    let master = master.and_then(|parent| all.iter().find(|process| process.pid == parent.pid));
    &master.unwrap_or(process).cmdline
}

/// Returns the possible configuration files of a process with this command line. Returns `None` if the program is not
/// supported, or if the paths are not known.
pub(super) fn wanted(process: &Process, cmdline: &[String]) -> Option<ConfigurationFiles> {
    let program = process.exe.as_ref()?.path.rsplit('/').next()?;
    let arguments = cmdline.get(1..).unwrap_or_default();
    let mut options = String::new();
    let mut agrees: fn(&[u8], &[SocketAddr]) -> bool = |_, _| true;
    let mut unit = None;
    let (paths, parser): (Vec<String>, Parser) = match program {
        program if REDIS.contains(&program) => {
            agrees = redis::agrees_with;
            let paths = if names_file(arguments) {
                let (path, of_line) = redis_file(arguments)?;
                options = of_line;
                vec![path]
            } else {
                // Redis overwrites its command line with a title. If the title has no path, the unit of the service
                // names the file.
                unit = Some(process::unit(process.pid)?);
                Vec::new()
            };
            (paths, redis::redis)
        }
        "mongod" | "mongos" => (vec![option(arguments, &["--config", "-f"])?], parse::mongod),
        "nats-server" | "gnatsd" => {
            // These options replace the logins of the file.
            let is_login = |argument: &String| {
                let name = argument.trim_start_matches('-').split('=').next();
                argument.starts_with('-') && matches!(name, Some("user" | "pass" | "auth"))
            };
            if arguments.iter().any(is_login) {
                return None;
            }
            (vec![option(arguments, &["-c", "--config", "-config"])?], nats::nats)
        }
        "docker-registry" | "registry" => {
            let serve = arguments.iter().position(|argument| argument == "serve")?;
            (vec![arguments.get(serve + 1).filter(|path| !path.starts_with('-'))?.clone()], parse::registry)
        }
        "kubelet" => {
            // These options replace settings of the file, or name more files.
            const OVERRIDING: [&str; 3] = ["--anonymous-auth", "--authorization-mode", "--config-dir"];
            let name = |argument: &String| argument.split('=').next().unwrap_or_default().to_owned();
            if arguments.iter().any(|argument| OVERRIDING.contains(&&*name(argument))) {
                return None;
            }
            (vec![option(arguments, &["--config"])?], kubelet::kubelet)
        }
        "sshd" => {
            let arguments = title_arguments(cmdline, "sshd: ", " [listener]");
            let path = short_option(&arguments, 'f', "46DdeGiqTtV");
            (vec![path.unwrap_or_else(|| "/etc/ssh/sshd_config".to_owned())], sshd::sshd)
        }
        "nginx" | "openresty" | "angie" => {
            let arguments = title_arguments(cmdline, "nginx: master process ", "\0");
            // A relative path and the default path are below the directory of this option.
            if short_option(&arguments, 'p', "?hvVtTq").is_some() {
                return None;
            }
            let usual = || NGINX.map(str::to_owned).to_vec();
            (short_option(&arguments, 'c', "?hvVtTq").map_or_else(usual, |path| vec![path]), web::nginx)
        }
        "apache2" | "httpd" => {
            let usual = || APACHE.map(str::to_owned).to_vec();
            (short_option(arguments, 'f', "DXSMtTvV").map_or_else(usual, |path| vec![path]), web::apache)
        }
        "lighttpd" => (vec![short_option(arguments, 'f', "tpDvVh1i")?], web::lighttpd),
        "java" => (vec![kafka_properties(arguments)?], kafka::kafka),
        "dockerd" => {
            // If dockerd does not run as root, it reads another file, in the user's home directory.
            let usual = || (process.uid == Some(0)).then(|| "/etc/docker/daemon.json".to_owned());
            (vec![option(arguments, &["--config-file"]).or_else(usual)?], dockerd::dockerd)
        }
        "squid" => {
            let path = short_option(arguments, 'f', "CDFNRSVXYhirsvz");
            (vec![path.unwrap_or_else(|| "/etc/squid/squid.conf".to_owned())], access_rules::squid)
        }
        "tinyproxy" => {
            let paths = match short_option(arguments, 'c', "dhlv") {
                Some(path) => vec![path],
                None => ["/etc/tinyproxy/tinyproxy.conf", "/etc/tinyproxy.conf"].map(str::to_owned).to_vec(),
            };
            (paths, access_rules::tinyproxy)
        }
        _ => return None,
    };
    // Redis, Squid, Tinyproxy and mongod can change their working directory after they have read the file. A relative
    // path may then lead to another file.
    let stays =
        ["nats-server", "gnatsd", "docker-registry", "registry", "java", "dockerd"].contains(&program);
    if !stays && paths.iter().any(|path| !path.starts_with('/')) {
        return None;
    }
    let includes = match program {
        "squid" => Some(include::SQUID),
        "sshd" => Some(sshd::INCLUDE),
        "nginx" | "openresty" | "angie" => Some(web::NGINX_INCLUDE),
        "apache2" | "httpd" => Some(web::APACHE_INCLUDE),
        "lighttpd" => Some(web::LIGHTTPD_INCLUDE),
        program if REDIS.contains(&program) => Some(include::REDIS),
        _ => None,
    };
    let overriding: &[&str] = match program {
        "docker-registry" | "registry" => {
            &["REGISTRY_AUTH", "REGISTRY_HTTP=", "REGISTRY_HTTP_ADDR", "REGISTRY_HTTP_DEBUG"]
        }
        _ => &[],
    };
    Some(ConfigurationFiles {
        paths,
        unit,
        parser,
        includes,
        options,
        overriding,
        needs_empty_account: program == "sshd",
        agrees,
    })
}

/// Returns the value of `--config PATH` or `--config=PATH`. If the option is repeated, programs use the last value.
pub(super) fn option(arguments: &[String], names: &[&str]) -> Option<String> {
    let mut arguments = arguments.iter();
    let mut last = None;
    while let Some(argument) = arguments.next() {
        if names.contains(&argument.as_str()) {
            last = Some(arguments.next()?.clone());
        } else if let Some((_, path)) = argument.split_once('=').filter(|(name, _)| names.contains(name)) {
            last = Some(path.to_owned());
        }
    }
    last
}

/// Returns the value of an option with one letter: `-f PATH` or `-fPATH`. The letter may follow `flags`, as in `-dNf
/// PATH`.
pub(super) fn short_option(arguments: &[String], letter: char, flags: &str) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix('-') else { continue };
        match letters.trim_start_matches(|c| flags.contains(c)).strip_prefix(letter) {
            Some("") => return arguments.next().cloned(),
            Some(path) => return Some(path.to_owned()),
            None => {}
        }
    }
    None
}

/// Returns the arguments of a server that shows them in its title: `sshd: /usr/sbin/sshd -D [listener] 0 of 10-100
/// startups`.
fn title_arguments(cmdline: &[String], before: &str, after: &str) -> Vec<String> {
    let title = cmdline.first().and_then(|title| title.strip_prefix(before));
    match title.and_then(|title| title.split(after).next()) {
        Some(line) => line.split(' ').skip(1).map(str::to_owned).collect(),
        None => cmdline.get(1..).unwrap_or_default().to_vec(),
    }
}

/// Returns the properties file of a Kafka broker; `None` if other arguments override settings of the file.
fn kafka_properties(arguments: &[String]) -> Option<String> {
    const CLASSES: [&str; 2] = ["kafka.Kafka", "io.confluent.support.metrics.SupportedKafka"];
    let class = arguments.iter().position(|argument| CLASSES.contains(&argument.as_str()))?;
    match arguments.get(class + 1..)? {
        [path] if !path.starts_with('-') => Some(path.clone()),
        _ => None,
    }
}

/// The program files of Redis and its variants.
const REDIS: [&str; 5] =
    ["redis-server", "valkey-server", "keydb-server", "redis-check-rdb", "valkey-check-rdb"];

/// The default paths of nginx and of Apache httpd in packages and images.
const NGINX: [&str; 4] = [
    "/etc/nginx/nginx.conf",
    "/usr/local/nginx/conf/nginx.conf",
    "/usr/local/openresty/nginx/conf/nginx.conf",
    "/etc/angie/angie.conf",
];
const APACHE: [&str; 4] = [
    "/etc/apache2/apache2.conf",
    "/etc/apache2/httpd.conf",
    "/etc/httpd/conf/httpd.conf",
    "/usr/local/apache2/conf/httpd.conf",
];

fn names_file(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|path| path.contains('/') || path.ends_with(".conf"))
}

fn redis_file(arguments: &[String]) -> Option<(String, String)> {
    let (path, options) = arguments.split_first()?;
    Some((path.clone(), redis::redis_options(options)?))
}

/// Returns the configuration file and the options in the command line of a Redis service.
pub(super) fn file_of_service(command: &[String]) -> Option<(String, String)> {
    let (program, arguments) = command.split_first()?;
    let is_redis = REDIS.contains(&program.rsplit('/').next()?);
    let file = if is_redis && names_file(arguments) { redis_file(arguments) } else { None };
    file.filter(|(path, _)| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exe, ExeState};

    fn running(exe: &str, arguments: &[&str]) -> Process {
        Process {
            exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
            cmdline: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            ..Process::unknown(std::process::id())
        }
    }

    #[test]
    fn paths_on_the_command_line() {
        for (exe, arguments, path) in [
            ("/usr/bin/redis-server", &["redis-server", "/etc/r.conf"][..], Some("/etc/r.conf")),
            ("/usr/bin/redis-server", &["redis-server", "./r.conf"], None),
            ("/usr/sbin/squid", &["squid", "-f", "s.conf"], None),
            ("/usr/bin/mongod", &["mongod", "--config", "/etc/mongod.conf"], Some("/etc/mongod.conf")),
            ("/usr/bin/mongod", &["mongod", "--config=/etc/mongod.conf"], Some("/etc/mongod.conf")),
            ("/usr/bin/mongod", &["mongod", "--port", "1"], None),
            ("/usr/bin/nats-server", &["nats-server", "-c", "n.conf"], Some("n.conf")),
            ("/usr/bin/nats-server", &["nats-server", "-c", "n.conf", "--user=", "--pass="], None),
            ("/usr/bin/nats-server", &["nats-server", "-c", "n.conf", "-c=o.conf"], Some("o.conf")),
            ("/usr/bin/kubelet", &["kubelet", "--config=/var/lib/k.yaml"], Some("/var/lib/k.yaml")),
            ("/usr/bin/kubelet", &["kubelet", "--config=/k.yaml", "--anonymous-auth=true"], None),
            ("/usr/bin/kubelet", &["kubelet", "--config=/k.yaml", "--config-dir", "/d"], None),
            ("/usr/bin/kubelet", &["kubelet", "--config=k.yaml"], None),
            ("/usr/sbin/sshd", &["/usr/sbin/sshd", "-D"], Some("/etc/ssh/sshd_config")),
            (
                "/usr/sbin/sshd",
                &["sshd: /usr/sbin/sshd -D -f /s [listener] 0 of 10-100 startups"],
                Some("/s"),
            ),
            (
                "/opt/bin/java",
                &["java", "-Xmx1G", "kafka.Kafka", "config/s.properties"],
                Some("config/s.properties"),
            ),
            ("/opt/bin/java", &["java", "kafka.Kafka", "s.properties", "--override", "listeners=x"], None),
            ("/opt/bin/java", &["java", "-jar", "x.jar"], None),
            (
                "/usr/sbin/nginx",
                &["nginx: master process nginx -g daemon off; -c /etc/n.conf"],
                Some("/etc/n.conf"),
            ),
            ("/usr/sbin/nginx", &["nginx", "-p", "/srv", "-c", "n.conf"], None),
            ("/usr/sbin/apache2", &["/usr/sbin/apache2", "-f", "/a.conf", "-k", "start"], Some("/a.conf")),
            ("/usr/sbin/lighttpd", &["lighttpd", "-Df", "/etc/l.conf"], Some("/etc/l.conf")),
            (
                "/usr/sbin/squid",
                &["(squid-1)", "--kid", "squid-1", "--foreground", "-sYC"],
                Some("/etc/squid/squid.conf"),
            ),
            ("/usr/sbin/squid", &["squid", "-sNf", "/srv/s.conf"], Some("/srv/s.conf")),
            ("/usr/sbin/squid", &["squid", "-f/srv/s.conf"], Some("/srv/s.conf")),
            ("/usr/bin/tinyproxy", &["tinyproxy", "-dc", "/srv/t.conf"], Some("/srv/t.conf")),
            (
                "/usr/bin/docker-registry",
                &["docker-registry", "serve", "/etc/docker/registry/config.yml"],
                Some("/etc/docker/registry/config.yml"),
            ),
            ("/usr/bin/dockerd", &["dockerd", "--config-file=/srv/d.json"], Some("/srv/d.json")),
            ("/usr/bin/dockerd", &["dockerd", "-H", "fd://"], None),
        ] {
            let process = running(exe, arguments);
            let found = wanted(&process, &process.cmdline).map(|wanted| wanted.paths);
            assert_eq!(found, path.map(|path| vec![path.to_owned()]), "{arguments:?}");
        }
    }
}
