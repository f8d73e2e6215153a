//! What is done with profiles that were kept: `show`, `diff`, `export` and `symbolize`.

use super::{Look, Sort, failed, shown, write};
use crate::capture::diff::{Difference, Moment};
use crate::capture::instant;
use crate::failure::Failure;
use heapglass_capture::Capture;
use heapglass_profile::diff::diff;
use heapglass_profile::export::{self, Form};
use heapglass_profile::model::Profile;
use heapglass_sampled::names;
use heapglass_stacks::module;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show a profile that was kept
#[derive(clap::Args)]
pub struct Show {
    file: PathBuf,

    #[command(flatten)]
    look: Look,
}

/// Show what one profile, or one moment of a recording, has more than another
///
/// Of profiles: functions and stacks. Of recordings: chunks that are in use at the second moment and not at the first, and the reverse, by
/// size, and by function and stack where `heapglass record -k` kept who called. A moment is FILE@INSTANT: FILE@120 after the 120th call, FILE@1.5s so long after the start, FILE@start, FILE@peak, FILE@end, or FILE@NAME of a
/// mark that `heapglass mark` set. FILE alone is its end, @INSTANT alone is of the same file as the first.
#[derive(clap::Args)]
pub struct Diff {
    #[arg(value_name = "FILE[@INSTANT]")]
    before: OsString,

    #[arg(value_name = "FILE[@INSTANT]")]
    after: OsString,

    /// For machines; of recordings only
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    look: Look,
}

/// Write a profile in a form that other programs read
#[derive(clap::Args)]
pub struct Export {
    file: PathBuf,

    /// The form
    #[arg(long, value_enum)]
    to: To,

    /// Where it goes, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Which allocations it is about, in forms that tell of one sort only
    #[arg(long, value_enum, default_value_t = Sort::InUse)]
    by: Sort,
}

/// Name the places of a profile that was taken with --no-names, or elsewhere
#[derive(clap::Args)]
pub struct Symbolize {
    file: PathBuf,

    /// A directory of debug information by build id: DIR/ab/cdef.debug
    #[arg(long, value_name = "DIR")]
    debug: Vec<PathBuf>,

    /// Where the result goes, instead of FILE itself
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
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

impl To {
    fn form(self) -> Form {
        match self {
            To::Pprof => Form::Pprof,
            To::Folded => Form::Folded,
            To::Flamegraph => Form::Flamegraph,
            To::Speedscope => Form::Speedscope,
            To::Heaptrack => Form::Heaptrack,
            To::Dhat => Form::Dhat,
            To::Chrome => Form::Chrome,
            To::Perfetto => Form::Perfetto,
            To::Jsonl => Form::Jsonl,
            To::Csv => Form::Csv,
        }
    }
}

pub fn read(path: &Path) -> Result<Profile, Failure> {
    Profile::read(File::open(path).map_err(|e| failed(path, e))?).map_err(|e| failed(path, e))
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    // A reader that has seen enough is no fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

impl Show {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        print(&shown(&read(&self.file)?, &self.look, 0))
    }
}

impl Diff {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let split = |word: &OsString| instant::split(word).map_err(Failure::ours);
        let (before, (mut after, at)) = (split(&self.before)?, split(&self.after)?);
        if after.as_os_str().is_empty() {
            after.clone_from(&before.0);
        }
        // What is named by a moment can only be a recording; so can what isn't a profile.
        let is_recording = before.1.is_some() || at.is_some() || Capture::open(&before.0).is_ok();
        if is_recording {
            let (before, after) = (Moment::of(&before.0, before.1)?, Moment::of(&after, at)?);
            let difference = Difference::between(before, after)?;
            return print(&if self.json { difference.json() } else { difference.render(&self.look)? });
        }
        if self.json {
            return Err(Failure::ours("--json is for recordings; `heapglass export --to jsonl` writes profiles"));
        }
        print(&shown(&diff(&read(&before.0)?, &read(&after)?), &self.look, 0))
    }
}

impl Export {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let profile = read(&self.file)?;
        let bytes = export::write(&profile, self.to.form(), self.by.which());
        write(self.output.as_deref().unwrap_or(Path::new("-")), &bytes)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Symbolize {
    pub fn carry_out(self) -> Result<ExitCode, Failure> {
        let mut profile = read(&self.file)?;
        // A file of the same name may be another one by now.
        let files: Vec<PathBuf> = profile
            .modules
            .iter()
            .map(|module| match has_build_id(Path::new(&module.path), &module.build_id) {
                true => module.path.clone().into(),
                false => PathBuf::from("/dev/null"),
            })
            .collect();
        names::name(&mut profile, &files, &self.debug);
        let mut bytes = Vec::new();
        let output = self.output.as_deref().unwrap_or(&self.file);
        profile.write(&mut bytes).map_err(|e| failed(output, e))?;
        write(output, &bytes)?;
        let left = profile.frames.iter().filter(|frame| frame.module.is_some() && frame.lines.is_empty()).count();
        eprintln!("heapglass: {} of {} places named", profile.frames.len() - left, profile.frames.len());
        Ok(ExitCode::SUCCESS)
    }
}

fn has_build_id(path: &Path, build_id: &str) -> bool {
    use object::Object;
    let mut bytes = Vec::new();
    if module::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).is_err() {
        return false;
    }
    let Ok(file) = object::File::parse(&*bytes) else { return false };
    let id = file.build_id().ok().flatten().unwrap_or_default();
    id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == build_id
}
