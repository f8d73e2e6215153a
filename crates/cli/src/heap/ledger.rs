//! `heapglass ledger` (or `stats PID`): where the resident memory went.

use super::known::Known;
use super::pinned::{self, Stacks};
use super::text::{grouped, percent, plural, size};
use super::{Subject, Whose, launch, map, notes, recorded, said, title};
use crate::capture::stats::is_elf;
use crate::failure::Failure;
use heapglass_inspect::Target;
use heapglass_report::ledger::{self, LINES, Ledger, Line};
use heapglass_report::pins::{Pin, Pins};
use heapglass_report::requests::{Part, Requests};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Tell where the resident memory of a process went, line by line
///
/// The lines add up to what the kernel counts (Rss in /proc/PID/smaps). Then: how fragmented the free memory is, what keeps memory
/// from going back, and whether malloc_trim would help.
#[derive(clap::Args)]
pub struct LedgerCommand {
    #[command(flatten)]
    whose: Whose,

    /// Again every so many seconds, a line each, until the process ends
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,

    /// A recording of the same process (`heapglass record`), which may still be growing: it knows what was asked for, and, made
    /// with -k, who called
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "program"])]
    recording: Option<PathBuf>,

    /// Of a recording: as it was after so many calls, instead of at its end
    #[arg(long, value_name = "N", conflicts_with_all = ["watch", "program", "recording"])]
    at: Option<u64>,

    /// For machines; with --watch, a line each time
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or("is not a number of seconds".into())
}

impl LedgerCommand {
    pub fn of(whose: Whose, json: bool) -> LedgerCommand {
        LedgerCommand { whose, watch: None, recording: None, at: None, json }
    }

    pub fn carry_out(&self) -> Result<ExitCode, Failure> {
        let subject = match self.whose.subject() {
            Subject::Program(words) => {
                return launch::to_the_end(words, |pid| self.show(&super::open(pid, false)?));
            }
            Subject::Core(path) if self.watch.is_none() && !is_elf(&path) => {
                return put(&recorded::told(&path, self.at, self.json)?).map(|_| ExitCode::SUCCESS);
            }
            _ if self.at.is_some() => {
                return Err(Failure::ours("--at is for a recording: `heapglass ledger FILE --at N`"));
            }
            subject => subject,
        };
        if let (Some(pause), Subject::Process(_)) = (self.watch, &subject) {
            return self.watched(&subject, pause);
        }
        self.show(&self.whose.open(&subject)?).map(|()| ExitCode::SUCCESS)
    }

    fn show(&self, target: &Target) -> Result<(), Failure> {
        let known = self.recording.as_deref().map(|path| Known::open(path, target.pid, None)).transpose()?;
        let of = |user, bytes| known.as_ref().and_then(|known| known.request(user, bytes));
        let ledger = ledger::of_seeing(target, &of, &mut |_| {}).map_err(|e| said(&target.name, &e))?;
        let stacks = known.as_ref().map(|known| Stacks::of(&ledger.pins, known)).transpose()?;
        let text = match self.json {
            true => {
                let mut all = as_json(target, &ledger);
                stacks.iter().for_each(|stacks| stacks.add_to(&mut all));
                all.to_string() + "\n"
            }
            false => told(target, &ledger, stacks.as_ref()),
        };
        put(&text).map(drop)
    }

    fn watched(&self, subject: &Subject, pause: Duration) -> Result<ExitCode, Failure> {
        let began = Instant::now();
        let mut looks = 0u64;
        loop {
            // Stopped, if at all, only while it is read.
            let (target, ledger) = match self.whose.open(subject).and_then(|target| {
                let ledger = ledger::of(&target).map_err(|e| said(&target.name, &e))?;
                Ok((target, ledger))
            }) {
                Ok(read) => read,
                // Its end is what was waited for.
                Err(_) if looks > 0 && !is_there(subject) => return Ok(ExitCode::SUCCESS),
                Err(failure) => return Err(failure),
            };
            let mut text = String::new();
            if self.json {
                let mut all = as_json(&target, &ledger);
                all["seconds"] = json!(began.elapsed().as_secs_f64());
                let _ = writeln!(text, "{all}");
            } else {
                if looks.is_multiple_of(20) {
                    let _ = writeln!(text, "{}", if looks == 0 { title(&target) } else { String::new() });
                    text += "  seconds     resident       in use       caches         bins          top         kept      records        other\n";
                }
                let there = |lines: &[Line]| size(lines.iter().map(|line| ledger.line(*line).resident).sum());
                use Line::*;
                let _ = writeln!(
                    text,
                    "{:>9.1} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
                    began.elapsed().as_secs_f64(),
                    size(ledger.resident()),
                    there(&[Requested, Rounding, InUse, Headers, Mapped, Samples]),
                    there(&[Parked, ThreadCaches, Depots, OnTheWay, Quarantine]),
                    there(&[Fast, Unsorted, Small, Large, Damaged]),
                    there(&[Top, HeapEnds]),
                    there(&[Kept]),
                    there(&[Records]),
                    there(&[Files, Stacks, Other]),
                );
            }
            drop(target);
            looks += 1;
            if !put(&text)? {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(pause);
        }
    }
}

fn is_there(subject: &Subject) -> bool {
    match subject {
        Subject::Process(pid) => super::has_memory(*pid),
        _ => true,
    }
}

/// `false` once nobody reads any more.
fn put(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::ours(e.to_string())),
    }
}

pub fn told(target: &Target, ledger: &Ledger, stacks: Option<&Stacks>) -> String {
    let mut text = format!("{}: where its memory is\n\n", title(target));
    let there = if ledger.rss.is_some() { "resident" } else { "in the file" };
    let _ = writeln!(text, "  {:<32} {:>12} {:>16} {:>16} {:>7}", "", "chunks", "bytes", there, "");
    let total = ledger.resident();
    for line in LINES {
        let sum = ledger.line(line);
        if sum.bytes == 0 && sum.resident == 0 && line != Line::Top {
            continue;
        }
        if line == Line::Files {
            let _ = writeln!(text, "  not the heap's:");
        }
        let chunks = if sum.chunks > 0 { grouped(sum.chunks) } else { String::new() };
        let share = percent(sum.resident, total);
        let _ = writeln!(
            text,
            "  {:<32} {chunks:>12} {:>16} {:>16} {share:>7}",
            name(ledger, line),
            grouped(sum.bytes),
            grouped(sum.resident)
        );
    }
    let _ = writeln!(text, "  {:<32} {:>12} {:>16} {:>16}", "sum", "", "", grouped(total));
    if let Some(rss) = ledger.rss {
        let off = total.abs_diff(rss);
        let _ = writeln!(
            text,
            "  {:<32} {:>12} {:>16} {:>16} {:>7}",
            "the kernel's figure (smaps)",
            "",
            "",
            grouped(rss),
            if off == 0 { "exact".into() } else { format!("{} off", percent(off, rss)) }
        );
    }
    if ledger.swap > 0 {
        let _ = writeln!(text, "  {} more are swapped out", size(ledger.swap));
    }
    for (index, line) in requests(ledger).iter().enumerate() {
        let _ = writeln!(text, "{}{line}", if index == 0 { "\n" } else { "" });
    }
    arenas(&mut text, ledger);
    fragmentation(&mut text, ledger);
    pinned::tell(&mut text, &ledger.pins, stacks);
    let _ = write!(text, "\n{}\n", advice(ledger));
    map::damages(&mut text, &ledger.damages, ledger.more_damage);
    if !ledger.steady {
        text +=
            "\nthe program went on while it was read, so not all of this is of one instant; --stop holds it still\n";
    }
    for note in notes(target) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// A line's name; said to be about where some of it is an estimate.
fn name(ledger: &Ledger, line: Line) -> String {
    let about = matches!(line, Line::Requested | Line::Rounding) && ledger.requests.are_estimated();
    format!("{}{}", line.name(), if about { ", about" } else { "" })
}

/// What is known of requests, and from where.
pub fn requests(ledger: &Ledger) -> Vec<String> {
    let Requests { exact, estimated, unseen, mapped, samples, .. } = &ledger.requests;
    let chunks = |part: &Part| plural(part.chunks, "chunk", "chunks");
    let mut told = Vec::new();
    if estimated.chunks > 0 {
        let calls = plural(ledger.requests.calls(), "call", "calls");
        told.push(format!(
            "requested and rounding of {} are estimated, by means that the heap made from {calls}; `heapglass record` keeps each request, for --recording",
            chunks(estimated)
        ));
    }
    if exact.chunks > 0 && estimated.chunks + unseen.chunks > 0 {
        told.push(format!("what was asked for is known of {}", chunks(exact)));
    }
    if unseen.chunks > 0 {
        told.push(format!(
            "no call was noted of the classes of {}: up to {} bytes of them are rounding",
            chunks(unseen),
            grouped(unseen.rounding)
        ));
    }
    let own = [(mapped, "mapped chunks"), (samples, "samples")]
        .map(|(part, name)| (part.chunks > 0).then(|| format!("{} bytes in {name}", grouped(part.requested))));
    let own: Vec<String> = own.into_iter().flatten().collect();
    if !own.is_empty() {
        told.push(format!("asked for, exactly: {}", own.join(", ")));
    }
    told
}

fn arenas(text: &mut String, ledger: &Ledger) {
    if ledger.arenas.len() < 2 {
        return;
    }
    let _ = writeln!(text, "\n  {:<32} {:>12} {:>16} {:>16}", "arenas", "heaps", "in use", "resident");
    for part in &ledger.arenas {
        let sum = |is_it: fn(Line) -> bool, of: fn(&ledger::Sum) -> u64| -> u64 {
            LINES.into_iter().filter(|line| is_it(*line)).map(|line| of(&part.sums[line as usize])).sum()
        };
        let in_use = sum(Line::is_in_use, |sum| sum.bytes);
        let name = format!("  arena {}, {}", part.index, plural(u64::from(part.threads), "thread", "threads"));
        let _ = writeln!(
            text,
            "  {name:<32} {:>12} {:>16} {:>16}",
            part.heaps,
            grouped(in_use),
            grouped(sum(|_| true, |sum| sum.resident))
        );
    }
}

/// Requests that a program may make next.
const REQUESTS: [u64; 5] = [1 << 10, 16 << 10, 128 << 10, 1 << 20, 16 << 20];

fn fragmentation(text: &mut String, ledger: &Ledger) {
    let free = ledger.free_bytes();
    if free == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "\nfree in bins and tops: {} in {}; the largest has {}, so {} of it can't be had in one piece",
        size(free),
        plural(ledger.free.chunks(), "chunk", "chunks"),
        size(ledger.largest_free),
        percent(free.saturating_sub(ledger.largest_free), free),
    );
    let rows: Vec<String> = REQUESTS
        .into_iter()
        .filter(|request| *request <= ledger.largest_free.max(1 << 20))
        .map(|request| format!("{} of it for {}", percent(ledger.unusable_for(request), free), size(request)))
        .collect();
    let _ = writeln!(text, "in chunks too short for a request: {}", rows.join(", "));
}

/// The lines' keys and names, and whose they are, in their order.
pub fn lines(ledger: &Ledger) -> Vec<Value> {
    LINES.into_iter().map(|line| json!([line.key(), name(ledger, line), line.is_ours()])).collect()
}

/// Would malloc_trim help?
pub fn advice(ledger: &Ledger) -> String {
    let (gain, total) = (ledger.trimmable(), ledger.resident());
    let parts = [
        (ledger.pins.trim.inside, "pages inside free chunks"),
        (ledger.pins.trim.tops, "ends of tops"),
        (ledger.line(Line::Kept).resident, "mappings and heaps that are kept"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, name)| format!("{} of {name}", size(*bytes)))
        .collect();
    let decays = match ledger.records.settings.decay {
        -1 => "; without it, it stays (decay is off)".to_owned(),
        0 => String::new(),
        ms => format!(
            "; without it, most of that goes by itself {} ms after it was last used, if the program goes on calling malloc",
            ms
        ),
    };
    if gain * 50 < total {
        return format!(
            "malloc_trim would give back {}, {} of what is resident: it isn't worth a call",
            size(gain),
            percent(gain, total)
        );
    }
    format!(
        "malloc_trim would give back about {}, {} of what is resident: {}{decays}",
        size(gain),
        percent(gain, total),
        told.join(", ")
    )
}

pub fn pins_json(pins: &Pins) -> Vec<Value> {
    let one = |pin: &Pin| json!({ "size": pin.size, "cached": pin.cached, "chunks": pin.chunks, "pages": pin.pages, "holds": pin.held });
    pins.rows().iter().map(one).collect()
}

fn requests_json(requests: &Requests) -> Value {
    let part = |part: &Part| json!({ "chunks": part.chunks, "requested": part.requested, "rounding": part.rounding });
    let classes: Vec<Value> = requests
        .classes
        .iter()
        .filter(|class| class.sum.chunks > 0)
        .map(|class| {
            json!({
                "from": class.least, "to": class.most, "chunks": class.sum.chunks, "rounding": class.rounding,
                "mean": class.mean, "calls": class.calls,
            })
        })
        .collect();
    json!({
        "exact": part(&requests.exact), "estimated": part(&requests.estimated), "calls": requests.calls(),
        "unseen": { "chunks": requests.unseen.chunks, "bytes": requests.unseen.requested + requests.unseen.rounding, "rounding_most": requests.unseen.rounding },
        "mapped": part(&requests.mapped), "samples": part(&requests.samples), "classes": classes,
    })
}

pub fn as_json(target: &Target, ledger: &Ledger) -> Value {
    let sums = |sums: &ledger::Sums| -> Value {
        let row = |line: Line| {
            let sum = sums[line as usize];
            (line.key().to_owned(), json!({ "chunks": sum.chunks, "bytes": sum.bytes, "resident": sum.resident }))
        };
        LINES.into_iter().map(row).collect()
    };
    let arenas: Vec<Value> = ledger
        .arenas
        .iter()
        .map(|part| json!({ "index": part.index, "threads": part.threads, "heaps": part.heaps, "lines": sums(&part.sums) }))
        .collect();
    let sizes = |rows: &ledger::Sizes| -> Vec<Value> {
        rows.rows().map(|(least, row)| json!({ "from": least, "chunks": row.chunks, "bytes": row.bytes })).collect()
    };
    let tops: Vec<Value> = ledger
        .pins
        .tops
        .iter()
        .map(|pin| json!({ "arena": pin.arena, "chunks": pin.chunks, "bytes": pin.bytes, "free": pin.free, "at": pin.at }))
        .collect();
    let damages: Vec<Value> = ledger
        .damages
        .iter()
        .map(|d| json!({ "at": d.at, "arena": d.arena, "what": d.what, "racing": d.racing }))
        .collect();
    json!({
        "version": 1, "of": title(target), "pid": target.pid, "lines": sums(&ledger.sums), "sum": ledger.resident(),
        "rss": ledger.rss, "swap": ledger.swap, "arenas": arenas, "free_sizes": sizes(&ledger.free),
        "live_sizes": sizes(&ledger.live), "cached_sizes": sizes(&ledger.cached), "requests": requests_json(&ledger.requests), "largest_free": ledger.largest_free, "pins": pins_json(&ledger.pins), "top_pins": tops,
        "trim": { "inside": ledger.pins.trim.inside, "tops": ledger.pins.trim.tops, "kept": ledger.line(Line::Kept).resident },
        "damages": damages, "more_damage": ledger.more_damage, "steady": ledger.steady,
    })
}
