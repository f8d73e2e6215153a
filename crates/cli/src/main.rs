//! The command `heapglass`.

use std::process::ExitCode;

fn main() -> ExitCode {
    heapglass_cli::main()
}
