//! The modules that Python loads from its working directory.

use super::interpreter::{InterpreterCommand, parse_innermost, without_build, without_version};

/// Returns the paths at which Python first searches for its module (`-m MODULE`), or for the modules that its code (`-c
/// CODE`) imports. The paths are relative to the working directory. Empty if Python does not search the working
/// directory.
pub(crate) fn modules_of_python(program: &str, cmdline: &[String]) -> Vec<String> {
    const MODULES: usize = 32;
    if !matches!(without_version(program), "python" | "pypy") {
        return Vec::new();
    }
    let (modules, end): (Vec<&str>, &str) = match parse_innermost(program, cmdline) {
        Some(InterpreterCommand::Module(module)) => (vec![module], "__main__.py"),
        Some(InterpreterCommand::Code(code)) => (imports(code), "__init__.py"),
        _ => return Vec::new(),
    };
    let holds_module = |argument: &String| {
        let range = argument.as_bytes().as_ptr_range();
        modules.iter().any(|module| range.contains(&module.as_ptr()))
    };
    let after = cmdline.iter().position(holds_module).map_or(cmdline.len(), |at| at + 1);
    let own = cmdline.get(1..after).unwrap_or_default().iter();
    // The options `-I` and `-P` exclude the working directory. After `-W` or `-X`, the other letters are a value and
    // not options.
    let clusters = own.filter(|argument| argument.starts_with('-') && !argument.starts_with("--"));
    let letters = clusters.filter_map(|argument| argument.split(['W', 'X', 'c', 'm']).next());
    if letters.into_iter().any(|letters| letters.contains(['I', 'P'])) {
        return Vec::new();
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let modules = modules.into_iter().filter(|name| !name.is_empty() && name.chars().all(is_name));
    let paths = modules.take(MODULES).map(|name| name.replace('.', "/"));
    paths.flat_map(|path| [format!("{path}.py"), format!("{path}/{end}")]).collect()
}

/// Returns the paths at which the module of `-m MODULE` may be installed. The paths are below these prefixes:
/// - the prefix of the program file (`/usr` for `/usr/bin/python3`), and the prefix of `argv[0]`. In a virtual
///   environment, `argv[0]` is a link to a program file outside the environment.
/// - `/usr` and `/usr/local`.
/// - `prefixes`.
pub(crate) fn installed_modules(exe: &str, cmdline: &[String], prefixes: &[String]) -> Vec<String> {
    /// The versions of Python 3 that are searched if the name of the program has no version.
    const VERSIONS: std::ops::RangeInclusive<u32> = 6..=15;
    let program = exe.rsplit('/').next().unwrap_or_default();
    let Some(InterpreterCommand::Module(module)) = parse_innermost(program, cmdline) else {
        return Vec::new();
    };
    let path = module.replace('.', "/");
    let package = path.split('/').next().unwrap_or_default();
    let program = without_build(program);
    let libraries: Vec<String> = match program.contains('.') {
        true => vec![program.to_owned()],
        false => VERSIONS.map(|minor| format!("python3.{minor}")).collect(),
    };
    let prefix = |path: &str| Some(path.rsplit_once('/')?.0.rsplit_once('/')?.0.to_owned());
    let further = prefixes.iter().cloned();
    let mut prefixes: Vec<String> = [Some(exe), cmdline.first().map(String::as_str)]
        .into_iter()
        .flatten()
        .filter_map(prefix)
        .chain([String::from("/usr"), String::from("/usr/local")])
        .chain(further)
        .collect();
    prefixes.dedup();
    let mut directories: Vec<String> = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for prefix in prefixes {
        for library in &libraries {
            for directory in ["", "/site-packages", "/dist-packages"] {
                directories.push(format!("{prefix}/lib/{library}{directory}"));
            }
        }
    }
    let ends = [
        format!("{package}.py"),
        format!("{package}/__init__.py"),
        format!("{path}.py"),
        format!("{path}/__main__.py"),
    ];
    directories
        .iter()
        .flat_map(|directory| ends.iter().map(move |end| format!("{directory}/{end}")))
        .collect()
}

/// Returns the prefixes of installed modules that the environment variables of a process name. These are the active
/// virtual environment, and the directory of the user (`pip install --user`).
pub(crate) fn prefixes_of_environment(environment: &[u8]) -> Vec<String> {
    let prefix = |variable: &[u8]| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        match name {
            "VIRTUAL_ENV" | "CONDA_PREFIX" | "PYTHONUSERBASE" => Some(value.to_owned()),
            "HOME" => Some(format!("{value}/.local")),
            _ => None,
        }
    };
    let prefixes = environment.split(|byte| *byte == 0).filter_map(prefix);
    prefixes.filter(|prefix| prefix.starts_with('/')).take(PREFIXES).collect()
}

/// The maximum number of prefixes. A limit is needed, because an environment can contain a variable more than once.
const PREFIXES: usize = 8;

/// Returns the modules that Python code imports, by the words after `import` and `from`.
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for statement in code.split(['\n', ';']) {
        let statement = statement.trim_start();
        if let Some(rest) = statement.strip_prefix("from ") {
            found.extend(rest.split_whitespace().next());
        } else if let Some(rest) = statement.strip_prefix("import ") {
            found.extend(rest.split(',').filter_map(|name| name.split_whitespace().next()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_python_finds_in_its_working_directory() {
        for (arguments, paths) in [
            (&["-m", "evilm"][..], &["evilm.py", "evilm/__main__.py"][..]),
            (&["-u", "-m", "a.b", "-I"], &["a/b.py", "a/b/__main__.py"]),
            (&["-c", "import evilm as e, os\nfrom x import y"], &["evilm.py", "os.py", "x.py"]),
            (&["-X", "dev", "-c", "import evilm"], &["evilm.py"]),
            (&["-Ic", "import evilm"], &[]),
            (&["-P", "-m", "evilm"], &[]),
            (&["-c", "import ../evilm"], &[]),
            (&["-mevilm", "-I"], &["evilm.py", "evilm/__main__.py"]),
            (&["-Imevilm"], &[]),
            (&["-m", "pdb", "-m", "evilm"], &["evilm.py", "evilm/__main__.py"]),
            (&["evilm.py"], &[]),
        ] {
            let mut cmdline = vec!["python3".to_owned()];
            cmdline.extend(arguments.iter().map(|&argument| argument.to_owned()));
            let found = modules_of_python("python3.11", &cmdline);
            let files: Vec<_> = found.iter().filter(|path| !path.ends_with("/__init__.py")).collect();
            assert_eq!(files, paths, "{arguments:?}");
        }
        assert!(modules_of_python("node", &["node".to_owned(), "-m".to_owned(), "x".to_owned()]).is_empty());
    }
    #[test]
    fn prefixes_that_an_environment_names() {
        let environment = b"HOME=/home/ann\0VIRTUAL_ENV=/srv/shop/venv\0PATH=/bin\0CONDA_PREFIX=relative\0";
        assert_eq!(prefixes_of_environment(environment), ["/home/ann/.local", "/srv/shop/venv"]);
        assert!(prefixes_of_environment(&b"HOME=/x\0".repeat(100)).len() <= PREFIXES);
        let exe = "/usr/bin/python3.11";
        let cmdline = ["python", "-m", "a"].map(str::to_owned);
        let found = installed_modules(exe, &cmdline, &["/srv/shop/venv".to_owned()]);
        assert!(found.contains(&"/srv/shop/venv/lib/python3.11/site-packages/a/__init__.py".to_owned()));
    }

    #[test]
    fn places_of_installed_modules() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = installed_modules("/usr/bin/python3.11", &words("/srv/venv/bin/python -m a.b"), &[]);
        for path in ["/usr/lib/python3.11/a.py", "/srv/venv/lib/python3.11/site-packages/a/b.py"] {
            assert!(found.iter().any(|one| one == path), "{path}: {found:?}");
        }
        assert!(installed_modules("/usr/bin/python3.11", &words("python3 x.py"), &[]).is_empty());
    }
}
