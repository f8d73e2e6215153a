//! speedscope's own form.

use crate::model::{Profile, Which};
use crate::tree::calls;
use serde_json::json;
use std::collections::HashMap;

pub fn write(profile: &Profile, which: Which) -> String {
    let mut numbers = HashMap::new();
    let mut frames = Vec::new();
    let (mut samples, mut weights, mut sum) = (Vec::new(), Vec::new(), 0.0);
    for entry in profile.entries.iter().filter(|entry| entry.count(which) > 0.0) {
        let stack: Vec<usize> = calls(profile, entry)
            .into_iter()
            .rev()
            .map(|call| {
                *numbers.entry(call).or_insert_with_key(|call| {
                    let mut frame = json!({ "name": call.function });
                    if !call.file.is_empty() {
                        frame["file"] = json!(call.file);
                        frame["line"] = json!(call.line);
                    }
                    frames.push(frame);
                    frames.len() - 1
                })
            })
            .collect();
        samples.push(stack);
        weights.push(entry.size(which).round());
        sum += entry.size(which).round();
    }
    let name = profile.words.join(" ");
    json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "heapglass",
        "activeProfileIndex": 0,
        "shared": { "frames": frames },
        "profiles": [{
            "type": "sampled",
            "name": format!("{name}: {}", which.name()),
            "unit": "bytes",
            "startValue": 0,
            "endValue": sum,
            "samples": samples,
            "weights": weights,
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn samples_name_frames_that_are_there_and_weights_add_up() {
        let text: serde_json::Value = serde_json::from_str(&write(&sample(), Which::InUse)).unwrap();
        let profile = &text["profiles"][0];
        let frames = text["shared"]["frames"].as_array().unwrap();
        let samples = profile["samples"].as_array().unwrap();
        assert_eq!(samples.len(), profile["weights"].as_array().unwrap().len());
        assert!(
            samples.iter().flat_map(|s| s.as_array().unwrap()).all(|f| (f.as_u64().unwrap() as usize) < frames.len())
        );
        assert_eq!(profile["endValue"], 1200.0);
        assert_eq!(frames[samples[0][0].as_u64().unwrap() as usize]["name"], "main");
    }
}
