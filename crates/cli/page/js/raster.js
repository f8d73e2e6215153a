// The heap as cells, each of one shade. Where several share a cell, as many of the cells around show each as it has bytes there. Pure
// functions from words to bytes, since they have a thirtieth of a second for a million chunks.
import { DAMAGED, IN_USE, MORE, RELEASED, canBeReleased } from "./heap.js";
/** Nothing is there. */
export const NOTHING = 255;
/** Shades from here on are chunks in use that were born after mark 1, 2, ... */
export const MARKED = 16;
/** In a cell's byte of starts: a chunk begins here. */
const KINDS = 32;
const counts = new Float64Array(KINDS);
/** Of 2^32, the golden section: its multiples fall evenly into any part of the whole, and so do those of any few that follow. */
const GOLDEN = 0x9e3779b1;
/**
 * Which of so many kinds the cell shows; its bytes are counted anew from here on. Each of them by its share: which of a cell's, the cell's
 * number says and nothing else, so that what changes in one cell changes no other. Damage is shown however little there is of it.
 */
function pick(kinds, number) {
    let all = 0;
    for (let kind = 0; kind < kinds; kind += 1) {
        all += counts[kind];
    }
    let rest = ((Math.imul(number, GOLDEN) >>> 0) / 2 ** 32) * all;
    let picked = NOTHING;
    const isDamaged = counts[DAMAGED] > 0;
    for (let kind = 0; kind < kinds; kind += 1) {
        const bytes = counts[kind];
        if (bytes > 0 && rest >= 0) {
            picked = kind;
        }
        rest -= bytes;
        counts[kind] = 0;
    }
    return isDamaged ? DAMAGED : picked;
}
/** The first run of pages that isn't wholly before a page. */
function firstRun(runs, page) {
    let low = 0;
    let high = runs.length / 2;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (runs[2 * middle] + runs[2 * middle + 1] <= page) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return 2 * low;
}
/** Cells of a part from an address on, as many as there is room for. */
export function fill(part, from, cell, into, marked) {
    const { shades, starts } = into;
    // Where a cell is longer than the shortest chunk, nobody sees where one begins.
    const tellsStarts = cell === 16;
    const kinds = marked ? KINDS : MARKED;
    shades.fill(NOTHING);
    starts.fill(0);
    const to = Math.min(from + cell * shades.length, part.end);
    if (to <= part.start || from >= part.end) {
        return;
    }
    let [index, at] = part.find(Math.max(from, part.start));
    const { words, runs, page } = part;
    const base = part.head.base;
    const hasRuns = part.places === null;
    let run = firstRun(runs, (Math.max(at, from) - base) / page);
    let runStart = run < runs.length ? base + runs[run] * page : Infinity;
    let runEnd = run < runs.length ? runStart + runs[run + 1] * page : Infinity;
    let place = Math.floor((Math.max(at, from) - from) / cell);
    let cellEnd = from + (place + 1) * cell;
    const number = (from / cell) % 2 ** 32;
    let used = false;
    counts.fill(0);
    const marks = marked ? part.marks : null;
    const put = (kind, start, end) => {
        let s = start;
        while (s < end) {
            const e = end < cellEnd ? end : cellEnd;
            if (e - s === cell) {
                shades[place] = kind;
            }
            else {
                counts[kind] += e - s;
                used = true;
            }
            if (e === cellEnd) {
                if (used) {
                    shades[place] = pick(kinds, number + place);
                    used = false;
                }
                place += 1;
                cellEnd += cell;
            }
            s = e;
        }
    };
    while (at < to) {
        const word = words[index];
        let size = (word >>> 4) * 16;
        let next = index + 1;
        if (next < words.length && (words[next] & 15) === MORE) {
            size += (words[next] >>> 4) * 2 ** 32;
            next += 1;
        }
        const shade = word & 15;
        const end = at + size;
        const mayBeGone = hasRuns && canBeReleased(shade);
        const kind = marks !== null && shade === IN_USE && marks[index] > 0
            ? MARKED + Math.min(marks[index], KINDS - MARKED - 1)
            : shade;
        if (end < cellEnd && at >= from && !mayBeGone && !tellsStarts) {
            // The usual case where a million chunks are seen at once: several in a cell.
            counts[kind] += size;
            used = true;
            at = end;
            index = next;
            continue;
        }
        let s = at;
        if (s < from) {
            s = from;
        }
        else if (tellsStarts) {
            starts[(s - from) / 16] = 1;
        }
        const stop = end < to ? end : to;
        if (mayBeGone) {
            // Free memory whose pages are gone is told apart.
            while (s < stop) {
                while (runEnd <= s && runEnd !== Infinity) {
                    run += 2;
                    runStart = run < runs.length ? base + runs[run] * page : Infinity;
                    runEnd = run < runs.length ? runStart + runs[run + 1] * page : Infinity;
                }
                const gone = Math.min(stop, Math.max(s, runStart));
                if (gone > s) {
                    put(RELEASED, s, gone);
                }
                const there = Math.min(stop, runEnd);
                if (there > gone) {
                    put(shade, gone, there);
                }
                s = Math.max(gone, there);
            }
        }
        else {
            put(kind, s, stop);
        }
        at = end;
        index = next;
    }
    if (used) {
        shades[place] = pick(kinds, number + place);
    }
}
/** What a cell holds: bytes by shade. */
export function shares(part, from, cell) {
    // No two chunks share 16 bytes.
    const cells = { shades: new Uint8Array(cell / 16), starts: new Uint8Array(cell / 16) };
    fill(part, from, 16, cells, false);
    const bytes = new Array(MARKED).fill(0);
    for (const shade of cells.shades) {
        if (shade !== NOTHING) {
            bytes[shade] += 16;
        }
    }
    return bytes;
}
/** Draws a row of cells into an image, `left` and `top` in points of it. */
export function paint(cells, scale, image, imageWidth, left, top, bottom, colours, edges) {
    const { side } = scale;
    const { shades, starts } = cells;
    const first = top * imageWidth + left;
    if (side === 1) {
        for (let cell = 0; cell < shades.length; cell += 1) {
            image[first + cell] = colours[shades[cell]];
        }
        return;
    }
    for (let cell = 0; cell < shades.length; cell += 1) {
        const from = first + cell * side;
        image.fill(colours[shades[cell]], from, from + side);
        if (side >= 4 && starts[cell] === 1) {
            image[from] = edges[shades[cell]];
        }
    }
    // The other lines of the row are like the first, but for a line between rows where there is room for one.
    const lines = Math.min(side, bottom - top);
    for (let line = 1; line < lines; line += 1) {
        const isGap = side >= 6 && line === side - 1;
        const to = first + line * imageWidth;
        if (isGap) {
            image.fill(colours[NOTHING], to, to + shades.length * side);
        }
        else {
            image.copyWithin(to, first, first + shades.length * side);
        }
    }
}
/** One below the other, with the gaps of addresses between them left out. */
export function sections(parts, scale, titleHeight) {
    const rowBytes = scale.cell * scale.width;
    const all = [];
    let y = 0;
    for (const part of parts) {
        const base = Math.floor(part.start / rowBytes) * rowBytes;
        const rows = Math.max(1, Math.ceil((part.end - base) / rowBytes));
        all.push({ part, base, rows, title: y, top: y + titleHeight });
        y += titleHeight + rows * scale.side + 4;
    }
    return [all, y];
}
/** Scales from the farthest to the nearest: bytes of a cell, and its side. */
export function scales(farthest) {
    const all = [];
    for (let cell = farthest; cell >= 16; cell /= 2) {
        all.push([cell, 1]);
    }
    return [...all, [16, 2], [16, 4], [16, 8], [16, 16]];
}
