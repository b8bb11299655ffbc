//! The modules that Python loads from its working directory.

use super::interpreter::{InterpreterCommand, parse_command, without_version};

/// Returns the paths, relative to the working directory, at which Python first looks for the modules that it runs or
/// that the code on its command line imports. If one of these files exists, Python runs it. Returns no paths if
/// Python does not search the working directory.
pub(crate) fn modules_of_python(program: &str, cmdline: &[String]) -> Vec<String> {
    /// The maximum number of modules in the result.
    const MODULES: usize = 32;
    if !matches!(without_version(program), "python" | "pypy") {
        return Vec::new();
    }
    let (modules, end): (Vec<&str>, &str) = match parse_command(program, cmdline) {
        Some(InterpreterCommand::Module(module)) => (vec![module], "__main__.py"),
        Some(InterpreterCommand::Code(code)) => (imports(code), "__init__.py"),
        _ => return Vec::new(),
    };
    // `-I` and `-P` leave the working directory out; after `-W` and `-X`, letters are a value.
    let own = cmdline.iter().skip(1).take_while(|argument| !modules.contains(&argument.as_str()));
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
}
