//! A13: what the program freed goes back to the kernel: after a decay, at once, never, or by `malloc_trim`. The programs in
//! `tests/pages` look at their own resident memory, prove the heap after each step, and run through both doors.

use heapglass_tests::{DOORS, Door, Ran, compile, on_heapglass, run};

const SIGABRT: i32 = 6;

#[track_caller]
fn ran(file: &str, args: &[&str], settings: &str, door: Door) -> Ran {
    let extra: &[&str] = if door == Door::Static { &["-Wl,-u,heapglass_check"] } else { &[] };
    let program = compile(&format!("tests/pages/{file}"), door, extra);
    let mut command = on_heapglass(program, door);
    run(command.args(args).env("HG_EXPECT", "1").env("HEAPGLASS", settings))
}

#[track_caller]
fn holds(file: &str, args: &[&str], settings: &str) {
    for door in DOORS {
        let ran = ran(file, args, settings, door).ok();
        assert_eq!(ran.err, "", "{door:?} {args:?} {settings}");
    }
}

/// One door is enough for what takes a GiB.
#[track_caller]
fn peak(sizes: &str, who: &str, what: &str, settings: &str) {
    let ran = ran("peak.c", &[sizes, who, what], settings, Door::Preload).ok();
    assert_eq!(ran.err, "", "{sizes} {who} {what} {settings}");
}

#[test]
fn a13_a_peak_of_a_gib_is_gone_within_three_seconds_of_small_traffic() {
    for sizes in ["small", "middle", "large", "mixed"] {
        peak(sizes, "main", "decays", "");
    }
}

#[test]
fn a13_the_peak_of_threads_that_sleep_or_ended_is_gone_as_well() {
    peak("middle", "asleep", "decays", "");
    for sizes in ["small", "mixed"] {
        peak(sizes, "ended", "decays", "");
        peak(sizes, "freed", "decays", "");
    }
}

#[test]
fn a13_without_a_decay_the_peak_stays_until_another_thread_trims() {
    peak("middle", "main", "stays", "decay:-1");
}

#[test]
fn a13_free_pages_go_after_the_decay() {
    holds("decay.c", &["decays"], "");
    holds("decay.c", &["decays"], "decay:300");
    holds("decay.c", &["decays"], "decay:300,tcache:0");
    holds("decay.c", &["sized"], "");
}

#[test]
fn a13_decay_0_releases_at_once() {
    holds("decay.c", &["at_once"], "decay:0");
    holds("decay.c", &["at_once"], "decay:0,tcache:0");
    peak("large", "main", "at_once", "decay:0");
}

#[test]
fn a13_decay_minus_1_keeps_until_malloc_trim_from_another_thread() {
    holds("decay.c", &["stays"], "decay:-1");
}

#[test]
fn a13_threads_that_only_free_what_others_allocated_do_not_grow_memory() {
    holds("decay.c", &["remote"], "");
    holds("decay.c", &["remote"], "decay:-1");
}

#[test]
fn mappings_kept_for_a_while_are_not_believed_zero_and_go() {
    holds("decay.c", &["kept"], "");
}

#[test]
fn a_second_free_of_a_mapping_that_is_kept_stops() {
    for door in DOORS {
        let ran = ran("decay.c", &["twice"], "", door);
        let address = ran.out.trim_end().strip_prefix("address ").expect("the program says the address");
        assert_eq!(ran.signal, Some(SIGABRT), "{door:?}: {ran:#?}");
        assert!(ran.err.starts_with(&format!("heapglass: free({address}): double free: ")), "{door:?}: {ran:#?}");
    }
}

#[test]
fn thp_is_what_the_settings_say() {
    for (settings, flag) in [("", "none"), ("thp:never", "nh"), ("thp:always", "hg"), ("thp:madvise", "none")] {
        holds("decay.c", &["thp", flag], settings);
    }
}
