//! `tests/soak/soak.c` for a minute, half of it through each door; `cargo xtask soak MINUTES` takes longer. What it did is printed.

use heapglass_tests::{DOORS, Door, compile, on_heapglass, run_within};
use std::time::Duration;

const SECONDS: &str = "HEAPGLASS_SOAK_SECONDS";

#[test]
fn threads_forks_signals_and_trims_at_once() {
    let all: u64 = std::env::var(SECONDS).map_or(60, |seconds| seconds.parse().expect("a number of seconds"));
    for door in DOORS {
        let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
        let seconds = all / DOORS.len() as u64;
        let mut command = on_heapglass(compile("tests/soak/soak.c", door, extra), door);
        command.arg(seconds.to_string()).env("HG_EXPECT", "1");
        if door == Door::Static {
            // More guarded samples than by default.
            command.env("HEAPGLASS", "guard:50");
        }
        // The bound is against hangs; children that hang end by themselves.
        let ran = run_within(&mut command, Duration::from_secs(seconds + 200)).ok();
        assert_eq!(ran.err, "", "{door:?}");
        println!("{door:?}, {seconds} s: {}", ran.out.trim_end());
    }
}
