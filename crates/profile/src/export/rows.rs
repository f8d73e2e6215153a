//! A line for each stack and length: as JSON, and separated by commas (RFC 4180).

use crate::model::{Entry, Profile, Which};
use crate::tree::calls;
use serde_json::json;
use std::fmt::Write;

fn stack(profile: &Profile, entry: &Entry) -> Vec<String> {
    calls(profile, entry).into_iter().map(|call| call.text()).collect()
}

pub fn jsonl(profile: &Profile) -> String {
    let mut text = String::new();
    for entry in &profile.entries {
        let mut line = json!({
            "thread": entry.thread,
            "arena": entry.arena,
            "bytes": entry.bytes,
            "chunk_bytes": entry.chunk,
            "stack": stack(profile, entry),
        });
        for which in Which::ALL {
            line[which.name().replace(' ', "_")] = json!(entry.count(which));
        }
        let _ = writeln!(text, "{line}");
    }
    text
}

pub fn csv(profile: &Profile) -> String {
    let mut text = "thread,arena,bytes,chunk_bytes,in_use,peak,total,temporary,stack\r\n".to_owned();
    for entry in &profile.entries {
        let arena = entry.arena.map_or(String::new(), |arena| arena.to_string());
        let _ = write!(text, "{},{arena},{},{}", entry.thread, entry.bytes, entry.chunk);
        for which in Which::ALL {
            let _ = write!(text, ",{:.3}", entry.count(which));
        }
        let _ = write!(text, ",\"{}\"\r\n", stack(profile, entry).join(";").replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn lines_are_whole() {
        let profile = sample();
        let first: serde_json::Value = serde_json::from_str(jsonl(&profile).lines().next().unwrap()).unwrap();
        assert_eq!((&first["in_use"], &first["stack"][0]), (&json!(2.0), &json!("f a.c:2")));
        let text = csv(&profile);
        assert_eq!(
            text.lines().nth(2).unwrap(),
            "5,0,1000,1008,1.000,1.000,2.000,1.000,\"h a.c:4;g a.c:3;main a.c:1\""
        );
    }
}
