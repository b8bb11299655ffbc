//! Files of code that an interpreter loads in addition to the script, according to its command line.

use super::interpreter::{option_words, without_version};
use super::interpreter_syntax::{Argument, Property, syntax_of, values_of};

/// The setting of Python (`-X SETTING=DIRECTORY`) that names a directory of compiled code.
const CACHE_OF_PYTHON: &str = "pycache_prefix=";

/// The settings of PHP (`-d SETTING=FILE`) that load code.
const SETTINGS_OF_PHP: [&str; 5] =
    ["auto_prepend_file", "auto_append_file", "extension", "extension_dir", "zend_extension"];

/// The options of Java that load code. The name of the file follows in the same argument.
const LOADING_OPTIONS_OF_JAVA: [&str; 3] = ["-javaagent:", "-agentpath:", "-Xbootclasspath/a:"];

pub(crate) fn is_java(program: &str) -> bool {
    without_version(program) == "java"
}

/// Returns the files that the options of an interpreter load in addition to the script. Names without a slash are left
/// out (see [`files_here`]).
pub(crate) fn loaded_files<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    if is_java(program) {
        let words = option_words(program, cmdline).unwrap_or_default();
        let option =
            |word: &'c String| LOADING_OPTIONS_OF_JAVA.iter().find_map(|option| word.strip_prefix(option));
        return words.iter().filter_map(option).filter_map(|file| file.split('=').next()).collect();
    }
    let mut files = named_files(program, cmdline);
    files.retain(|file| file.contains('/'));
    files
}

/// Returns the argument files of Java (`@FILE`), which contain further options and the class path.
pub(crate) fn argument_files<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    if !is_java(program) {
        return Vec::new();
    }
    let words = option_words(program, cmdline).unwrap_or_default();
    words.iter().filter_map(|word| word.strip_prefix('@')).collect()
}

/// Returns the files that the options name without a slash, as paths relative to the working directory.
pub(crate) fn files_here(program: &str, cmdline: &[String]) -> Vec<String> {
    let name = without_version(program);
    let places = values_of(name, Property::Places);
    let mut files = named_files(program, cmdline);
    files.retain(|file| !file.contains('/') && !file.is_empty());
    let path = |file: &str, place: &str| match name {
        "lua" | "luajit" => place.replace('?', &file.replace('.', "/")),
        _ => place.replace('?', file),
    };
    files.iter().flat_map(|file| places.iter().map(move |place| path(file, place))).collect()
}

fn named_files<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    let words = option_words(program, cmdline).unwrap_or_default();
    let files = values(program, words, Property::Loads).into_iter().filter_map(|value| {
        let setting = value.split_once('=').filter(|_| program.starts_with("php"));
        match setting {
            Some((name, file)) => SETTINGS_OF_PHP.contains(&name).then_some(file),
            None => Some(value.strip_prefix("file://").unwrap_or(value)),
        }
    });
    files.collect()
}

/// Returns the directories that an interpreter searches first for modules, according to its options.
pub(crate) fn searched_directories<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    let words = option_words(program, cmdline).unwrap_or_default();
    let is_python = matches!(without_version(program), "python" | "pypy");
    let values = values(program, words, Property::Searches).into_iter();
    let values = values.filter_map(|value| match is_python {
        true => value.strip_prefix(CACHE_OF_PYTHON),
        false => Some(value),
    });
    // The module `lib` of Perl takes directories: `-Mlib=/a,/b`, `-Mlib '/a'`.
    let of_modules = words.iter().filter(|_| without_version(program) == "perl").filter_map(|word| {
        let list = word.strip_prefix("-Mlib").or(word.strip_prefix("-mlib"))?;
        let list = list.strip_prefix(['=', ' '])?.trim_start();
        Some(list.strip_prefix("qw").filter(|list| list.starts_with(['(', ' '])).unwrap_or(list))
    });
    let of_modules = of_modules.flat_map(|list| list.split([',', ' ', '\'', '"', '(', ')']));
    let directories = values.flat_map(|value| value.split(':')).chain(of_modules);
    directories.filter(|directory| !directory.is_empty()).collect()
}

/// Returns the values that a command line gives to the options of this property. `words` are the words before the
/// script.
fn values<'c>(program: &str, words: &'c [String], property: Property) -> Vec<&'c str> {
    let name = without_version(program);
    let options = values_of(name, property);
    let Some(syntax) = syntax_of(name) else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        if let Argument::Option(option, attached) = syntax.read(word) {
            let value = attached.or_else(|| rest.next());
            found.extend(value.filter(|_| options.contains(&option)));
        }
    }
    found
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
            ("php8.2", "php -d x=1 -dauto_prepend_file=/tmp/a.php y.php", &["/tmp/a.php"]),
            ("lua5.4", "lua -l/tmp/a x.lua", &["/tmp/a"]),
            ("java", "java -javaagent:/a/b.jar=x=1 -jar app.jar", &["/a/b.jar"]),
            ("java", "java @args", &[]),
            ("node", "node --snapshot-blob /a/s.blob --env-file=/a/env x.js", &["/a/s.blob", "/a/env"]),
            ("gawk", "gawk -i /a/e.awk BEGIN{}", &["/a/e.awk"]),
            ("node", "node -r /a/e.js -e code", &["/a/e.js"]),
            ("python3", "python3 -X dev x.py", &[]),
            ("nginx", "nginx -r /x", &[]),
        ] {
            assert_eq!(loaded_files(program, &words_of(line)), files, "{line}");
        }
        assert_eq!(argument_files("java", &words_of("java -Dx=1 @/tmp/args -jar app.jar @x")), ["/tmp/args"]);
        assert_eq!(argument_files("node", &words_of("node @x")), [""; 0]);
    }

    #[test]
    fn files_in_the_working_directory() {
        for (program, line, files) in [
            ("lua5.4", "lua -l a.b x.lua", &["a/b.lua", "a/b/init.lua", "a/b.so"][..]),
            ("node", "node -r evil x.js", &["node_modules/evil", "node_modules/evil.js"]),
            ("php8.2", "php -d auto_prepend_file=a.php x.php", &["a.php"]),
            ("gawk", "gawk -i a -f x.awk", &["a", "a.awk"]),
            ("ruby", "ruby -r socket x.rb", &[]),
            ("lua", "lua -l /a x.lua", &[]),
        ] {
            assert_eq!(files_here(program, &words_of(line)), files, "{line}");
        }
    }

    #[test]
    fn directories_that_options_name() {
        for (program, line, directories) in [
            ("perl", "perl -I /a -I/b:/c -MS x.pl -I /d", &["/a", "/b", "/c"][..]),
            ("ruby", "ruby -I/a x.rb", &["/a"]),
            ("perl", "perl -I lib x.pl", &["lib"]),
            ("perl", "perl -Mlib=/a,/b -MEvil x.pl", &["/a", "/b"]),
            ("perl", "perl -Mlib=/a -e code", &["/a"]),
            ("perl", "perl -Mlibrary=/a x.pl", &[]),
            ("python3", "python3 -I x.py", &[]),
            ("python3", "python3 -X dev -Xpycache_prefix=/tmp/c x.py", &["/tmp/c"]),
        ] {
            assert_eq!(searched_directories(program, &words_of(line)), directories, "{line}");
        }
        let quoted = ["perl", "-Mlib '/a'", "-Mlib qw(/b /c)", "x.pl"].map(str::to_owned);
        assert_eq!(searched_directories("perl", &quoted), ["/a", "/b", "/c"]);
    }
}
