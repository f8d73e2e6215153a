//! What went into each bin and came out of it again, by what the steps of calls say. Chunks that leave a bin because they are merged
//! with a neighbour aren't told with their bin's name, so they are counted apart.

use heapglass_capture::Call;
use heapglass_event::record::{Kind, Outcome, Record};
use std::collections::BTreeMap;

/// Where free chunks wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Cache,
    Depot,
    Fast,
    Unsorted,
    Small,
    Large,
    Top,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Cache => "thread cache",
            Place::Depot => "depot",
            Place::Fast => "fast bin",
            Place::Unsorted => "unsorted bin",
            Place::Small => "small bin",
            Place::Large => "large bin",
            Place::Top => "top",
        }
    }

    /// Is there one for each length?
    fn goes_by_length(self) -> bool {
        !matches!(self, Place::Unsorted | Place::Large | Place::Top)
    }
}

/// Chunks that came and went.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Flow {
    pub put: u64,
    pub taken: u64,
}

/// A damaged record may tell of any number of them.
impl Flow {
    fn give(&mut self, chunks: u64) {
        self.put = self.put.saturating_add(chunks);
    }

    fn take(&mut self, chunks: u64) {
        self.taken = self.taken.saturating_add(chunks);
    }
}

#[derive(Default)]
pub struct Bins {
    rows: BTreeMap<(Place, u64), Flow>,
    /// Chunks that left a bin to be merged with a neighbour.
    pub merged: u64,
}

impl Bins {
    pub fn add(&mut self, call: &Call) {
        call.steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Record) {
        let (Some(kind), Some(outcome)) = (step.kind(), step.outcome()) else { return };
        let Record { n, a, b, c, .. } = *step;
        match (kind, outcome) {
            (Kind::Cache, Outcome::Taken) => self.take(Place::Cache, a, 1),
            (Kind::Put, Outcome::Taken) => self.put(Place::Cache, a, 1),
            (Kind::Refill, Outcome::FromDepot) => self.take(Place::Depot, a, b),
            (Kind::Spill, Outcome::ToDepot) => self.put(Place::Depot, a, b),
            (Kind::Fast, Outcome::Taken) => self.take(Place::Fast, a, 1),
            (Kind::FastPut, _) => self.put(Place::Fast, a, 1),
            (Kind::Small, Outcome::Taken) => self.take(Place::Small, a, 1),
            (Kind::Unsorted, Outcome::Taken) => self.take(Place::Unsorted, a, 1),
            (Kind::Look, Outcome::ToSmall | Outcome::ToLarge) => {
                self.take(Place::Unsorted, b, 1);
                self.into(outcome, b);
            }
            (Kind::Best, Outcome::FromSmall) => self.take(Place::Small, c, 1),
            (Kind::Best, Outcome::FromLarge) => self.take(Place::Large, c, 1),
            (Kind::Into, _) => self.into(outcome, b),
            (Kind::Top, Outcome::Taken) => self.take(Place::Top, a, n.into()),
            (Kind::MergePrev | Kind::MergeNext, Outcome::Merged) => self.merged += 1,
            _ => {}
        }
    }

    fn into(&mut self, place: Outcome, bytes: u64) {
        let place = match place {
            Outcome::ToUnsorted => Place::Unsorted,
            Outcome::ToSmall => Place::Small,
            Outcome::ToLarge => Place::Large,
            Outcome::ToTop => Place::Top,
            _ => return,
        };
        self.put(place, bytes, 1);
    }

    fn take(&mut self, place: Place, bytes: u64, chunks: u64) {
        self.row(place, bytes).take(chunks);
    }

    fn put(&mut self, place: Place, bytes: u64, chunks: u64) {
        self.row(place, bytes).give(chunks);
    }

    fn row(&mut self, place: Place, bytes: u64) -> &mut Flow {
        self.rows.entry((place, if place.goes_by_length() { bytes } else { 0 })).or_default()
    }

    /// Each bin, with its length where it has one of its own, and 0 else.
    pub fn each(&self) -> impl Iterator<Item = (Place, u64, Flow)> {
        self.rows.iter().map(|(&(place, bytes), &flow)| (place, bytes, flow))
    }

    /// All bins of a kind together, and how many there are.
    pub fn kinds(&self) -> BTreeMap<Place, (u64, Flow)> {
        let mut kinds: BTreeMap<Place, (u64, Flow)> = BTreeMap::new();
        for (place, _, flow) in self.each() {
            let (count, sum) = kinds.entry(place).or_default();
            *count += 1;
            sum.give(flow.put);
            sum.take(flow.taken);
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_say_what_came_and_went() {
        let step = |kind, outcome, numbers| Record::new(kind, outcome, 1, numbers);
        let steps = vec![
            step(Kind::FastPut, Outcome::Done, [32, 0x1000, 0]),
            step(Kind::Into, Outcome::ToUnsorted, [0x2000, 208, 0]),
            step(Kind::Look, Outcome::ToSmall, [0x2000, 208, 0]),
            step(Kind::Best, Outcome::FromSmall, [112, 0x2000, 208]),
            step(Kind::MergeNext, Outcome::Merged, [0x3000, 64, 128]),
            step(Kind::Top, Outcome::Taken, [48, 1000, 952]),
            step(Kind::Spill, Outcome::ToDepot, [48, 24, 0]),
            step(Kind::Fast, Outcome::Empty, [48, 0, 0]),
        ];
        let mut bins = Bins::default();
        bins.add(&Call { steps, ..Call::default() });
        let flow = |put, taken| Flow { put, taken };
        assert_eq!(
            bins.each().collect::<Vec<_>>(),
            [
                (Place::Depot, 48, flow(24, 0)),
                (Place::Fast, 32, flow(1, 0)),
                (Place::Unsorted, 0, flow(1, 1)),
                (Place::Small, 208, flow(1, 1)),
                (Place::Top, 0, flow(0, 1)),
            ]
        );
        assert_eq!((bins.merged, bins.kinds()[&Place::Small]), (1, (1, flow(1, 1))));
    }
}
