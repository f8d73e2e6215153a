//! The suite: `heapglass bench --suite` writes tables and picture; here stands beside them which allocators these were.

use super::{Context, Told};
use crate::cargo::{list, output, shown, text};
use crate::root;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const INTRODUCTION: &str = "\
Our own workloads are programs of plain malloc and free (`heapglass-workloads`), written from published descriptions; the others are
programs that people use, with inputs that lie in `crates/cli/suite`. Each ran under each allocator by preloading it, in rounds that begin with
another allocator each time. Time is user and system time with all children, since a machine is seldom ours alone; wall time stands beside it. Memory
is the peak of resident memory of the largest process. Every program's output was compared with its output under the C library.
";

pub fn section(context: &Context) -> Result<Told, String> {
    let (svg, picture) = context.picture("suite.svg", "Time and memory of each allocator, in all and for each program");
    let (json, markdown) = (context.scratch("suite.json"), context.scratch("suite.md"));
    let mut command = Command::new(context.heapglass());
    command.args(["bench", "--suite", "--runs", &context.runs.to_string(), "--scale", &context.scale]);
    command.arg("--export-svg").arg(&svg).arg("--export-json").arg(&json).arg("--export-markdown").arg(&markdown);
    command.arg("--export-csv").arg(context.scratch("suite.csv")).args(&context.items).env_remove("LD_PRELOAD");
    // An item that failed is a row that says so, and a status that isn't 0; without any row there are no files.
    let _ = fs::remove_file(&json);
    let status = shown(&mut command);
    let read = |path: &Path| {
        let text = fs::read_to_string(path).ok().filter(|text| !text.is_empty());
        text.ok_or_else(|| status.clone().err().unwrap_or_else(|| format!("{}: nothing was written", path.display())))
    };
    let figures: Value = serde_json::from_str(&read(&json)?).map_err(|e| format!("{}: {e}", json.display()))?;
    let runs = format!("\n{} runs each, after one under the C library; work times {}.\n", context.runs, context.scale);
    let (rest, losses) = apart(&read(&markdown)?);
    let text = [INTRODUCTION, &runs, "\n", &picture, "\n", &allocators(&figures), "\n", &rest].concat();
    Ok(Told { text, losses })
}

/// The piece about losses, which stands with those of other sections, and all others.
fn apart(markdown: &str) -> (String, String) {
    const LOSSES: &str = "### Where Heapglass loses\n";
    let Some((before, from)) = markdown.split_once(LOSSES) else { return (markdown.to_owned(), String::new()) };
    let end = from.find("\n### ").map_or(from.len(), |at| at + 1);
    (format!("{before}{}", &from[end..]), from[..end].to_owned())
}

fn allocators(figures: &Value) -> String {
    let mut out = String::from("### Allocators\n\n| allocator | version | from |\n| :--- | :--- | :--- |\n");
    let rows = list(figures, "items").first().map_or(&[][..], |item| list(item, "results"));
    for row in rows {
        let (name, library) = (text(row, "allocator"), row["library"].as_str().map(Path::new));
        let (version, from) = version(name, library).unwrap_or_else(|| ("unknown".into(), "unknown".into()));
        out += &format!("| {name} | {version} | {from} |\n");
    }
    out
}

/// Its version, and where it comes from.
pub fn version(name: &str, library: Option<&Path>) -> Option<(String, String)> {
    let Some(library) = library else {
        return Some((
            output(Command::new("getconf").arg("GNU_LIBC_VERSION")).ok()?.trim().into(),
            "the system".into(),
        ));
    };
    if library.starts_with(root().join("target/release")) {
        let commit = output(Command::new("git").current_dir(root()).args(["describe", "--always", "--dirty"]));
        return Some((format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.ok()?.trim()), "this repository".into()));
    }
    let record = fs::read_to_string(root().join("target/rivals/versions.tsv")).unwrap_or_default();
    let built = record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t')?.split('\t').next());
    if let Some(version) = built.filter(|_| library.starts_with(root().join("target/rivals"))) {
        return Some((version.into(), "its crate, built by `cargo xtask rivals`".into()));
    }
    // Packages name files by where they were put, which may be a link to where they lie.
    let real = fs::canonicalize(library).ok()?;
    let owner =
        output(Command::new("dpkg-query").arg("-S").arg(format!("*/{}", real.file_name()?.to_string_lossy()))).ok()?;
    let package = owner.lines().next()?.split(": ").next()?.to_owned();
    let version = output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", &package])).ok()?;
    Some((version, format!("Debian's package {}", package.split(':').next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn losses_are_taken_apart() {
        let (rest, losses) = apart("### Time\n\n1\n\n### Where Heapglass loses\n\nhere\n\n### More\n\n2\n");
        assert_eq!(rest, "### Time\n\n1\n\n### More\n\n2\n");
        assert_eq!(losses, "\nhere\n\n");
        assert_eq!(apart("### Time\n"), ("### Time\n".into(), String::new()));
    }

    #[test]
    fn every_allocator_has_a_line() {
        let rows = json!([{ "allocator": "libc", "library": null }, { "allocator": "odd", "library": "/no/such.so" }]);
        let text = allocators(&json!({ "items": [{ "results": rows }] }));
        assert!(text.contains("| libc | glibc ") && text.contains("| odd | unknown | unknown |\n"), "{text}");
    }
}
