//! The form of DHAT, valgrind's and the Rust crate's, for its viewer.

use crate::model::{Profile, Which};
use crate::tree::calls;
use serde_json::json;
use std::collections::HashMap;

pub fn write(profile: &Profile) -> String {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut table = vec!["[root]".to_owned()];
    // One point for each stack.
    let mut points: Vec<([f64; 7], Vec<usize>)> = Vec::new();
    let mut places: HashMap<Vec<usize>, usize> = HashMap::new();
    for entry in &profile.entries {
        let frames: Vec<usize> = calls(profile, entry)
            .into_iter()
            .map(|call| {
                let place =
                    if call.file.is_empty() { String::new() } else { format!(" ({}:{})", call.file, call.line) };
                *numbers.entry(format!("{}{place}", call.function)).or_insert_with_key(|name| {
                    table.push(name.clone());
                    table.len() - 1
                })
            })
            .collect();
        let index = *places.entry(frames.clone()).or_insert_with(|| {
            points.push(([0.0; 7], frames));
            points.len() - 1
        });
        if let Some((sums, _)) = points.get_mut(index) {
            let which = [Which::Total, Which::Peak, Which::InUse];
            let figures = which.into_iter().flat_map(|which| [entry.size(which), entry.count(which)]);
            sums.iter_mut().zip(figures.chain([entry.lived / 1000.0])).for_each(|(sum, figure)| *sum += figure);
        }
    }
    let points: Vec<_> = points
        .into_iter()
        .map(|(sums, frames)| {
            let [tb, tbk, gb, gbk, eb, ebk, tl] = sums.map(|figure| figure.round().max(0.0) as u64);
            // The highest of a point by itself isn't recorded; it was no less than this.
            let (mb, mbk) = (gb.max(eb), gbk.max(ebk));
            json!({
                "tb": tb, "tbk": tbk, "tl": tl, "mb": mb, "mbk": mbk, "gb": gb, "gbk": gbk, "eb": eb, "ebk": ebk,
                "fs": frames,
            })
        })
        .collect();
    json!({
        "dhatFileVersion": 2,
        "mode": "heapglass",
        "verb": "Allocated",
        "bklt": true,
        "bkacc": false,
        "tu": "µs",
        "Mtu": "s",
        "tuth": 10,
        "cmd": profile.words.join(" "),
        "pid": profile.pid,
        "tg": profile.peak_at / 1000,
        "te": profile.took / 1000,
        "pps": points,
        "ftbl": table,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn points_name_frames_that_are_there() {
        let text: serde_json::Value = serde_json::from_str(&write(&sample())).unwrap();
        let table = text["ftbl"].as_array().unwrap();
        let points = text["pps"].as_array().unwrap();
        assert_eq!(points.len(), 3);
        assert_eq!((&points[0]["eb"], &points[0]["tbk"]), (&json!(200), &json!(3)));
        let first = points[1]["fs"][0].as_u64().unwrap() as usize;
        assert_eq!(table[first], "h (dir/a.c:4)");
    }
}
