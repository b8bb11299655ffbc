//! Files of code that an interpreter loads in addition to the script, according to its command line.

use super::interpreter::{command_words, without_version};

/// The options of interpreters that load a file of code before the script. The file is the next argument, or follows
/// `=`.
const LOADING_OPTIONS: [(&[&str], &[&str]); 5] = [
    (&["node", "nodejs"], &["-r", "--require", "--import", "--loader", "--experimental-loader"]),
    (&["bun"], &["-r", "--preload"]),
    (&["deno"], &["--preload"]),
    (&["ruby"], &["-r"]),
    (&["luajit", "lua"], &["-l"]),
];

/// The options of Java that load code, with the file directly after them. An argument file contains further options.
const LOADING_OPTIONS_OF_JAVA: [&str; 4] = ["-javaagent:", "-agentpath:", "-Xbootclasspath/a:", "@"];

/// Returns whether the program is Java.
pub(crate) fn is_java(program: &str) -> bool {
    without_version(program) == "java"
}

/// Returns the files of code that the options of an interpreter load in addition to the script. A name without a
/// slash is a module of the interpreter's own path.
pub(crate) fn loaded_files<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    let words = command_words(program, cmdline).unwrap_or_default();
    if is_java(program) {
        let option =
            |word: &'c String| LOADING_OPTIONS_OF_JAVA.iter().find_map(|option| word.strip_prefix(option));
        return words.iter().filter_map(option).filter_map(|file| file.split('=').next()).collect();
    }
    let name = without_version(program);
    let Some((_, options)) = LOADING_OPTIONS.iter().find(|(names, _)| names.contains(&name)) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let assigned =
            word.split_once('=').filter(|(option, _)| options.contains(option)).map(|(_, file)| file);
        let attached = if name == "ruby" { word.strip_prefix("-r") } else { None };
        let file = if options.contains(&word.as_str()) {
            rest.next().map(String::as_str)
        } else {
            assigned.or(attached)
        };
        files.extend(
            file.map(|file| file.strip_prefix("file://").unwrap_or(file)).filter(|file| file.contains('/')),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn files_that_options_load() {
        for (program, line, files) in [
            ("node", "node -r ./e.js --import=file:///a/b.mjs ok.js -r /c.js", &["./e.js", "/a/b.mjs"][..]),
            ("node", "node -r dotenv/config -r dotenv ok.js", &["dotenv/config"]),
            ("node", "node ok.js", &[]),
            ("ruby3.1", "ruby -r/a/x.rb y.rb", &["/a/x.rb"]),
            ("java", "java -javaagent:/a/b.jar=x=1 -jar app.jar", &["/a/b.jar"]),
            ("java", "java @args", &["args"]),
            ("python3", "python3 -X dev x.py", &[]),
            ("nginx", "nginx -r /x", &[]),
        ] {
            assert_eq!(loaded_files(program, &words_of(line)), files, "{line}");
        }
    }
}
