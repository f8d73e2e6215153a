//! Everything that is done with a profile from a file, and with rules from one, given any bytes at all: for fuzzers and the tests that
//! replay what they found. Bytes may be refused; nothing may stop the process.

use crate::export::{self, Form};
use crate::model::{Profile, Which};
use crate::suppress::Rules;
use crate::tree::From;
use crate::{diff, text};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

const FORMS: [Form; 10] = [
    Form::Pprof,
    Form::Folded,
    Form::Flamegraph,
    Form::Speedscope,
    Form::Heaptrack,
    Form::Dhat,
    Form::Chrome,
    Form::Perfetto,
    Form::Jsonl,
    Form::Csv,
];

pub fn read_all(bytes: &[u8]) {
    let _ = Profile::read(bytes);
    let rules = Rules::parse(&String::from_utf8_lossy(bytes)).unwrap_or_default();
    // The sum that stands at the end of what is packed would keep nearly all bytes from getting any further.
    if let Ok(profile) = packed(bytes).and_then(|packed| Profile::read(&*packed)) {
        use_all(&profile, &rules);
    }
    let _ = rules.matching(&named(&String::from_utf8_lossy(bytes)).frames, &[]);
}

fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut to = GzEncoder::new(Vec::new(), Compression::none());
    to.write_all(bytes)?;
    to.finish()
}

/// A function by each of these names.
fn named(text: &str) -> Profile {
    let mut profile = Profile::new();
    let line = |name: &str| crate::model::Line { function: name.into(), ..Default::default() };
    let lines = text.lines().map(line).collect();
    profile.frames.push(crate::model::Frame { lines, ..Default::default() });
    profile
}

fn use_all(profile: &Profile, rules: &Rules) {
    for which in Which::ALL {
        for from in [From::Outside, From::Inside] {
            let view = text::View { which, rows: 20, share: 0.01, from };
            let _ = (text::sums(profile), text::table(profile, view), text::branches(profile, view));
        }
        for form in FORMS {
            let _ = export::write(profile, form, which);
        }
    }
    for entry in &profile.entries {
        let _ = rules.matching(profile.frames_of(entry), &profile.modules);
    }
    let none = diff::diff(profile, profile);
    assert!(none.entries.is_empty() || !is_finite(profile), "a profile differs from itself");
}

/// Figures so long that their sums aren't numbers any more differ from themselves.
fn is_finite(profile: &Profile) -> bool {
    let sum = |which| profile.entries.iter().map(|entry| entry.count(which).abs()).sum::<f64>();
    Which::ALL.into_iter().all(|which| sum(which) < 1e9)
}
