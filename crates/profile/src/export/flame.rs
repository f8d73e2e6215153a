//! A flame graph: an SVG that any browser shows, with search and zoom, and nothing else needed.

use crate::model::{Profile, Which, bytes, number};
use crate::tree::{From, Node, tree};
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 60.0;
/// Narrower than this isn't drawn.
const THIN: f64 = 0.4;
const LETTER: f64 = 6.6;

pub fn write(profile: &Profile, which: Which) -> String {
    let root = tree(profile, which, From::Outside, false);
    let mut boxes = String::new();
    let depth = draw(&root, "all", 0.0, 0, &root, &mut boxes);
    let height = TOP + ROW * f64::from(depth + 1) + 10.0;
    let title = escaped(&format!("{}: {} bytes by caller", profile.words.join(" "), which.name()));
    let sum = format!("{} in {} allocations", bytes(root.bytes), number(root.count));
    format!(
        r##"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">
<style>g rect {{ stroke: #fff; stroke-width: 0.5 }} g {{ cursor: pointer }} g:hover rect {{ stroke: #000 }} .hit rect {{ fill: #7a5fd0 }} .hit text {{ fill: #fff }}</style>
<rect width="100%" height="100%" fill="#fbfaf7"/>
<text x="10" y="22" font-size="15">{title}</text>
<text id="about" x="10" y="42">{sum}</text>
<text id="search" x="1190" y="22" text-anchor="end" style="cursor:pointer" fill="#335">search</text>
<text id="reset" x="1190" y="42" text-anchor="end" style="cursor:pointer" fill="#335">whole</text>
{boxes}<script><![CDATA[
const all = [...document.querySelectorAll("g[data-x]")], about = document.getElementById("about"), said = about.textContent;
const of = g => ({{ x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d }});
function fit(g, w) {{ const t = g.querySelector("text"), n = g.dataset.n, k = Math.floor((w - 6) / {LETTER}); t.textContent = k < 3 ? "" : n.length <= k ? n : n.slice(0, k - 1) + "\u2026"; }}
function zoom(to) {{ const z = of(to); for (const g of all) {{ const b = of(g), inside = b.x >= z.x - 1e-6 && b.x + b.w <= z.x + z.w + 1e-6, above = b.d < z.d && b.x <= z.x + 1e-6 && b.x + b.w >= z.x + z.w - 1e-6;
  g.style.display = inside || above ? "" : "none"; const x = above ? 0 : (b.x - z.x) * {WIDTH} / z.w, w = above ? {WIDTH} : b.w * {WIDTH} / z.w;
  const r = g.querySelector("rect"); r.setAttribute("x", x); r.setAttribute("width", Math.max(w, 0)); g.querySelector("text").setAttribute("x", x + 3); fit(g, w); }} }}
for (const g of all) {{ g.onclick = () => zoom(g); g.onmouseover = () => about.textContent = g.querySelector("title").textContent; g.onmouseout = () => about.textContent = said; }}
document.getElementById("reset").onclick = () => {{ all.forEach(g => g.classList.remove("hit")); zoom(all[0]); }};
document.getElementById("search").onclick = () => {{ const what = prompt("Functions that contain:"); if (what) all.forEach(g => g.classList.toggle("hit", g.dataset.n.toLowerCase().includes(what.toLowerCase()))); }};
]]></script>
</svg>
"##
    )
}

/// Returns the depth of the deepest that was drawn.
fn draw(node: &Node, name: &str, x: f64, depth: u32, root: &Node, out: &mut String) -> u32 {
    if root.bytes <= 0.0 {
        return depth;
    }
    let width = WIDTH * node.bytes / root.bytes;
    let y = TOP + ROW * f64::from(depth);
    let share = 100.0 * node.bytes / root.bytes;
    let room = ((width - 6.0) / LETTER).max(0.0) as usize;
    let label: String = match name.chars().count() {
        _ if room < 3 => String::new(),
        length if length <= room => name.to_owned(),
        _ => name.chars().take(room - 1).chain(['…']).collect(),
    };
    let (full, label) = (escaped(name), escaped(&label));
    let title = format!("{full}: {} ({share:.1}%), {} allocations", bytes(node.bytes), number(node.count));
    let _ = writeln!(
        out,
        r#"<g data-x="{x:.4}" data-w="{width:.4}" data-d="{depth}" data-n="{full}"><title>{title}</title><rect x="{x:.2}" y="{y}" width="{width:.2}" height="{ROW}" fill="{}"/><text x="{:.2}" y="{}">{label}</text></g>"#,
        colour(name),
        x + 3.0,
        y + 12.5
    );
    let (mut at, mut deepest) = (x, depth);
    for (name, below) in node.below.iter().filter(|(_, below)| below.bytes > 0.0) {
        let width = WIDTH * below.bytes / root.bytes;
        if width >= THIN {
            deepest = deepest.max(draw(below, name, at, depth + 1, root, out));
        }
        at += width;
    }
    deepest
}

/// One hue for each name: warm ones, so that dark letters can be read on them.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("hsl({} {}% {}%)", 10 + hash % 45, 60 + hash / 64 % 25, 66 + hash / 4096 % 12)
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if (letter as u32) < 32 => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::sample;

    #[test]
    fn a_box_for_each_function_as_wide_as_its_share() {
        let mut profile = sample();
        profile.frames[1].lines[0].function = "f<a&b>".into();
        let text = write(&profile, Which::InUse);
        assert!(text.contains("data-n=\"f&lt;a&amp;b&gt;\"") && text.contains("data-w=\"1000.0000\""));
        assert!(text.contains("main: 1.2 KiB (100.0%), 3 allocations"));
        // Nothing at all is a picture too.
        assert!(write(&Profile::new(), Which::InUse).ends_with("</svg>\n"));
    }
}
