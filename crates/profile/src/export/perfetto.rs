//! Perfetto's own form: a trace with one packet, a heap profile such as its profiler makes for native code.

use super::proto::{Message, whole};
use crate::model::{Profile, Which};
use crate::tree::calls;
use std::collections::HashMap;

/// Fields of `Trace`, `TracePacket`, `ProfilePacket` and what is in it, from Perfetto's `profile_packet.proto`.
const PACKET: u32 = 1;
const TIMESTAMP: u32 = 8;
const SEQUENCE: u32 = 10;
const PROFILE: u32 = 37;

pub fn write(profile: &Profile) -> Vec<u8> {
    let mut strings: HashMap<String, u64> = HashMap::new();
    let mut frames: HashMap<(String, u64), u64> = HashMap::new();
    let mut stacks: HashMap<Vec<u64>, u64> = HashMap::new();
    let mut packet = Message::default();
    let mut samples = Vec::new();
    let module = profile.words.first().cloned().unwrap_or_default();
    let mut string = |packet: &mut Message, text: &str| {
        let next = strings.len() as u64 + 1;
        let number = *strings.entry(text.to_owned()).or_insert(next);
        if number == next {
            packet.message(1, |of| {
                of.number(1, number).bytes(2, text.as_bytes());
            });
        }
        number
    };
    let path = string(&mut packet, &module);
    packet.message(4, |of| {
        of.number(1, 1).numbers(7, [path]);
    });
    for entry in &profile.entries {
        let mut stack = Vec::new();
        for call in calls(profile, entry).into_iter().rev() {
            let name = string(&mut packet, &call.text());
            let next = frames.len() as u64 + 1;
            let frame = *frames.entry((call.text(), name)).or_insert(next);
            if frame == next {
                packet.message(2, |of| {
                    of.number(1, frame).number(2, name).number(3, 1).number(4, frame);
                });
            }
            stack.push(frame);
        }
        let next = stacks.len() as u64 + 1;
        let number = *stacks.entry(stack.clone()).or_insert(next);
        if number == next {
            packet.message(3, |of| {
                of.number(1, number);
                // Not packed there.
                stack.iter().for_each(|&frame| {
                    of.number(2, frame);
                });
            });
        }
        samples.push((number, entry));
    }
    packet.message(5, |dump| {
        dump.number(1, u64::from(profile.pid));
        for (stack, entry) in samples {
            let freed = |figure: fn(&crate::model::Entry, Which) -> f64| {
                whole((figure(entry, Which::Total) - figure(entry, Which::InUse)).max(0.0))
            };
            dump.message(2, |of| {
                of.number(1, stack)
                    .number(2, whole(entry.size(Which::Total)))
                    .number(3, freed(crate::model::Entry::size));
                of.number(4, profile.took);
                of.number(5, whole(entry.count(Which::Total))).number(6, freed(crate::model::Entry::count));
            });
        }
        dump.number(9, profile.took).bytes(11, b"malloc").number(12, profile.interval);
    });
    let packet = packet.into_bytes();
    let mut trace = Message::default();
    trace.message(PACKET, |of| {
        of.number(TIMESTAMP, profile.took).number(SEQUENCE, 1).bytes(PROFILE, &packet);
    });
    trace.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn it_holds_the_names() {
        let bytes = write(&sample());
        assert_eq!(bytes[0], 0x0a);
        for name in ["main a.c:1", "h a.c:4", "malloc"] {
            assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
        }
    }
}
