//! The machine-dependent lines: the system call instruction and the stack's end. x86-64 is what we run and test; elsewhere
//! the C library's `syscall` does the same, a little slower.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{find_object, initial_environment, syscall};

#[cfg(not(target_arch = "x86_64"))]
mod portable;
#[cfg(not(target_arch = "x86_64"))]
pub use portable::{find_object, initial_environment, syscall};
