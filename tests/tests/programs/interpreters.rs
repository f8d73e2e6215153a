//! Languages: perl, lua, node, bash. Each runs a script of ours on both allocators; what it prints must not differ.

use crate::trial::{Trial, script};
use heapglass_tests::have;

#[test]
fn perl() {
    if !have("perl") {
        return;
    }
    let trial = Trial::new("perl");
    let ran = trial.same("perl", &[&script("work.pl")]);
    // 3 * (1 + ... + 5000), and the string of 100,000 numbers around its hole where five digits end.
    assert!(ran.out.contains("\n37507500\n") && ran.out.contains(" sorted\n"), "{ran:#?}");
    assert!(ran.out.ends_with("600001 50000,50001,\n"), "{ran:#?}");
    trial.proved(&["perl"]);
}

#[test]
fn lua() {
    if !have("lua5.4") {
        return;
    }
    let trial = Trial::new("lua");
    let ran = trial.same("lua5.4", &[&script("work.lua")]);
    // The 25th and the 45th prime.
    assert!(ran.out.ends_with("45\t97\t197\n"), "{ran:#?}");
    trial.proved(&["lua5.4"]);
}

#[test]
fn node() {
    if !have("node") {
        return;
    }
    let trial = Trial::new("node");
    let ran = trial.same("node", &[&script("work.js")]);
    let answers: Vec<&str> = ran.out.lines().collect();
    assert_eq!(answers.len(), 4, "{ran:#?}");
    assert!(answers.iter().all(|a| a.starts_with("{\"records\":20000,") && a.ends_with("\"same\":true}")), "{ran:#?}");
    trial.proved(&["node"]);
}

#[test]
fn bash() {
    if !have("bash") {
        return;
    }
    let trial = Trial::new("bash");
    let ran = trial.same("bash", &[&script("work.bash")]);
    // 4,000 elements over 1,009 keys; the sum 0 + ... + 3999; the eighth Fibonacci number.
    assert!(ran.out.starts_with("4000 1009 ") && ran.out.contains("\n7998000\n21\n"), "{ran:#?}");
    assert!(ran.out.ends_with("30000 30000\nleft with 0\n"), "{ran:#?}");
    trial.proved(&["bash", "sort", "seq", "sed"]);
}
