//! Finds the debugger options and the code paths in the environment of an interpreter.
//!
//! An environment can contain secrets, so this module returns only these options and paths.

use std::os::fd::AsFd;

use super::super::files::slurp_at;
use crate::model::Process;
use crate::model::interpreter::{Property, values_of, without_version};
use crate::model::loaded_code::{is_java, loaded_files, searched_directories};

/// The maximum number of bytes that are read from an environment. The kernel permits less, at most three quarters of
/// the usual stack of 8 MiB (fs/exec.c).
const LONGEST: usize = 8 * 1024 * 1024;
/// The maximum number of options; real environments have one or two.
const MOST_OPTIONS: usize = 16;
/// The maximum number of paths; real environments have a few.
const MOST_PATHS: usize = 4096;

/// The beginnings of options that let a debugger or JMX connect.
const DEBUGGERS: [&str; 4] = ["--inspect", "-agentlib:jdwp=", "-Xrunjdwp:", "-Dcom.sun.management.jmxremote"];

/// Each entry has a program, a variable, and the option that the variable switches on.
const OPENING: [(&str, &str, &str); 5] = [
    // Flask treats this variable like `flask run --debug`.
    ("python", "FLASK_DEBUG", "--debug"),
    ("filebrowser", "FB_NOAUTH", "--noauth"),
    ("rclone", "RCLONE_RC_NO_AUTH", "--rc-no-auth"),
    // Git reads settings from these variables.
    ("git-daemon", "GIT_CONFIG_PARAMETERS", RECEIVE_PACK),
    ("git-daemon", "GIT_CONFIG_KEY_", RECEIVE_PACK),
];
/// The option of git-daemon that lets clients push, and the setting with the same effect.
const RECEIVE_PACK: &str = "--enable=receive-pack";
const RECEIVE_PACK_SETTING: &str = "daemon.receivepack";

/// Returns the variables from which Node.js and Java read debugger options. Other programs have none.
pub(super) fn variables(process: &Process) -> &'static [&'static str] {
    let program = process.exe.as_ref().and_then(|exe| exe.path.rsplit('/').next());
    match program.map(|name| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        Some(name @ ("node" | "nodejs" | "java")) => values_of(name, Property::OptionVariables),
        _ => &[],
    }
}

/// Returns whether environment variables can add code to this program or let a debugger connect.
pub(super) fn is_read(process: &Process) -> bool {
    let name = without_version(program(process));
    OPENING.iter().any(|(program, ..)| *program == name)
        || [Property::PathVariables, Property::OptionVariables]
            .iter()
            .any(|kind| !values_of(name, *kind).is_empty())
}

pub(super) fn program(process: &Process) -> &str {
    process.exe.as_ref().and_then(|exe| exe.path.rsplit('/').next()).unwrap_or_default()
}

pub(super) fn read(process: impl AsFd) -> Vec<u8> {
    slurp_at(process, "environ", 4096, LONGEST).unwrap_or_default()
}

/// Returns the paths of the code that an environment adds to an interpreter.
pub(super) fn code_paths(environment: &[u8], program: &str, cmdline: &[String]) -> Vec<String> {
    let name = without_version(program);
    let (paths, options) =
        (values_of(name, Property::PathVariables), values_of(name, Property::OptionVariables));
    let mut found = Vec::new();
    for variable in environment.split(|byte| *byte == 0) {
        let Some((name, value)) = std::str::from_utf8(variable).ok().and_then(|text| text.split_once('='))
        else {
            continue;
        };
        if paths.contains(&without_lua_version(name)) && !is_overridden(name, cmdline) {
            let parts = value.split([':', ';', ' ']);
            found.extend(parts.map(|part| directory_of_pattern(part).to_owned()));
        } else if options.contains(&name) {
            found.extend(paths_in_options(program, value));
        }
    }
    found.retain(|path| !path.is_empty());
    found.truncate(MOST_PATHS);
    found
}

/// Removes the version from a variable of Lua: `LUA_PATH_5_4` becomes `LUA_PATH`.
fn without_lua_version(name: &str) -> &str {
    let of_lua =
        name.starts_with("LUA_").then(|| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_'));
    of_lua.unwrap_or(name)
}

/// Returns the directory before the `?` or `*` of a path such as `/lib/?.lua`. A path without them is unchanged. A
/// leading `@` (Lua) is removed.
fn directory_of_pattern(part: &str) -> &str {
    let part = part.strip_prefix('@').unwrap_or(part);
    let end = part.find(['?', '*']).and_then(|at| part.get(..at)?.rfind('/'));
    end.map_or(part, |end| part.get(..end).unwrap_or(part))
}

/// Returns whether the command line overrides a variable. `java -cp PATH` and `java -jar FILE` ignore `CLASSPATH`.
/// Python ignores its variables with `-I` or `-E`.
fn is_overridden(name: &str, cmdline: &[String]) -> bool {
    let options = cmdline.iter().skip(1).take_while(|word| word.starts_with('-'));
    match name {
        "CLASSPATH" => {
            const CLASS_PATH: [&str; 4] = ["-cp", "-classpath", "--class-path", "-jar"];
            cmdline.iter().any(|word| CLASS_PATH.contains(&word.as_str()))
        }
        name if name.starts_with("PYTHON") => {
            let mut letters = options.filter_map(|word| word.split(['W', 'X', 'c', 'm']).next());
            letters.any(|letters| !letters.starts_with("--") && letters.contains(['I', 'E']))
        }
        _ => false,
    }
}

fn paths_in_options(program: &str, value: &str) -> Vec<String> {
    let words = value.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned());
    let words: Vec<String> = std::iter::once(program.to_owned()).chain(words).collect();
    let mut found: Vec<String> = [loaded_files(program, &words), searched_directories(program, &words)]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if is_java(program) {
        let class_paths = words.windows(2).filter(|pair| ["-cp", "-classpath"].contains(&pair[0].as_str()));
        let assigned = words.iter().filter_map(|word| word.strip_prefix("--class-path="));
        let class_paths = class_paths.map(|pair| pair[1].as_str()).chain(assigned);
        let elements = class_paths.flat_map(|path| path.split(':'));
        found.extend(elements.map(|element| element.strip_suffix("/*").unwrap_or(element).to_owned()));
    }
    found
}

/// Returns the debugger options in these variables. In an environment, a zero byte follows each `NAME=VALUE`.
pub(super) fn options(environment: &[u8], variables: &[&str]) -> Vec<String> {
    let values =
        variables_of(environment).filter(|(name, _)| variables.contains(name)).map(|(_, value)| value);
    let words = values.flat_map(str::split_whitespace).map(|word| word.trim_matches(['"', '\'']));
    let options = words.filter(|word| DEBUGGERS.iter().any(|begin| word.starts_with(begin)));
    options.take(MOST_OPTIONS).map(str::to_owned).collect()
}

/// Returns the options that environment variables switch on for a program.
pub(super) fn opening_options(environment: &[u8], program: &str, cmdline: &[String]) -> Vec<String> {
    let name = without_version(program);
    let runs_flask = || cmdline.iter().any(|word| word.rsplit('/').next() == Some("flask"));
    let forbids = || cmdline.iter().any(|word| word == "--forbid-override=receive-pack");
    let of_program = OPENING.iter().filter(|(program, ..)| *program == name);
    let is_used = |option: &str| match option {
        "--debug" => runs_flask(),
        RECEIVE_PACK => !forbids(),
        _ => true,
    };
    let is_set = |variable: &str| {
        variables_of(environment).any(|(name, value)| match variable {
            "GIT_CONFIG_PARAMETERS" if name == variable => has_receive_pack(value),
            // This variable contains the key of a setting. The variable `GIT_CONFIG_VALUE_` with the same number
            // contains its value.
            "GIT_CONFIG_KEY_" => name.strip_prefix(variable).is_some_and(|number| {
                let key = format!("GIT_CONFIG_VALUE_{number}");
                let of_setting = variables_of(environment).filter(|(name, _)| *name == key);
                value.eq_ignore_ascii_case(RECEIVE_PACK_SETTING)
                    && of_setting.map(|(_, value)| value).all(is_on)
            }),
            _ => name == variable && is_on(value),
        })
    };
    let found = of_program.filter(|(_, variable, option)| is_used(option) && is_set(variable));
    found.map(|(.., option)| (*option).to_owned()).collect()
}

/// Returns whether a text such as `'daemon.receivepack'='true'` or `'daemon.receivepack=true'` lets clients push.
fn has_receive_pack(parameters: &str) -> bool {
    parameters.split_whitespace().map(|word| word.replace('\'', "")).any(|word| {
        let (key, value) = word.split_once('=').unwrap_or((&word, "true"));
        key.eq_ignore_ascii_case(RECEIVE_PACK_SETTING) && is_on(value)
    })
}

/// Returns whether a value switches an option on. A value that is not in `OFF` counts as on, because programs treat it
/// as on or refuse it.
fn is_on(value: &str) -> bool {
    const OFF: [&str; 6] = ["", "0", "f", "false", "no", "off"];
    !OFF.contains(&value.to_ascii_lowercase().as_str())
}

/// Returns whether the environment of a process has a variable whose name begins with one of these texts. Returns true
/// if the environment cannot be read.
pub(super) fn has_any(process: impl AsFd, beginnings: &[&str]) -> bool {
    let environment = read(process);
    let begins = |variable: &[u8]| beginnings.iter().any(|begin| variable.starts_with(begin.as_bytes()));
    environment.is_empty() || environment.split(|byte| *byte == 0).any(begins)
}

fn variables_of(environment: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let variables = environment.split(|byte| *byte == 0);
    variables.filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_switch_on_an_option() {
        let flask = "python3 /usr/bin/flask run -h 0.0.0.0";
        for (program, cmdline, environment, found) in [
            ("python3.11", flask, "A=b\0FLASK_DEBUG=1\0", Some("--debug")),
            ("python3.11", flask, "FLASK_DEBUG=True", Some("--debug")),
            ("python3.11", flask, "FLASK_DEBUG=false", None),
            ("python3.11", flask, "FLASK_DEBUG=", None),
            ("python3.11", flask, "XFLASK_DEBUG=1", None),
            ("python3.11", "python3 app.py", "FLASK_DEBUG=1", None),
            ("filebrowser", "filebrowser", "FB_NOAUTH=true", Some("--noauth")),
            ("rclone", "rclone rcd", "RCLONE_RC_NO_AUTH=true", Some("--rc-no-auth")),
            (
                "git-daemon",
                "git-daemon",
                "GIT_CONFIG_PARAMETERS='daemon.receivepack=true'",
                Some(RECEIVE_PACK),
            ),
            (
                "git-daemon",
                "git-daemon",
                "GIT_CONFIG_PARAMETERS='a.b'='c' 'Daemon.ReceivePack'='1'",
                Some(RECEIVE_PACK),
            ),
            ("git-daemon", "git-daemon", "GIT_CONFIG_PARAMETERS='daemon.receivepack'", Some(RECEIVE_PACK)),
            ("git-daemon", "git-daemon", "GIT_CONFIG_PARAMETERS='daemon.receivepack'='false'", None),
            ("git-daemon", "git-daemon", "GIT_CONFIG_PARAMETERS='daemon.uploadpack=true'", None),
            (
                "git-daemon",
                "git-daemon",
                "GIT_CONFIG_COUNT=1\0GIT_CONFIG_KEY_0=daemon.receivepack\0GIT_CONFIG_VALUE_0=true",
                Some(RECEIVE_PACK),
            ),
            ("git-daemon", "git-daemon", "GIT_CONFIG_KEY_0=daemon.receivepack\0GIT_CONFIG_VALUE_0=no", None),
            (
                "git-daemon",
                "git-daemon --forbid-override=receive-pack",
                "GIT_CONFIG_PARAMETERS='daemon.receivepack=true'",
                None,
            ),
            ("nginx", "nginx", "FLASK_DEBUG=1", None),
        ] {
            let cmdline: Vec<String> = cmdline.split(' ').map(str::to_owned).collect();
            let options = opening_options(environment.as_bytes(), program, &cmdline);
            assert_eq!(options.first().map(String::as_str), found, "{environment}");
        }
    }

    #[test]
    fn only_options_for_debuggers_and_paths_of_code_are_found() {
        let java = b"PATH=/bin\0JAVA_TOOL_OPTIONS=-Dpassword=x -agentlib:jdwp=address=*:5005\0_JAVA_OPTIONS=\"-Xrunjdwp:x\"\0";
        let of = |name| values_of(name, Property::OptionVariables);
        for (name, environment, variables, found) in [
            ("Java", &java[..], of("java"), &["-agentlib:jdwp=address=*:5005", "-Xrunjdwp:x"][..]),
            ("not its variables", java, of("node"), &[]),
            (
                "Node.js",
                b"NODE_OPTIONS=--inspect=0.0.0.0:9999 --title=x",
                of("node"),
                &["--inspect=0.0.0.0:9999"],
            ),
            ("a similar name", b"XNODE_OPTIONS=--inspect\0NODE_OPTIONS\0=--inspect", of("node"), &[]),
            ("not text", b"NODE_OPTIONS=--inspect\xff\0", of("node"), &[]),
            ("empty", b"\0\0", of("node"), &[]),
        ] {
            assert_eq!(options(environment, variables), found, "{name}");
        }
        for (program, cmdline, environment, paths) in [
            ("python3.11", "python3 x.py", "A=/s\0PYTHONPATH=/a::/b:c\0PERL5LIB=/d", &["/a", "/b", "c"][..]),
            ("python3.11", "python3 -I x.py", "PYTHONPATH=/a", &[]),
            ("python3.11", "python3 -i", "PYTHONSTARTUP=/a.py\0PYTHONPATH=lib", &["/a.py", "lib"]),
            ("lua5.4", "lua x.lua", "LUA_PATH_5_4=/a/?.lua;;\0LUA_INIT=@/b.lua", &["/a", "/b.lua"]),
            ("dash", "sh", "ENV=/a.sh", &["/a.sh"]),
            ("R", "R", "R_PROFILE_USER=/a", &["/a"]),
            ("perl", "perl x.pl", "PERL5LIB=/a\0PERL5OPT=-I/b -MS", &["/a", "/b"]),
            ("ruby3.1", "ruby x.rb", "RUBYOPT=-r/a/x.rb -I /b", &["/a/x.rb", "/b"]),
            (
                "node",
                "node x.js",
                "NODE_OPTIONS=--title x --require /a/x.js\0NODE_PATH=/b",
                &["/a/x.js", "/b"],
            ),
            (
                "java",
                "java Main",
                "CLASSPATH=/a/*:/b\0JDK_JAVA_OPTIONS=-cp /c -javaagent:/d.jar=x",
                &["/a", "/b", "/d.jar", "/c"],
            ),
            ("java", "java -jar /x.jar", "CLASSPATH=/a", &[]),
            ("nginx", "nginx", "PYTHONPATH=/a", &[]),
        ] {
            let cmdline: Vec<String> = cmdline.split(' ').map(str::to_owned).collect();
            assert_eq!(code_paths(environment.as_bytes(), program, &cmdline), paths, "{environment:?}");
        }
        let many = format!("NODE_OPTIONS={}", "--inspect ".repeat(1000));
        assert_eq!(options(many.as_bytes(), of("node")).len(), MOST_OPTIONS);
    }
}
