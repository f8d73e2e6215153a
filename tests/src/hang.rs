//! What is asked of a program that doesn't end before it is killed: where each of its threads stands.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// A process and all below it, itself first.
fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut next = 0;
    while next < all.len() {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", all[next])).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split(' ').filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

/// The functions that a process's threads are in, innermost first, a line per thread.
fn stacks(id: u32) -> String {
    let words = ["-nx", "-batch", "-p", &id.to_string(), "-ex", "thread apply all backtrace 16"];
    let Ok(told) = Command::new("gdb").args(words).env_remove("LD_PRELOAD").output() else {
        return "  no gdb to ask".to_owned();
    };
    let mut lines = String::new();
    for line in String::from_utf8_lossy(&told.stdout).lines() {
        if line.starts_with("Thread ") {
            lines += "\n  ";
        } else if line.starts_with('#') {
            // "#1  0x0000 in name (arguments) from library", where the innermost frame may lack the address.
            let name = line.split_once(" in ").or(line.split_once("  ")).map_or(line, |(_, rest)| rest);
            lines = lines + " < " + name.split(" (").next().unwrap_or(name);
        }
    }
    lines
}

fn send(signal: &str, ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(signal).args(ids).output();
}

/// Ends a process and all below it, and tells where they stood.
pub fn end(id: u32) -> String {
    let all = family(id);
    let mut told = String::new();
    for &id in &all {
        let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        // The first words are enough to know it by; some test runners hand themselves whole settings.
        let words: String = String::from_utf8_lossy(&command).replace('\0', " ").chars().take(100).collect();
        told += &format!("{id} {words}:");
        told = told + &stacks(id) + "\n";
    }
    // Python's tests answer this one with Python's own stacks; who runs them prints what they said when they have ended.
    send("-USR1", &all[1..]);
    sleep(Duration::from_secs(2));
    send("-KILL", &all[1..]);
    sleep(Duration::from_secs(2));
    send("-KILL", &all);
    told
}
