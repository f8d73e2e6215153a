//! The machine-dependent lines of this door: operators new, which must let a C++ exception pass, symbols that may be
//! missing, and what a signal handler sees of a fault.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
mod portable;
#[cfg(not(target_arch = "x86_64"))]
pub use portable::*;
