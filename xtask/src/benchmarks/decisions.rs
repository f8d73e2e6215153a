//! What single decisions cost or gain: Heapglass beside builds of itself that differ in one of them. (Settings could differ too,
//! but the fast path would pay for having the choice.)

use super::{Context, Told};
use crate::cargo::{cargo, list, output, shown, text};
use crate::measure::{table, words};
use crate::root;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Features of `heapglass-malloc`, by the names that the table has for them.
const BUILDS: [(&str, &str); 3] =
    [("unchecked", "unchecked"), ("park-one", "one parked"), ("park-none", "none parked")];

const INTRODUCTION: &str = "\
The same suite, Heapglass alone, in builds of which each differs in one thing: *unchecked*, whose fast paths compare nothing and believe every
pointer and header (no double free, no write after free, no overflow is found there, and headers are no longer bound to their
addresses); *one parked* and *none parked*, in which one freed pointer or none waits for its header where two do (a write after free is then found
later or not at all). Processor time and peak memory, as multiples of those of Heapglass as it is built: above 1.00 is slower or larger.
";

pub fn section(context: &Context) -> Result<Told, String> {
    let mut with = String::from("heapglass");
    for (feature, _) in BUILDS {
        with += &format!(",{feature}={}", build(feature)?.display());
    }
    let json = context.scratch("decisions.json");
    let _ = fs::remove_file(&json);
    let mut command = Command::new(context.heapglass());
    command.args(["bench", "--suite", "--runs", &context.runs.to_string(), "--scale", &context.scale, "--with", &with]);
    command.arg("--export-json").arg(&json).args(&context.items).env_remove("LD_PRELOAD");
    let status = shown(&mut command);
    let figures =
        fs::read_to_string(&json).map_err(|_| status.err().unwrap_or_else(|| "nothing was written".into()))?;
    let figures: Value = serde_json::from_str(&figures).map_err(|e| format!("{}: {e}", json.display()))?;
    Ok(Told { text: format!("{INTRODUCTION}\n{}", told(&figures)), losses: String::new() })
}

/// The library with one feature, in a target directory of its own, so that the usual build stays what it is.
fn build(feature: &str) -> Result<PathBuf, String> {
    let dir = root().join("target/decisions").join(feature);
    let words = ["build", "--quiet", "--release", "-p", "heapglass-malloc", "--features", feature, "--target-dir"];
    output(cargo().args(words).arg(&dir))?;
    let library = dir.join("release/libheapglass.so");
    if library.exists() { Ok(library) } else { Err(format!("{}: was not built", library.display())) }
}

fn told(figures: &Value) -> String {
    let mut rows = Vec::new();
    let mut all = vec![(Vec::new(), Vec::new()); BUILDS.len()];
    for item in list(figures, "items") {
        let of = |name: &str, key: &str| {
            let row = list(item, "results").iter().find(|row| text(row, "allocator") == name)?;
            row[key]["median"].as_f64()
        };
        let mut row = vec![text(item, "name").to_owned()];
        for ((feature, _), (times, peaks)) in BUILDS.iter().zip(&mut all) {
            for (key, column) in [("cpu_seconds", &mut *times), ("peak_bytes", peaks)] {
                let ratio = of(feature, key).zip(of("heapglass", key)).map(|(one, ours)| one / ours);
                row.push(ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}")));
                column.extend(ratio);
            }
        }
        rows.push(row);
    }
    let mut last = vec![format!("geometric mean of {}", rows.len())];
    for (times, peaks) in &all {
        for column in [times, peaks] {
            let logs: f64 = column.iter().map(|ratio: &f64| ratio.ln()).sum();
            let mean = (!column.is_empty()).then(|| (logs / column.len() as f64).exp());
            last.push(mean.map_or_else(|| "–".into(), |mean| format!("{mean:.3}")));
        }
    }
    rows.push(last);
    let mut head = words(["item"]);
    for (_, name) in BUILDS {
        head.extend([format!("{name}, time"), "memory".into()]);
    }
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_build_is_compared_with_ours() {
        let row = |name: &str, cpu: f64, peak: f64| json!({ "allocator": name, "cpu_seconds": { "median": cpu }, "peak_bytes": { "median": peak } });
        let results = [row("heapglass", 2.0, 100.0), row("unchecked", 1.8, 100.0), row("park-none", 3.0, 90.0)];
        let text = told(&json!({ "items": [{ "name": "pair", "results": results }] }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "| pair | 0.90 | 1.00 | – | – | 1.50 | 0.90 |");
        assert!(lines[3].starts_with("| geometric mean of 1 | 0.900 | 1.000 | "), "{text}");
    }
}
