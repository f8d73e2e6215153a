//! Numbers and colours as people read them.

use heapglass_report::map::Shade;
use std::io::IsTerminal;

/// With a comma between thousands.
pub fn grouped(figure: u64) -> String {
    crate::stats::grouped(figure)
}

/// In the largest unit of which there is one: `16 KiB`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..units.len()).rev().find(|unit| bytes >= 1 << (10 * unit)).unwrap_or(0);
    let whole = 1u64 << (10 * unit);
    match bytes.is_multiple_of(whole) {
        true => format!("{} {}", bytes / whole, units[unit]),
        false => format!("{:.1} {}", bytes as f64 / whole as f64, units[unit]),
    }
}

pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}

pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

impl Colour {
    pub fn is_on(self) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal(),
        }
    }
}

/// Colours of the 256 that terminals have, told apart by those who don't see red and green too (after Okabe and Ito).
pub fn colour(shade: Shade) -> u8 {
    match shade {
        Shade::InUse => 25,
        Shade::Cached => 117,
        Shade::Fast => 36,
        Shade::Unsorted => 221,
        Shade::Small => 214,
        Shade::Large => 166,
        Shade::Top => 250,
        Shade::Released => 238,
        Shade::Quarantined => 96,
        Shade::Damaged => 196,
        Shade::Mapped => 175,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in
            [(0, "0 bytes"), (512, "512 bytes"), (4096, "4 KiB"), (1_572_864, "1.5 MiB"), (135_168, "132 KiB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(
            (plural(1, "chunk", "chunks"), plural(2000, "chunk", "chunks")),
            ("1 chunk".into(), "2,000 chunks".into())
        );
        assert_eq!(percent(1, 8), "12.5%");
    }
}
