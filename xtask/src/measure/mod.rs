//! `cargo xtask measure`: Heapglass beside the other allocators of the machine, a section of Markdown for each question. A
//! section builds what it needs and depends on no other.

pub mod counts;
pub mod growth;
pub mod latency;
pub mod profile;
pub mod runs;
pub mod samples;
pub mod smallest;

pub use runs::{table, words};

use crate::Outcome;

pub struct Section {
    pub name: &'static str,
    pub about: &'static str,
    pub make: fn() -> Result<String, String>,
}

pub const SECTIONS: [Section; 6] = [
    Section {
        name: "smallest",
        about: "the hot pair beside the smallest malloc there can be",
        make: smallest::section,
    },
    Section { name: "counts", about: "instructions of the hot calls", make: counts::section },
    Section { name: "growth", about: "cost with ever more objects and threads", make: growth::section },
    Section { name: "latency", about: "how long single calls take", make: latency::section },
    Section { name: "profile", about: "what a profile at the usual interval costs", make: profile::section },
    Section { name: "samples", about: "what guarded samples cost", make: samples::section },
];

pub fn run(names: &[&str]) -> Outcome {
    if names.is_empty() {
        SECTIONS.iter().for_each(|section| println!("{:<28}{}", section.name, section.about));
    }
    for name in names {
        let section = SECTIONS.iter().find(|section| section.name == *name);
        let section =
            section.ok_or_else(|| format!("nothing is called {name}; `cargo xtask measure` names what is"))?;
        println!("{}", (section.make)()?);
    }
    Ok(())
}
