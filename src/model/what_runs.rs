//! Names what a process runs, for people.

use std::borrow::Cow;

use super::interpreter::{InterpreterCommand, parse_command};
use super::{Process, file_name};

/// The kernel cuts the name of a process to this many bytes (`TASK_COMM_LEN`, linux/sched.h, without the NUL).
const CUT: usize = 15;

impl Process {
    /// Returns the name of the process. For an interpreter, the script, module or class follows: `python3 -m
    /// http.server`. A name that the kernel has cut is completed. `None` if the name is not known.
    #[must_use]
    pub fn what_runs(&self) -> Option<Cow<'_, str>> {
        let name = self.name.as_deref()?;
        // Only root and the owner of a process can read its program file. Without the file, the process name is enough
        // to parse the command line.
        let file = self.exe.as_ref().map_or(name, |exe| file_name(&exe.path));
        Some(match parse_command(file, &self.cmdline).and_then(|runs| target(&runs)) {
            // A process can set its name to the name of its script. The text names the script anyway, so it begins with
            // the name of the interpreter.
            Some(target) => {
                let command = self.cmdline.first().and_then(|word| word.rsplit('/').next());
                let own = [Some(name), command].into_iter().flatten();
                let program =
                    own.filter(|own| !own.is_empty()).find(|own| file.starts_with(own)).unwrap_or(file);
                format!("{program} {target}").into()
            }
            None if name.len() >= CUT && file.starts_with(name) => file.into(),
            None => name.into(),
        })
    }
}

/// Returns the short name of the script, module or class that an interpreter runs.
fn target(runs: &InterpreterCommand<'_>) -> Option<String> {
    match runs {
        InterpreterCommand::File(path) => Some(file_name(path).to_owned()),
        InterpreterCommand::ClassPath(_, class) => {
            Some(class.rsplit(['.', '/']).next().unwrap_or(class).to_owned())
        }
        InterpreterCommand::Module(module) => Some(format!("-m {module}")),
        InterpreterCommand::Code(_) => Some("(code)".to_owned()),
        InterpreterCommand::Relay(_) | InterpreterCommand::Nothing => None,
    }
}
