//! libgcc's unwinder is linked into the program: the dynamic linker then has one library less to load, which saves a
//! short listing 4% of its time. `std` asks for the shared library libgcc_s. The linker uses the static libgcc_eh instead
//! if it comes first, and leaves out the shared library because nothing needs it any more.
//!
//! The unwind tables stay in a release, although a panic ends it: an error takes a backtrace if RUST_BACKTRACE is set, and
//! libgcc aborts without the tables.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of_target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_static = of_target("FEATURE").split(',').any(|feature| feature == "crt-static");
    if of_target("OS") != "linux" || of_target("ENV") != "gnu" {
        return;
    }
    if !is_static && has_libgcc_eh() {
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Returns whether the linker has libgcc_eh: a linker that is not part of GCC may have no such library.
fn has_libgcc_eh() -> bool {
    let is_native = env::var("HOST") == env::var("TARGET");
    let Some(linker) = env::var_os("RUSTC_LINKER").or(is_native.then(|| "cc".into())) else { return false };
    let printed = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output();
    // A name without a directory means that there is no such file.
    printed.is_ok_and(|printed| {
        let path = String::from_utf8_lossy(&printed.stdout);
        printed.status.success() && Path::new(path.trim()).is_absolute()
    })
}
