//! Loaders: programs that run another program in their own process, such as the dynamic loader (`ld.so PROGRAM`) and
//! emulators (`qemu-aarch64 PROGRAM`). The kernel names the loader as the program file of such a process.

use super::file_name;
use super::interpreter_syntax::{Property, Syntax, syntaxes};

/// Options whose value replaces the name with which the program was started.
const NAME: [&str; 2] = ["--argv0", "-0"];

/// The program in the command line of a loader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoadedProgram<'c> {
    pub path: &'c str,
    /// The command line of the program, without the loader and its options.
    pub cmdline: Vec<String>,
}

/// The ways in which a program can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    /// The processor executes the file of the program, so its code is mapped as executable.
    Native,
    /// The loader translates the code of the program.
    Emulator,
}

/// Returns the kind of the loader with this file name; `None` for any other program.
pub(crate) fn loader(file: &str) -> Option<Loader> {
    let syntax = syntax_of_loader(file)?;
    let is_emulator = syntax.has(Property::Argument, "emulated");
    Some(if is_emulator { Loader::Emulator } else { Loader::Native })
}

fn syntax_of_loader(file: &str) -> Option<&'static Syntax> {
    let is_loader = |syntax: &&Syntax| {
        syntax.has(Property::Argument, "program") || syntax.has(Property::Argument, "emulated")
    };
    syntaxes().filter(is_loader).find(|syntax| syntax.names.iter().any(|name| is_like(name, file)))
}

/// Returns whether a name of the table matches a file name. `*` stands for any text.
fn is_like(pattern: &str, file: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == file };
    let Some(file) = file.strip_prefix(start) else { return false };
    (0..=file.len()).any(|at| file.get(at..).is_some_and(|end| is_like(rest, end)))
}

/// Returns the program in the command line of the loader `file`; `None` if the command line names no program.
pub(crate) fn loaded_program<'c>(file: &str, cmdline: &'c [String]) -> Option<LoadedProgram<'c>> {
    let syntax = syntax_of_loader(file)?;
    let (mut at, mut name) = (1, None);
    let path = loop {
        let word = cmdline.get(at)?.as_str();
        at += 1;
        match word {
            "--" => {
                at += 1;
                break cmdline.get(at - 1)?.as_str();
            }
            // QEMU accepts options with one or two dashes.
            _ if [word, word.strip_prefix('-').unwrap_or(word)]
                .iter()
                .any(|option| syntax.has(Property::WithValue, option)) =>
            {
                let value = cmdline.get(at)?;
                at += 1;
                name = NAME.contains(&word).then_some(value.as_str()).or(name);
            }
            _ if word.starts_with('-') => {
                name = word.strip_prefix("--argv0=").or(name);
            }
            _ => break word,
        }
    };
    // If the kernel started the emulator (binfmt_misc), the word after the path may be the name with which the program
    // was started.
    if syntax.has(Property::Argument, "emulated")
        && let Some(next) = cmdline.get(at)
        && file_name(next).trim_start_matches('-') == file_name(path)
    {
        name = Some(next);
        at += 1;
    }
    let first = std::iter::once(name.unwrap_or(path).to_owned());
    Some(LoadedProgram { path, cmdline: first.chain(cmdline.iter().skip(at).cloned()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_loaders() {
        for (file, line, path, rest) in [
            (
                "ld-linux-x86-64.so.2",
                "/lib64/ld-linux-x86-64.so.2 /usr/bin/perl -e x",
                "/usr/bin/perl",
                "/usr/bin/perl -e x",
            ),
            ("ld-2.31.so", "ld.so --library-path /a:/b --inhibit-cache ./x y", "./x", "./x y"),
            ("ld-linux-aarch64.so.1", "ld.so --argv0 sh /bin/busybox -c x", "/bin/busybox", "sh -c x"),
            ("ld-musl-x86_64.so.1", "ld --argv0=sh -- /bin/busybox", "/bin/busybox", "sh"),
            ("linker64", "linker64 /data/x", "/data/x", "/data/x"),
            ("qemu-aarch64-static", "qemu -L /sysroot --cpu max -strace ./x -p 1", "./x", "./x -p 1"),
            (
                "qemu-x86_64",
                "/usr/bin/qemu-x86_64 /usr/sbin/mysqld mysqld --port 1",
                "/usr/sbin/mysqld",
                "mysqld --port 1",
            ),
            ("qemu-arm", "qemu -0 y /x", "/x", "y"),
            ("rosetta", "/run/rosetta/rosetta /bin/bash -bash", "/bin/bash", "-bash"),
            ("box64", "box64 redis-server --port 1", "redis-server", "redis-server --port 1"),
            ("memcheck-amd64-linux", "valgrind --tool=memcheck -q /x y", "/x", "/x y"),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let found = loaded_program(file, &words).map(|found| (found.path, found.cmdline.join(" ")));
            assert_eq!(found, Some((path, rest.to_owned())), "{line}");
        }
        let title = ["redis-server 0.0.0.0:6379".to_owned()];
        assert_eq!(loaded_program("ld-linux-x86-64.so.2", &title), None, "a title");
        for other in ["qemu-system-x86_64", "qemu-nbd", "ld", "libc.so.6", "valgrind-listener", "nginx"] {
            assert_eq!(loader(other), None, "{other}");
        }
        assert_eq!(loader("ld.so"), Some(Loader::Native));
        assert_eq!(loader("FEXInterpreter"), Some(Loader::Emulator));
    }
}
