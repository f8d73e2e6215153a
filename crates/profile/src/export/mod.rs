//! The forms that others read. Each is one function from a profile to bytes.

pub mod chrome;
pub mod dhat;
pub mod flame;
pub mod folded;
pub mod heaptrack;
pub mod perfetto;
pub mod pprof;
mod proto;
pub mod rows;
pub mod speedscope;

use crate::model::{Profile, Which};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Pprof,
    Folded,
    Flamegraph,
    Speedscope,
    Heaptrack,
    Dhat,
    Chrome,
    Perfetto,
    Jsonl,
    Csv,
}

/// `which` is for the forms that tell of one sort of figures only.
pub fn write(profile: &Profile, form: Form, which: Which) -> Vec<u8> {
    match form {
        Form::Pprof => pprof::write(profile),
        Form::Folded => folded::write(profile, which).into_bytes(),
        Form::Flamegraph => flame::write(profile, which).into_bytes(),
        Form::Speedscope => speedscope::write(profile, which).into_bytes(),
        Form::Heaptrack => heaptrack::write(profile).into_bytes(),
        Form::Dhat => dhat::write(profile).into_bytes(),
        Form::Chrome => chrome::write(profile, which).into_bytes(),
        Form::Perfetto => perfetto::write(profile),
        Form::Jsonl => rows::jsonl(profile).into_bytes(),
        Form::Csv => rows::csv(profile).into_bytes(),
    }
}
