//! Any words, each after a zero byte, as the name, the program file and the command line of a process: no panic while
//! the program is recognised and judged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals::identify;
use portolan::model::{Exe, ExeState, Process, RunTarget};

fuzz_target!(|text: &str| {
    let mut words = text.split('\0').map(str::to_owned);
    let process = Process {
        name: words.next(),
        exe: words.next().map(|path| Exe { path, state: ExeState::Present, open_directories: None }),
        cmdline: words.collect(),
        ..Process::unknown(7)
    };
    let _ = identify(&process);
    let target = RunTarget::of(&process);
    assert!(target.may_be(&target));
});
