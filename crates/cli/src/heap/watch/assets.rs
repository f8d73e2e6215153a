//! The page's own files, as they lie in `crates/cli/page`: compiled into the command, so that nothing has to be found at run time.
//! The scripts are what the TypeScript beside them compiles to (`cargo xtask test page`).

use crate::heap::http::Answer;

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/", $name))
    };
}

const FILES: [(&str, &str, &[u8]); 12] = [
    ("/", "text/html; charset=utf-8", file!("page.html")),
    ("/page.css", "text/css; charset=utf-8", file!("page.css")),
    ("/page.js", SCRIPT, file!("js/page.js")),
    ("/heap.js", SCRIPT, file!("js/heap.js")),
    ("/raster.js", SCRIPT, file!("js/raster.js")),
    ("/map.js", SCRIPT, file!("js/map.js")),
    ("/chart.js", SCRIPT, file!("js/chart.js")),
    ("/tables.js", SCRIPT, file!("js/tables.js")),
    ("/flame.js", SCRIPT, file!("js/flame.js")),
    ("/events.js", SCRIPT, file!("js/events.js")),
    ("/server.js", SCRIPT, file!("js/server.js")),
    ("/text.js", SCRIPT, file!("js/text.js")),
];

pub fn answer(path: &str) -> Answer {
    match FILES.iter().find(|(name, ..)| *name == path) {
        Some((_, kind, bytes)) => Answer::of(kind, bytes.to_vec()),
        None => Answer::not_found("there is no such thing here"),
    }
}
