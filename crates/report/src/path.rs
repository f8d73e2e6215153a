//! What served a call: the one place of the heap where it ended, as its records say.

use crate::calls::Call;
use heapglass_event::record::{Kind, Outcome};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Path {
    Cache,
    Depot,
    Fast,
    Small,
    Unsorted,
    Large,
    Top,
    Kept,
    Kernel,
    InPlace,
    Failed,
    ToCache,
    ToFast,
    ToBin,
    ToTop,
    ToInbox,
    ToQuarantine,
    Sample,
    ToKept,
    ToKernel,
    Null,
    Other,
}

impl Path {
    pub const ALL: [Path; 22] = [
        Path::Cache,
        Path::Depot,
        Path::Fast,
        Path::Small,
        Path::Unsorted,
        Path::Large,
        Path::Top,
        Path::Kept,
        Path::Kernel,
        Path::InPlace,
        Path::Failed,
        Path::ToCache,
        Path::ToFast,
        Path::ToBin,
        Path::ToTop,
        Path::ToInbox,
        Path::ToQuarantine,
        Path::Sample,
        Path::ToKept,
        Path::ToKernel,
        Path::Null,
        Path::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Path::Cache => "cache hit",
            Path::Depot => "depot, by magazine",
            Path::Fast => "fast bin",
            Path::Small => "small bin",
            Path::Unsorted => "unsorted bin",
            Path::Large => "large bin, split",
            Path::Top => "top",
            Path::Kept => "mapping kept before",
            Path::Kernel => "kernel",
            Path::InPlace => "resized in place",
            Path::Failed => "no memory",
            Path::ToCache => "freed to the cache",
            Path::ToFast => "freed to a fast bin",
            Path::ToBin => "freed, merged, to a bin",
            Path::ToTop => "freed, merged, to the top",
            Path::ToInbox => "freed to another arena",
            Path::ToQuarantine => "freed to the quarantine",
            Path::Sample => "guarded sample",
            Path::ToKept => "freed, mapping kept",
            Path::ToKernel => "freed to the kernel",
            Path::Null => "free(NULL)",
            Path::Other => "other",
        }
    }

    /// What `-e bin=NAME` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Path::Cache | Path::ToCache => "cache",
            Path::Depot => "depot",
            Path::Fast | Path::ToFast => "fast",
            Path::Small => "small",
            Path::Unsorted | Path::ToBin => "unsorted",
            Path::Large => "large",
            Path::Top | Path::ToTop => "top",
            Path::Kept | Path::ToKept => "mapping",
            Path::Kernel | Path::ToKernel => "kernel",
            Path::InPlace => "place",
            Path::ToInbox => "inbox",
            Path::ToQuarantine => "quarantine",
            Path::Sample => "sample",
            Path::Failed | Path::Null | Path::Other => "none",
        }
    }
}

/// The path of a call.
pub fn of(call: &Call) -> Path {
    match call.function {
        Some(function) if function.frees() => freed(call),
        Some(_) if call.failed => Path::Failed,
        Some(function) if !function.gives_back() => taken(call),
        _ => Path::Other,
    }
}

fn taken(call: &Call) -> Path {
    let mut path = Path::Other;
    let mut grew = false;
    for step in &call.steps {
        let (Some(kind), Some(outcome)) = (step.kind(), step.outcome()) else { continue };
        let next = match (kind, outcome) {
            // What comes before is for the cache's sake.
            (Kind::Threshold, _) => {
                (path, grew) = (Path::Other, false);
                continue;
            }
            (Kind::Grow, outcome) if outcome != Outcome::Failed => {
                grew = true;
                continue;
            }
            (Kind::Sample, _) => Path::Sample,
            (Kind::Refill, Outcome::FromDepot | Outcome::FromSpare) => Path::Depot,
            (Kind::Cache, Outcome::Taken) => Path::Cache,
            (Kind::Fast, Outcome::Taken) => Path::Fast,
            (Kind::Small, Outcome::Taken) => Path::Small,
            (Kind::Unsorted, Outcome::Taken) => Path::Unsorted,
            (Kind::Best, Outcome::FromSmall | Outcome::FromLarge) => Path::Large,
            (Kind::Top, Outcome::Taken) if grew => Path::Kernel,
            (Kind::Top, Outcome::Taken) => Path::Top,
            (Kind::Mapping, Outcome::Reused) => Path::Kept,
            (Kind::Mapping, Outcome::Made | Outcome::Resized) => Path::Kernel,
            (Kind::Stays | Kind::Shorten, _) => Path::InPlace,
            (Kind::Lengthen, Outcome::IntoTop) if grew => Path::Kernel,
            (Kind::Lengthen, Outcome::IntoTop | Outcome::IntoNext) => Path::InPlace,
            _ => continue,
        };
        // Several pieces may be taken at a time: the first is the one returned.
        if path == Path::Other {
            path = next;
        }
    }
    path
}

fn freed(call: &Call) -> Path {
    let mut path = Path::Other;
    for step in &call.steps {
        let (Some(kind), Some(outcome)) = (step.kind(), step.outcome()) else { continue };
        path = match (kind, outcome) {
            (Kind::Null, _) => Path::Null,
            (Kind::Parked, _) => return Path::ToCache,
            (Kind::Put, Outcome::Taken) => Path::ToCache,
            (Kind::Sample, _) => return Path::Sample,
            (Kind::Quarantine, _) => return Path::ToQuarantine,
            (Kind::Home, Outcome::ByInbox) => Path::ToInbox,
            (Kind::FastPut, _) => Path::ToFast,
            (Kind::Into, Outcome::ToTop) => Path::ToTop,
            (Kind::Into, Outcome::HeapGone) => Path::ToKernel,
            (Kind::Into, _) => Path::ToBin,
            (Kind::Trim, Outcome::Shrunk) => Path::ToKernel,
            (Kind::Mapping, Outcome::Kept) => Path::ToKept,
            (Kind::Mapping, Outcome::Unmapped | Outcome::Refused) => Path::ToKernel,
            _ => continue,
        };
    }
    path
}
