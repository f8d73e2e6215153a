//! The commands that `heapglass bench` runs around the measured ones.

use crate::failure::Failure;
use std::process::{Command, Stdio};

pub fn run(text: &str, no_shell: bool) -> Result<(), Failure> {
    let mut command;
    if no_shell {
        let mut words = text.split_whitespace();
        command = Command::new(words.next().ok_or_else(|| Failure::ours("an empty command can't be run"))?);
        command.args(words);
    } else {
        command = Command::new("sh");
        command.args(["-c", text]);
    }
    let status = command.env_remove("LD_PRELOAD").stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::ours(format!("`{text}` failed: {status}"))),
        Err(e) => Err(Failure::ours(format!("`{text}`: {e}"))),
    }
}
