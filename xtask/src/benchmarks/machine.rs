//! On what was measured: processor, memory, kernel, and how busy it was.

use super::{Context, Told, line_of};
use crate::cargo::output;
use std::fs;
use std::process::Command;

pub fn section(_: &Context) -> Result<Told, String> {
    let unknown = || "unknown".to_owned();
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_else(|_| unknown());
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let flags = line_of("/proc/cpuinfo", "flags").unwrap_or_default();
    let is_virtual = flags.split(' ').any(|flag| flag == "hypervisor");
    let cores = std::thread::available_parallelism().map_or_else(|_| unknown(), |cores| cores.to_string());
    let kibibytes = line_of("/proc/meminfo", "MemTotal").and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
    let memory = kibibytes.map_or_else(unknown, |kibibytes| format!("{:.1} GiB", kibibytes / f64::from(1 << 20)));
    let system =
        line_of("/etc/os-release", "PRETTY_NAME").map_or_else(unknown, |name| name.trim_matches('"').to_owned());
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_else(|_| unknown());
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(", ");
    let rust = output(Command::new("rustc").arg("--version")).unwrap_or_else(|_| unknown());
    let lines = [
        ("processor", format!("{cpu}, {cores} for us{}", if is_virtual { ", a virtual machine" } else { "" })),
        ("memory", memory),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("huge pages", read("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("system", system),
        ("compiler", rust.trim().to_owned()),
        ("begun", date.trim().to_owned()),
        ("load then, over 1, 5 and 15 minutes", load),
    ];
    let text = lines.map(|(what, value)| format!("- {what}: {value}\n")).concat();
    Ok(Told { text, losses: String::new() })
}
