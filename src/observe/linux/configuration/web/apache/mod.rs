//! Finds the parts of Apache httpd in which everyone can write (`Dav`).

mod rules;

use self::rules::{Access, Rules, group};
use super::super::include;
use super::{MOST_SETTINGS, anyone, directory};
use crate::model::AccessSetting;

/// `Include` and `IncludeOptional` of Apache httpd. A relative path is below `ServerRoot`.
pub(in super::super) const APACHE_INCLUDE: include::Syntax = include::Syntax {
    lines: |text| Some(lines(text)),
    words: |line| {
        let mut words = words(line);
        let first = words.first_mut()?;
        if first.eq_ignore_ascii_case("IncludeOptional") {
            "include".clone_into(first);
        }
        Some(words)
    },
    base: |path, text| {
        let of_line = |line: String| match &words(&line)[..] {
            [name, root] if name.eq_ignore_ascii_case("ServerRoot") => Some(root.clone()),
            _ => None,
        };
        let named = lines(text).into_iter().find_map(of_line);
        named.or_else(|| directory(path).map(str::to_owned))
    },
};

/// Returns the lines without comments. A line that ends with a backslash is continued.
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\r\n", "\n").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (word, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).unwrap_or((&rest[1..], "")),
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// A section for a directory or a location, or the server itself.
#[derive(Default)]
struct Section {
    /// The index of its virtual host; 0 is the main server.
    host: usize,
    kind: Kind,
    path: String,
    rules: Rules,
    access: Access,
    writes: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Server,
    Directory,
    Location,
    /// A section with a pattern or a condition.
    Other,
}

#[derive(Default)]
struct Host {
    /// The ports of the virtual host. If empty, the virtual host applies to every port of the server.
    ports: Vec<u16>,
    is_unknown: bool,
    root: Option<String>,
    aliases: Vec<(String, String)>,
}

pub(in super::super) fn apache(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let (mut hosts, mut sections) = (vec![Host::default()], vec![Section::default()]);
    let mut modules = Vec::new();
    // The enclosing sections, as indices of `sections`.
    let (mut open, mut host) = (vec![0], 0);
    for line in lines(&text) {
        let words = words(line.trim_start_matches('<').trim_end_matches('>'));
        let Some((name, values)) = words.split_first() else { continue };
        let name = name.to_ascii_lowercase();
        let value = values.first().cloned().unwrap_or_default();
        let Some(current) = open.last().copied() else { return Vec::new() };
        if line.starts_with("</") {
            if name == "/virtualhost" {
                host = 0;
            }
            let name = name.trim_start_matches('/');
            if group(name, values).is_some() {
                sections[current].rules.close();
            }
            if has_scope(name) {
                open.pop();
            }
        } else if line.starts_with('<') {
            if name == "virtualhost" {
                host = hosts.len();
                hosts.push(virtual_host(values));
            }
            let is_server = sections[current].kind == Kind::Server;
            let rules = &mut sections[current].rules;
            rules.is_unclear |= name == "if" && !is_server;
            if let Some(group) = group(&name, values) {
                rules.open(group);
            }
            if has_scope(&name) {
                open.push(sections.len());
                sections.push(Section { host, kind: kind(&name, &value), path: value, ..Section::default() });
            }
        } else {
            match name.as_str() {
                "loadmodule" => modules.push(value),
                "documentroot" => hosts[host].root = Some(value),
                "alias" => hosts[host].aliases.extend(values.get(1).map(|to| (value, to.clone()))),
                "include" | "includeoptional" => return Vec::new(),
                _ => set(&mut sections[current], &name, values),
            }
        }
    }
    for section in &mut sections {
        section.access = section.rules.access();
    }
    let is_loaded = |setting: &str| {
        let module = if setting.eq_ignore_ascii_case("Dav svn") { "dav_svn_module" } else { "dav_fs_module" };
        modules.iter().any(|loaded| loaded == module)
    };
    let mut settings = Vec::new();
    for section in &sections {
        let Some(setting) = section.writes.as_ref().filter(|setting| is_loaded(setting)) else { continue };
        let of_host = &hosts[section.host];
        if of_host.is_unknown || !is_open(section, &sections, of_host) {
            continue;
        }
        let setting = match section.path.as_str() {
            "" => setting.clone(),
            path => format!("{setting} in {path}"),
        };
        match of_host.ports.is_empty() {
            true => settings.push(anyone(None, setting)),
            false => settings.extend(of_host.ports.iter().map(|port| anyone(Some(*port), setting.clone()))),
        }
    }
    settings.truncate(MOST_SETTINGS);
    settings
}

/// Returns whether a section has its own access. `<IfModule>` and `<RequireAny>` do not: their directives belong to the
/// section around them.
fn has_scope(name: &str) -> bool {
    name == "virtualhost" || name == "if" || name.starts_with("else") || {
        ["directory", "location", "files", "proxy"].iter().any(|begin| name.starts_with(begin))
    }
}

fn kind(name: &str, value: &str) -> Kind {
    let is_pattern = value.contains(['*', '?', '[', '~', '$']);
    match name {
        "virtualhost" => Kind::Server,
        "directory" if !is_pattern => Kind::Directory,
        "location" if !is_pattern => Kind::Location,
        _ => Kind::Other,
    }
}

fn virtual_host(addresses: &[String]) -> Host {
    let mut host = Host::default();
    for address in addresses {
        match address.rsplit_once(':') {
            Some((_, "*")) | None => host.is_unknown |= address.contains('$'),
            Some((_, port)) => match port.parse() {
                Ok(port) => host.ports.push(port),
                Err(_) => host.is_unknown |= !port.ends_with(']'),
            },
        }
    }
    host
}

fn set(section: &mut Section, name: &str, values: &[String]) {
    let is = |wanted: &[&str]| rules::is(values, wanted);
    match name {
        "dav" => {
            let writes = is(&["on"]) || is(&["filesystem"]) || is(&["svn"]);
            section.writes = writes.then(|| format!("Dav {}", values.join(" ")));
        }
        _ => section.rules.set(name, values),
    }
}

/// Returns whether everyone has access to a section. The section decides by its own directives, or inherits the access
/// of the directory around it.
fn is_open(section: &Section, sections: &[Section], host: &Host) -> bool {
    let applies = |other: &&Section| other.host == 0 || other.host == section.host;
    let is_for_all = |other: &Section| other.kind == Kind::Server || other.path == "/";
    let refuses = |other: &Section| other.access == Access::Restricted;
    let is_location = |other: &Section| other.kind == Kind::Location;
    if sections.iter().filter(applies).any(|one| refuses(one) && one.kind == Kind::Server) {
        return false;
    }
    // A location has precedence over a directory.
    if section.kind != Kind::Location
        && sections.iter().filter(applies).any(|one| is_location(one) && is_for_all(one) && refuses(one))
    {
        return false;
    }
    // The outer locations decide before the directories.
    let outer = sections.iter().filter(applies).filter(|one| {
        is_location(one) && one.access != Access::Inherited && is_below(&section.path, &one.path)
    });
    let mut outer = outer.filter(|_| is_location(section) && section.access == Access::Inherited).peekable();
    if outer.peek().is_some() {
        return !outer.any(refuses);
    }
    let directory = match section.kind {
        _ if section.access != Access::Inherited => return section.access == Access::Everyone,
        Kind::Server => host.root.clone(),
        Kind::Directory => Some(section.path.clone()),
        Kind::Location => {
            let alias = host.aliases.iter().filter(|(from, _)| is_below(&section.path, from));
            let longest = alias.max_by_key(|(from, _)| from.len()).map(|(_, to)| to.clone());
            longest.or_else(|| host.root.clone())
        }
        Kind::Other => None,
    };
    let Some(directory) = directory else { return false };
    let around = sections.iter().filter(applies).filter(|one| {
        one.kind == Kind::Directory && one.access != Access::Inherited && is_below(&directory, &one.path)
    });
    // Apache grants access if no section decides.
    let nearest = around.max_by_key(|one| one.path.trim_end_matches('/').len());
    nearest.is_none_or(|nearest| nearest.access == Access::Everyone)
}

fn is_below(path: &str, above: &str) -> bool {
    let above = above.trim_end_matches('/');
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: &str = "LoadModule dav_module x.so\nLoadModule dav_fs_module y.so\n";

    #[test]
    fn files_that_everyone_can_write() {
        let debian = "<Directory />\n AllowOverride None\n Require all denied\n</Directory>\n<Directory /var/www/>\n Require all granted\n</Directory>\n";
        let of = |text: &str| apache(format!("{MODULES}{debian}{text}").as_bytes());
        let in_host = |text: &str| {
            format!("<VirtualHost *:8080>\nDocumentRoot /var/www/html\n{text}\n</VirtualHost>\n")
        };
        for (text, is) in [
            ("<Directory \"/srv/dav\">\n Dav On\n Require all granted\n</Directory>", true),
            ("<Directory /var/www/html/dav>\n Dav On\n</Directory>", true),
            ("<Directory /srv/dav>\n Dav On\n</Directory>", false),
            ("<Location /dav>\n DAV on\n</Location>", true),
            ("Alias /dav /srv/dav\n<Location /dav>\n Dav On\n</Location>", false),
            ("Alias /dav /srv/dav\n<Location /dav>\n Dav On\n Require all granted\n</Location>", true),
            ("Dav On", true),
            ("<IfModule mod_dav.c>\n<Location /dav>\n Dav On\n</Location>\n</IfModule>", true),
            ("<Location /dav>\n Dav Off\n</Location>", false),
            ("<Location /dav>\n Dav On\n AuthType Basic\n Require valid-user\n</Location>", false),
            ("<Location /dav>\n Dav On\n Require ip 10.0.0.0/8\n</Location>", false),
            (
                "<Location />\n Require valid-user\n</Location>\n<Directory /var/www/html>\n Dav On\n</Directory>",
                false,
            ),
            (
                "<Location /dav>\n Dav On\n <LimitExcept GET>\n Require user x\n </LimitExcept>\n</Location>",
                false,
            ),
            ("<Location /dav>\n Dav On\n <RequireAny>\n Require user x\n </RequireAny>\n</Location>", false),
            // Without `Require`, nobody is asked for a login.
            ("<Location /dav>\n Dav On\n AuthType Basic\n</Location>", true),
            (
                "<Location />\n Require valid-user\n</Location>\n<Location /dav>\n Dav On\n AuthType Basic\n</Location>",
                false,
            ),
            (
                "<Location />\n Require all granted\n</Location>\nAlias /dav /srv/dav\n<Location /dav>\n Dav On\n</Location>",
                true,
            ),
            // One `Require` is enough, unless a group says otherwise.
            ("<Location /dav>\n Dav On\n Require valid-user\n Require all granted\n</Location>", true),
            ("<Location /dav>\n Dav On\n Require all granted\n Require ip 10.0.0.1\n</Location>", true),
            (
                "<Location /dav>\n Dav On\n <RequireAny>\n Require ip 10.0.0.1\n Require all granted\n </RequireAny>\n</Location>",
                true,
            ),
            (
                "<Location /dav>\n Dav On\n <RequireAll>\n Require all granted\n Require ip 10.0.0.1\n </RequireAll>\n</Location>",
                false,
            ),
            // Only some addresses are refused.
            (
                "<Location /dav>\n Dav On\n <RequireAll>\n Require all granted\n Require not ip 10.0.0.1\n </RequireAll>\n</Location>",
                true,
            ),
            (
                "<Location /dav>\n Dav On\n <RequireAll>\n Require all granted\n <RequireNone>\n Require ip 10.0.0.1\n </RequireNone>\n </RequireAll>\n</Location>",
                true,
            ),
            // Methods that only read are limited.
            (
                "<Location /dav>\n Dav On\n Require all granted\n <Limit GET>\n Require valid-user\n </Limit>\n</Location>",
                true,
            ),
            (
                "<Location /dav>\n Dav On\n <LimitExcept GET PUT>\n Require valid-user\n </LimitExcept>\n</Location>",
                true,
            ),
            ("<Location /dav>\n Dav On\n <Limit PUT>\n Require valid-user\n </Limit>\n</Location>", false),
            // mod_access_compat
            (
                "<Location /dav>\n Dav On\n Require valid-user\n Order allow,deny\n Allow from all\n Satisfy any\n</Location>",
                true,
            ),
            (
                "<Location /dav>\n Dav On\n Require valid-user\n Order allow,deny\n Allow from 10.0.0.1\n Satisfy any\n</Location>",
                false,
            ),
            (
                "<Location /dav>\n Dav On\n Require all granted\n Order deny,allow\n Deny from all\n</Location>",
                false,
            ),
            (
                "<Location /dav>\n Dav On\n Order allow,deny\n Allow from all\n Deny from 192.0.2.1\n</Location>",
                true,
            ),
            ("<Directory /srv/dav>\n Dav On\n Order allow,deny\n Allow from all\n</Directory>", false),
            (
                "<Directory /var/www/html>\n Dav On\n AllowOverride All\n Require all granted\n</Directory>",
                false,
            ),
            ("<Location /status>\n Require local\n</Location>\n<Location /dav>\n Dav On\n</Location>", true),
            ("<Location /svn>\n DAV svn\n</Location>", false),
            ("Include not/read.conf\n<Location /dav>\n Dav On\n</Location>", false),
        ] {
            let found = of(&in_host(text));
            assert_eq!(!found.is_empty(), is, "{text}");
            assert!(found.iter().all(|one| one.port == Some(8080)), "{text}");
        }
        let main = of("DocumentRoot /var/www/html\nDav On\n");
        assert_eq!(main.iter().map(|one| one.port).collect::<Vec<_>>(), [None]);
        assert!(apache(b"Dav On\nDocumentRoot /x\n").is_empty(), "the module is not loaded");
        for broken in ["</Directory>\n</Directory>\nDav On", "<", "<>", "</", "\"", "<Directory"] {
            drop(apache(broken.as_bytes()));
        }
    }

    #[test]
    fn included_files() {
        let base = |text: &str| (APACHE_INCLUDE.base)("/etc/apache2/apache2.conf", text);
        assert_eq!(base("# x\n").as_deref(), Some("/etc/apache2"));
        assert_eq!(base("ServerRoot \"/etc/httpd\"\n").as_deref(), Some("/etc/httpd"));
        let words = (APACHE_INCLUDE.words)("IncludeOptional sites-enabled/*.conf");
        assert_eq!(words.as_deref(), Some(&["include".to_owned(), "sites-enabled/*.conf".to_owned()][..]));
    }
}
