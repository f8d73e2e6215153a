//! Which package may depend on which. The allocator's packages form a ladder on which each sees only what is below, and the
//! only thing that the tools share with it is `heapglass-event`, the layout of what it says of itself.

use crate::Outcome;
use crate::cargo::{list, packages, text};
use serde_json::Value;

/// All that these packages may depend on: the allocator's, and what needs no other.
const WHOLE: [(&str, &[&str]); 8] = [
    // Not the allocator's, but as free of others: figures and text.
    ("heapglass-bench", &[]),
    ("heapglass-os", &["linux-raw-sys"]),
    ("heapglass-event", &[]),
    ("heapglass-heap", &["heapglass-os", "heapglass-event"]),
    ("heapglass-malloc", &["heapglass-heap", "heapglass-os", "heapglass-event"]),
    // Those that know stacks only with its feature `profile`: see `OPTIONAL`.
    ("heapglass", &["heapglass-heap", "heapglass-os", "heapglass-event", "heapglass-profile", "heapglass-sampled"]),
    // They must run on whatever is preloaded, or stand in for it, without anything of ours in them.
    ("heapglass-workloads", &["hdrhistogram"]),
    ("heapglass-smallest", &[]),
];

/// Edges that are there only where somebody asks for them.
const OPTIONAL: [(&str, &[&str]); 1] = [("heapglass", &["heapglass-profile", "heapglass-sampled"])];

/// What the others may depend on of ours; packages from the registry are their own affair.
const OURS: [(&str, &[&str]); 9] = [
    // Files of what the heap told.
    ("heapglass-capture", &["heapglass-event"]),
    // Stacks and profiles are data, whoever they are from.
    ("heapglass-stacks", &[]),
    ("heapglass-profile", &[]),
    ("heapglass-sampled", &["heapglass-event", "heapglass-profile", "heapglass-stacks"]),
    // What reads the heap from outside knows of it what it says of itself.
    ("heapglass-inspect", &["heapglass-event"]),
    ("heapglass-report", &["heapglass-capture", "heapglass-event", "heapglass-inspect"]),
    // The library only so that it is built before the command that preloads it.
    (
        "heapglass-cli",
        &[
            "heapglass-bench",
            "heapglass-capture",
            "heapglass-event",
            "heapglass-inspect",
            "heapglass-malloc",
            "heapglass-profile",
            "heapglass-report",
            "heapglass-sampled",
            "heapglass-stacks",
        ],
    ),
    ("xtask", &["heapglass-bench"]),
    // It tries all of it.
    (
        "heapglass-fuzzed",
        &[
            "heapglass-capture",
            "heapglass-cli",
            "heapglass-event",
            "heapglass-heap",
            "heapglass-inspect",
            "heapglass-os",
        ],
    ),
];

pub fn check() -> Outcome {
    let faults = faults(&packages()?);
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() { Ok(()) } else { Err(format!("{} faults", faults.len())) }
}

fn faults(packages: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let known = |name: &str| packages.iter().any(|package| text(package, "name") == name);
    for (name, _) in WHOLE.iter().chain(&OURS) {
        if !known(name) {
            faults.push(format!("{name}: there is no such package; correct this table"));
        }
    }
    for package in packages {
        let name = text(package, "name");
        let whole = WHOLE.iter().find(|(package, _)| *package == name);
        let ours = OURS.iter().find(|(package, _)| *package == name);
        for dependency in list(package, "dependencies").iter().filter(|d| counts(d)) {
            let on = text(dependency, "name");
            let allowed = match (whole, ours) {
                (Some((_, allowed)), _) => allowed.contains(&on),
                (_, Some((_, allowed))) => allowed.contains(&on) || !known(on),
                // An example or a test may use the doors, as anyone may, but not what is behind them.
                _ => !known(on) || on == "heapglass" || on == "heapglass-event" || on == "heapglass-tests",
            };
            let must_be_asked_for = OPTIONAL.iter().any(|(package, edges)| *package == name && edges.contains(&on));
            if must_be_asked_for && dependency["optional"] != true {
                faults.push(format!("{name} may depend on {on} only where a feature asks for it"));
            }
            if !allowed {
                faults.push(format!("{name} may not depend on {on}"));
            }
        }
    }
    faults
}

/// What only tests use doesn't count, nor does what stands in for the atomics in a loom build.
fn counts(dependency: &Value) -> bool {
    text(dependency, "kind") != "dev" && text(dependency, "target") != "cfg(loom)"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edge_that_points_up_is_found() {
        let workspace = |of: &str, on: &str, kind: &str, target: &str| {
            let names = WHOLE.iter().chain(&OURS).map(|(name, _)| *name);
            let one = |name: &str| match name == of {
                true => json!({ "name": name, "dependencies": [{ "name": on, "kind": kind, "target": target }] }),
                false => json!({ "name": name, "dependencies": [] }),
            };
            faults(&names.map(one).collect::<Vec<_>>()).len()
        };
        assert_eq!(workspace("heapglass-heap", "heapglass-os", "", ""), 0);
        assert_eq!(workspace("heapglass-os", "heapglass-heap", "", ""), 1);
        assert_eq!(workspace("heapglass-os", "libc", "", ""), 1);
        assert_eq!(workspace("heapglass-os", "libc", "build", ""), 1);
        assert_eq!(workspace("heapglass-heap", "proptest", "dev", ""), 0);
        assert_eq!(workspace("heapglass-heap", "loom", "", "cfg(loom)"), 0);
        assert_eq!(workspace("heapglass-heap", "loom", "", ""), 1);
        assert_eq!(workspace("heapglass", "heapglass-sampled", "", ""), 1);
        assert_eq!(workspace("heapglass-cli", "clap", "", ""), 0);
        assert_eq!(workspace("heapglass-cli", "heapglass-heap", "", ""), 1);
        assert_eq!(workspace("xtask", "heapglass-os", "", ""), 1);
        assert_eq!(workspace("xtask", "serde_json", "", ""), 0);
        assert_eq!(faults(&[]).len(), WHOLE.len() + OURS.len());
    }
}
