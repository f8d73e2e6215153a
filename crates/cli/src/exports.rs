//! The files that `heapglass bench` writes. They are opened before the first run, so that hours of measuring don't end at a
//! misspelt directory. They are their owner's alone: what a program allocates may tell of what it works on.

use crate::failure::Failure;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Exports {
    /// All figures of all runs, in hyperfine's fields and more
    #[arg(long, value_name = "FILE")]
    export_json: Option<PathBuf>,

    /// A line per allocator
    #[arg(long, value_name = "FILE")]
    export_csv: Option<PathBuf>,

    /// A table
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,

    /// A picture of time against memory
    #[arg(long, value_name = "FILE")]
    export_svg: Option<PathBuf>,
}

type Render<T> = fn(&T) -> String;

pub struct Files<T>(Vec<(PathBuf, File, Render<T>)>);

impl Exports {
    /// What is to be written, as JSON, CSV, Markdown and SVG.
    pub fn open<T>(&self, renders: [Render<T>; 4]) -> Result<Files<T>, Failure> {
        let paths = [&self.export_json, &self.export_csv, &self.export_markdown, &self.export_svg];
        let mut files = Vec::new();
        for (path, render) in paths.into_iter().zip(renders) {
            if let Some(path) = path {
                // What an earlier run has left stays until there is something to take its place.
                let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
                files.push((path.clone(), file.map_err(|e| failed(path, &e))?, render));
            }
        }
        Ok(Files(files))
    }
}

impl<T> Files<T> {
    pub fn write(self, report: &T) -> Result<(), Failure> {
        for (path, mut file, render) in self.0 {
            // A terminal or a pipe has no length.
            let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
            let emptied = if is_file { file.set_len(0) } else { Ok(()) };
            emptied.and_then(|()| file.write_all(render(report).as_bytes())).map_err(|e| failed(&path, &e))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::ours(format!("{}: {error}", path.display()))
}
