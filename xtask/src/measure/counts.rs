//! Instructions of the hot calls, by callgrind: Heapglass's against its ceilings, and the others' beside them.

use super::runs::{allocators, build, smallest, table};
use crate::callgrind::{per_round, program};
use crate::counts::HOT;
use heapglass_bench::rivals::OURS;

pub fn section() -> Result<String, String> {
    build()?;
    let program = program()?;
    let mut all = allocators();
    // Ours first, beside its ceilings.
    all.sort_by_key(|one| one.name != OURS);
    all.insert(1, smallest());
    let mut head = vec!["a round of".to_owned(), "ceiling".to_owned()];
    head.extend(all.iter().map(|one| one.name.clone()));
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for hot in &HOT {
        let mut row = vec![hot.kind.about.to_owned(), format!("{:.0}", hot.ceiling)];
        for one in &all {
            // One that leaves C++'s operators to the C++ library is counted with what that adds.
            row.push(match per_round(&program, &hot.kind, one.library.as_deref()) {
                Ok(count) => format!("{count:.1}"),
                Err(why) if one.name == OURS => return Err(why),
                // Some reserve more address space than valgrind has.
                Err(why) => {
                    notes.push(format!("{}: {}", one.name, why.rsplit(": ").next().unwrap_or(&why)));
                    String::new()
                }
            });
        }
        rows.push(row);
    }
    notes.dedup();
    let notes: String = notes.iter().map(|note| format!("\nNot counted: {note}\n")).collect();
    Ok(format!(
        "## Instructions\n\nWhat a round takes in steady state, counted by callgrind: the calls and all that they call, without the program's own loop. \
         The tests (`cargo xtask test counts`) fail above the ceiling.\n\n{}{notes}",
        table(&head, &rows)
    ))
}
