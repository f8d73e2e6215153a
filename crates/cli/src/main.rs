//! The command `heapglass`.

use std::process::ExitCode;

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: unsafe extern "C" fn(std::ffi::c_int, *const *const std::ffi::c_char) = heapglass_cli::hand::at_start;

fn main() -> ExitCode {
    heapglass_cli::main()
}
