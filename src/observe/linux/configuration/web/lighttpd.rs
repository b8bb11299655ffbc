//! Finds out whether everyone can write on lighttpd (`webdav.activate`).

use super::super::include;
use super::{anyone, directory};
use crate::model::AccessSetting;

/// `include` of lighttpd. A relative path is below the directory of the main file.
pub(in super::super) const LIGHTTPD_INCLUDE: include::Syntax = include::Syntax {
    lines: |text| Some(text.lines().map(without_comment).map(str::to_owned).collect()),
    words: |line| {
        let path = line.trim().strip_prefix("include")?.trim();
        let path = path.strip_prefix('"')?.strip_suffix('"')?;
        Some(vec!["include".to_owned(), path.to_owned()])
    },
    base: |path, _| directory(path).map(str::to_owned),
};

fn without_comment(line: &str) -> &str {
    let mut is_quoted = false;
    let end = line.find(|c: char| {
        is_quoted ^= c == '"';
        c == '#' && !is_quoted
    });
    line.get(..end.unwrap_or(line.len())).unwrap_or(line)
}

/// Settings that can prevent clients from writing. The parser does not find out where a setting applies, so it counts
/// for the whole file.
const RESTRICTIONS: [&str; 7] = [
    "auth.require",
    "auth.extern-authn",
    "$HTTP[\"remoteip\"]",
    "$HTTP[\"remote-ip\"]",
    "$HTTP[\"request-method\"]",
    "ssl.verifyclient.enforce",
    "include",
];

pub(in super::super) fn lighttpd(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    // The scripts of the lighttpd package are ignored. They only set the port and the types of files.
    let lines = text.lines().map(|line| without_comment(line).trim());
    let lines: Vec<&str> =
        lines.filter(|line| !line.contains("include_shell \"/usr/share/lighttpd/")).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    let is_enabled = |key: &str| {
        let mut values =
            lines.iter().filter_map(|line| line.split_once(key)?.1.trim_start().strip_prefix('='));
        values.any(|value| value.trim_start().starts_with("\"enable\""))
    };
    let is_open = has("\"mod_webdav\"")
        && is_enabled("webdav.activate")
        && !is_enabled("webdav.is-readonly")
        && !RESTRICTIONS.iter().any(|text| has(text));
    is_open.then(|| anyone(None, "webdav.activate = \"enable\"".to_owned())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_everyone_can_write() {
        const OPEN: &str = "server.modules = ( \"mod_access\",\n \"mod_webdav\" )\n$HTTP[\"url\"] =~ \"^/dav\" {\n webdav.activate = \"enable\" # x\n}\n";
        for (more, is) in [
            ("", true),
            ("# auth.require = ( )", true),
            ("include_shell \"/usr/share/lighttpd/create-mime.conf.pl\"", true),
            ("include_shell \"/srv/x\"", false),
            ("include \"/not/read\"", false),
            ("auth.require = ( \"/dav\" => ( ) )", false),
            ("webdav.is-readonly = \"enable\"", false),
            ("webdav.is-readonly = \"disable\"", true),
            ("$HTTP[\"remoteip\"] != \"127.0.0.1\" { url.access-deny = ( \"\" ) }", false),
        ] {
            assert_eq!(!lighttpd(format!("{OPEN}{more}\n").as_bytes()).is_empty(), is, "{more}");
        }
        for text in [
            "",
            "webdav.activate = \"enable\"",
            "server.modules = ( \"mod_webdav\" )\n#webdav.activate = \"enable\"",
        ] {
            assert!(lighttpd(text.as_bytes()).is_empty(), "{text}");
        }
        let words = (LIGHTTPD_INCLUDE.words)(" include \"conf-enabled/*.conf\"");
        assert_eq!(words.as_deref(), Some(&["include".to_owned(), "conf-enabled/*.conf".to_owned()][..]));
    }
}
