//! Two words for the linker that Cargo has no other place for: the name by which loaders and tools know the library, and that
//! it is never unloaded, because threads' ends and forks call back into it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libheapglass.so");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
