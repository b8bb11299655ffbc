//! Profilers, debuggers and launchers, which run the script that their arguments name.

use super::interpreter_syntax::{InterpreterCommand, Property, properties_of};

const TIMEIT: &str = "timeit";
/// The module of Python that reads its code from standard input.
const ASYNCIO: &str = "asyncio";

/// Directories of installed programs and of Python's own modules. A profiler, debugger or launcher is recognized only
/// in these directories.
const INSTALLED: [&str; 6] = ["/usr/bin/", "/usr/local/bin/", "/bin/", "/lib/python", "/dotnet/", "/FSharp/"];

/// Returns the script or module in the arguments of `command`, if `command` is a profiler, debugger or launcher.
pub(super) fn behind<'c>(
    command: &InterpreterCommand<'c>,
    cmdline: &'c [String],
) -> Option<InterpreterCommand<'c>> {
    let (target, name) = match command {
        InterpreterCommand::Module(target) | InterpreterCommand::ClassPath(_, target) => (*target, *target),
        InterpreterCommand::File(path) => (*path, name_of(path)?),
        InterpreterCommand::Code(_) | InterpreterCommand::Relay(_) | InterpreterCommand::Nothing => {
            return None;
        }
    };
    if name == ASYNCIO && matches!(command, InterpreterCommand::Module(_)) {
        return Some(InterpreterCommand::Nothing);
    }
    let runner = properties_of(name).filter(|runner| runner.has(Property::Argument, "script"))?;
    let at = cmdline.iter().position(|word| word.as_bytes().as_ptr_range().contains(&target.as_ptr()))?;
    let mut rest = cmdline.get(at + 1..)?.iter().map(String::as_str);
    let commands = runner.values(Property::Commands);
    if !commands.is_empty() && !rest.next().is_some_and(|command| commands.contains(&command)) {
        return None;
    }
    while let Some(argument) = rest.next() {
        match argument {
            _ if runner.has(Property::NoFile, argument) => return rest.next().map(InterpreterCommand::Code),
            "-m" | "--module" => return rest.next().map(InterpreterCommand::Module),
            _ if runner.has(Property::WithValue, argument) => drop(rest.next()),
            _ if argument.starts_with('-') || argument.is_empty() => {}
            _ if name == TIMEIT => return Some(InterpreterCommand::Code(argument)),
            // These modules accept a module or a file.
            _ if matches!(name, "unittest" | "pydoc")
                && !argument.contains('/')
                && !argument.ends_with(".py") =>
            {
                return Some(InterpreterCommand::Module(argument));
            }
            _ => return Some(InterpreterCommand::File(argument)),
        }
    }
    None
}

/// Returns the name of a script, without `.py` and without its version; `None` if the script is not in a directory of
/// installed programs or modules.
fn name_of(path: &str) -> Option<&str> {
    let (directory, file) = path.rsplit_once('/')?;
    let is_installed = INSTALLED.iter().any(|part| path.contains(part)) || directory.ends_with("/bin");
    let file = file.strip_suffix(".py").unwrap_or(file);
    is_installed.then(|| file.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-')))
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::parse_command;
    use super::*;

    #[test]
    fn scripts_in_the_arguments_of_another_script() {
        use InterpreterCommand::{Code, File, Module};
        for (program, line, is) in [
            ("python3", "python3 -m cProfile -o out /tmp/x.py a", Some(File("/tmp/x.py"))),
            ("python3", "python3 -mpdb -c c /tmp/x.py", Some(File("/tmp/x.py"))),
            ("python3", "python3 -m trace --count /tmp/x.py", Some(File("/tmp/x.py"))),
            ("python3", "python3 -m cProfile -m evil", Some(Module("evil"))),
            ("python3", "python3 -m coverage run --source a x.py", Some(File("x.py"))),
            ("python3", "python3 -m coverage report x.py", None),
            ("python3", "python3 -m timeit -n 1 -s code", Some(Code("code"))),
            ("python3", "python3 -m timeit code", Some(Code("code"))),
            ("python3", "python3 -m unittest e", Some(Module("e"))),
            ("python3", "python3 -m doctest -v /tmp/e.py", Some(File("/tmp/e.py"))),
            ("python3", "python3 -m pydoc /tmp/e.py", Some(File("/tmp/e.py"))),
            ("python3", "python3 -m asyncio", Some(InterpreterCommand::Nothing)),
            ("python3", "python3 /usr/lib/python3.11/cProfile.py x.py", Some(File("x.py"))),
            ("python3", "python3 /usr/bin/ipython3 x.py", Some(File("x.py"))),
            ("python3", "python3 /srv/app/profile.py /tmp", None),
            ("python3", "python3 -m http.server /tmp", None),
            (
                "dotnet",
                "dotnet /usr/lib/dotnet/sdk/8/FSharp/fsi.dll --quiet /tmp/x.fsx",
                Some(File("/tmp/x.fsx")),
            ),
            ("java", "java -cp /a groovy.ui.GroovyMain /tmp/x.groovy", Some(File("/tmp/x.groovy"))),
            (
                "java",
                "java -cp /a org.codehaus.groovy.tools.GroovyStarter --main groovy.ui.GroovyMain --conf /c -e x",
                Some(Code("x")),
            ),
            ("java", "java -cp /a clojure.main -e x", Some(Code("x"))),
            ("python3", "python3 -m IPython -c x", Some(Code("x"))),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let command = parse_command(program, &line).unwrap();
            assert_eq!(behind(&command, &line), is, "{line:?}");
        }
    }
}
