//! The step `counts`: instructions of the hot calls, each below a ceiling. Times say nothing on a busy machine; these counts
//! are the same on each run, so a commit that makes a fast path longer is told at once. Whoever makes one shorter lowers
//! its ceiling here.

use crate::callgrind::{Kind, per_round, program};
use crate::{Outcome, root, tools};

pub const LIBRARY: &str = "target/release/libheapglass.so";

pub struct Hot {
    pub kind: Kind,
    /// Instructions of a round, at most.
    pub ceiling: f64,
}

const fn hot(about: &'static str, call: &'static str, size: usize, threaded: bool, ceiling: f64) -> Hot {
    Hot { kind: Kind { about, call, size, threaded }, ceiling }
}

pub const HOT: [Hot; 9] = [
    hot("malloc, free, 32 bytes", "malloc", 32, false, 58.6),
    hot("malloc, free, 32 bytes, after a second thread", "malloc", 32, true, 58.6),
    hot("malloc, free, 1,000 bytes", "malloc", 1000, false, 58.6),
    hot("malloc, free, 2,000 bytes", "malloc", 2000, false, 97.6),
    hot("new, sized delete, 32 bytes", "new", 32, false, 54.1),
    hot("new, sized delete, 32 bytes, after a second thread", "new", 32, true, 54.1),
    hot("calloc, free, 32 bytes", "calloc", 32, false, 79.5),
    hot("realloc in place, there and back, 24 bytes", "realloc", 24, false, 144.0),
    hot("realloc of null, free, 32 bytes", "realloc of null", 32, false, 68.6),
];

/// A count that lies so far below its ceiling is worth a word.
const SLACK: f64 = 3.0;
/// Counts are whole but for the rare slow call that falls into one of the two runs.
const GRAIN: f64 = 0.1;

pub fn check() -> Outcome {
    if cfg!(not(target_arch = "x86_64")) {
        println!("left out: the ceilings are those of x86-64");
        return Ok(());
    }
    if tools::left_out("valgrind") || tools::left_out("g++") {
        println!("left out: valgrind and g++ are needed");
        return Ok(());
    }
    let program = program()?;
    let library = root().join(LIBRARY);
    let mut above = Vec::new();
    for hot in &HOT {
        let count = per_round(&program, &hot.kind, Some(&library))?;
        let verdict = judge(count, hot.ceiling);
        println!("{:<52}{count:8.1} of {:8.1} {}", hot.kind.about, hot.ceiling, verdict.word());
        if verdict == Verdict::Above {
            above.push(hot.kind.about);
        }
    }
    if above.is_empty() { Ok(()) } else { Err(format!("more instructions than allowed: {}", above.join("; "))) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Above,
    Within,
    FarBelow,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Above => "TOO MANY",
            Verdict::Within => "",
            Verdict::FarBelow => "(lower the ceiling)",
        }
    }
}

fn judge(count: f64, ceiling: f64) -> Verdict {
    if count.is_nan() || count > ceiling + GRAIN {
        Verdict::Above
    } else if count < ceiling - SLACK {
        Verdict::FarBelow
    } else {
        Verdict::Within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instruction_more_is_too_many() {
        assert_eq!(judge(60.0, 59.0), Verdict::Above);
        assert_eq!(judge(59.2, 59.0), Verdict::Above);
        assert_eq!(judge(59.05, 59.0), Verdict::Within);
        assert_eq!(judge(56.0, 59.0), Verdict::Within);
        assert_eq!(judge(55.9, 59.0), Verdict::FarBelow);
        assert_eq!(judge(f64::NAN, 59.0), Verdict::Above);
        assert_eq!(judge(f64::INFINITY, 59.0), Verdict::Above);
    }

    #[test]
    fn every_ceiling_can_fail() {
        for hot in &HOT {
            assert!(hot.ceiling.is_finite() && hot.ceiling >= 1.0, "{}", hot.kind.about);
            assert_eq!(judge(hot.ceiling + 1.0, hot.ceiling), Verdict::Above, "{}", hot.kind.about);
        }
    }
}
