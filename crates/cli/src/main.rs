//! The command `heapglass`.

use std::process::ExitCode;

type Constructor = unsafe extern "C" fn(std::ffi::c_int, *const *const std::ffi::c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: [Constructor; 2] = [heapglass_cli::hand::at_start, heapglass_cli::replay::player::at_start];

fn main() -> ExitCode {
    heapglass_cli::main()
}
