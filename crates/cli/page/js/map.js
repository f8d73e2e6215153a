// The map: two canvases, the raster below and what is written on it above, with mouse and keyboard.
import { IN_USE } from "./heap.js";
import { MARKED, NOTHING, fill, paint, scales, sections, shares } from "./raster.js";
import { element, grouped, hex, percent, plural, size } from "./text.js";
/** Points for addresses at the left, and for the title of a heap. */
const GUTTER = 112;
const TITLE = 20;
/** Rows that are kept. */
const ROWS = 4096;
/** Arrows of a list that are drawn. */
const ARROWS = 200;
export class HeapMap {
    constructor(events) {
        this.frame = element("map");
        this.below = element("raster");
        this.above = element("overlay");
        this.tip = element("tip");
        this.heap = null;
        this.shown = [];
        this.height = 0;
        this.scale = { cell: 16, side: 8, width: 64 };
        /** Is everything to be seen, whatever it grows to? */
        this.fitted = true;
        this.top = 0;
        this.arena = null;
        this.cursor = null;
        this.selected = null;
        this.arrows = [];
        this.marked = false;
        this.joined = true;
        this.image = null;
        this.pixels = new Uint32Array(0);
        /** Rows that were seen lately, by where they begin: scrolling makes only those that are new. Good for one heap at one scale. */
        this.rows = new Map();
        this.colours = new Uint32Array(256);
        this.edges = new Uint32Array(256);
        this.ink = { text: "", faint: "", accent: "", letters: "" };
        this.asked = false;
        /** Milliseconds of the last frames' drawing, for who measures. */
        this.drawn = [];
        this.events = events;
        new ResizeObserver(() => this.resize()).observe(this.frame);
        this.listen();
        this.recolour();
    }
    /** Another picture; place and scale stay. */
    show(heap) {
        const first = this.heap === null;
        this.heap = heap;
        this.rows.clear();
        if (this.selected !== null) {
            this.selected = heap.chunkAt(this.selected.at);
        }
        this.lay();
        if (first || this.fitted) {
            this.fit();
        }
        this.draw();
    }
    only(arena) {
        this.arena = arena;
        this.fit();
    }
    /** Colours by what they are, or chunks in use by the mark after which they were born. */
    colourMarks(on) {
        this.marked = on;
        this.rows.clear();
        this.draw();
    }
    /** Draws arrows along a list of user pointers or chunks. */
    follow(chunks) {
        this.arrows = chunks.slice(0, ARROWS + 1);
        this.joined = true;
        this.draw();
    }
    /** Draws a point at each of these. */
    point(chunks) {
        this.arrows = chunks;
        this.joined = false;
        this.draw();
    }
    select(chunk) {
        this.selected = chunk;
        if (chunk !== null) {
            this.cursor = chunk.at;
        }
        this.draw();
    }
    /** Colours are the style sheet's. */
    recolour() {
        const style = getComputedStyle(document.documentElement);
        const value = (name) => style.getPropertyValue(name).trim();
        const set = (index, name) => {
            const colour = value(name);
            this.colours[index] = word(colour, 1);
            this.edges[index] = word(colour, 0.55);
        };
        for (let shade = 0; shade <= 11; shade += 1) {
            set(shade, `--shade-${shade}`);
        }
        for (let mark = 1; mark < 16; mark += 1) {
            set(MARKED + mark, `--mark-${((mark - 1) % 6) + 1}`);
        }
        set(NOTHING, "--nothing");
        this.ink = { text: value("--text"), faint: value("--faint"), accent: value("--accent"), letters: value("--letters") };
        this.draw();
    }
    // Scales
    levels() {
        const total = this.parts().reduce((sum, part) => sum + part.end - part.start, 0);
        const room = Math.max(this.below.height - TITLE * this.parts().length, 64);
        let cell = 16;
        while (total / (cell * this.widthFor(1)) > room) {
            cell *= 2;
        }
        return scales(cell);
    }
    widthFor(side) {
        const room = Math.max(this.below.width - GUTTER, 64) / side;
        // Up to seven quarters of a power of two: rows still begin at round addresses.
        const quarter = Math.max(2 ** (Math.floor(Math.log2(room)) - 2), 1);
        return Math.max(Math.floor(room / quarter) * quarter, 1);
    }
    /** The nearest scale at which everything is to be seen. */
    fit() {
        const levels = this.levels();
        let level = 0;
        for (let index = 0; index < levels.length; index += 1) {
            const [cell, side] = levels[index];
            const scale = { cell, side, width: this.widthFor(side) };
            if (sections(this.parts(), scale, TITLE)[1] <= this.below.height) {
                level = index;
            }
        }
        const [cell, side] = levels[level];
        // Of a heap that grew, the same step is another scale.
        if (cell !== this.scale.cell || side !== this.scale.side || this.scale.width !== this.widthFor(side)) {
            this.setLevel(level, null, 0);
        }
        this.lay();
        this.top = 0;
        this.fitted = true;
        this.draw();
    }
    zoom(step, at) {
        const middle = at ?? this.cursor ?? this.placeAt(GUTTER + 1, this.below.height / 2)?.address ?? null;
        const place = middle === null ? null : this.placeOf(middle);
        const seen = place !== null && place.y >= 0 && place.y < this.below.height;
        const { cell, side } = this.scale;
        const now = this.levels().findIndex((level) => level[0] === cell && level[1] === side);
        this.setLevel(Math.max(now, 0) + step, middle, seen && place !== null ? place.y : this.below.height / 2);
    }
    /** Keeps an address where it is on the screen. */
    setLevel(level, keep, y) {
        const levels = this.levels();
        this.fitted = false;
        const [cell, side] = levels[Math.max(0, Math.min(level, levels.length - 1))];
        const width = this.widthFor(side);
        if (cell !== this.scale.cell || width !== this.scale.width) {
            this.rows.clear();
        }
        this.scale = { cell, side, width };
        this.lay();
        if (keep !== null) {
            const place = this.placeOf(keep);
            if (place !== null) {
                this.top += place.y - y;
            }
        }
        this.draw();
    }
    /** Goes to an address. */
    goTo(address, near) {
        this.cursor = address;
        if (near && this.scale.side < 8) {
            this.setLevel(this.levels().length - 2, null, 0);
        }
        this.reveal(address);
        this.draw();
    }
    reveal(address) {
        const place = this.placeOf(address);
        if (place !== null && (place.y < TITLE || place.y + this.scale.side > this.below.height)) {
            this.top += place.y - this.below.height / 2;
        }
    }
    // Places
    parts() {
        if (this.heap === null) {
            return [];
        }
        return this.heap.everything().filter((part) => this.arena === null || part.head.arena === this.arena);
    }
    lay() {
        [this.shown, this.height] = sections(this.parts(), this.scale, TITLE);
    }
    /** What is at a point of the canvas. */
    placeAt(x, y) {
        const { cell, side, width } = this.scale;
        const line = y + this.top;
        const column = Math.floor((x - GUTTER) / side);
        const section = this.shown.find((one) => line >= one.top && line < one.top + one.rows * side);
        if (section === undefined || column < 0 || column >= width) {
            return null;
        }
        const row = Math.floor((line - section.top) / side);
        return { section, address: section.base + (row * width + column) * cell };
    }
    /** Where an address is on the canvas. */
    placeOf(address) {
        const { cell, side, width } = this.scale;
        for (const section of this.shown) {
            const { part } = section;
            if (part.places === null && address >= part.start && address < part.end) {
                const index = Math.floor((address - section.base) / cell);
                const row = Math.floor(index / width);
                return { x: GUTTER + (index % width) * side, y: section.top + row * side - this.top };
            }
        }
        return null;
    }
    chunkAt(x, y) {
        const place = this.placeAt(x, y);
        if (place === null) {
            return null;
        }
        const { part } = place.section;
        // A cell may begin before the heap does.
        const first = part.chunkAt(Math.max(place.address, part.start));
        if (first === null || place.address + this.scale.cell <= part.start) {
            return null;
        }
        return first;
    }
    // Mouse and keyboard
    listen() {
        const over = this.above;
        over.addEventListener("mousemove", (event) => {
            const chunk = this.chunkAt(event.offsetX, event.offsetY);
            const place = this.placeAt(event.offsetX, event.offsetY);
            const text = chunk === null ? "" : this.about(chunk) + (place === null ? "" : this.mixture(place));
            this.tell(text, event.offsetX, event.offsetY);
            this.events.onLook(text);
        });
        over.addEventListener("mouseleave", () => {
            this.tip.hidden = true;
        });
        over.addEventListener("click", (event) => {
            const chunk = this.chunkAt(event.offsetX, event.offsetY);
            this.frame.focus();
            if (chunk !== null) {
                this.select(chunk);
                this.events.onSelect(chunk.at);
            }
        });
        over.addEventListener("dblclick", (event) => {
            this.zoom(1, this.placeAt(event.offsetX, event.offsetY)?.address);
        });
        over.addEventListener("wheel", (event) => {
            event.preventDefault();
            if (event.ctrlKey || event.metaKey) {
                this.zoom(event.deltaY < 0 ? 1 : -1, this.placeAt(event.offsetX, event.offsetY)?.address);
            }
            else {
                this.scroll(event.deltaMode === 0 ? event.deltaY : event.deltaY * 40);
            }
        }, { passive: false });
        this.frame.addEventListener("keydown", (event) => this.key(event));
    }
    scroll(points) {
        this.top += points;
        this.draw();
    }
    key(event) {
        if (event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const { cell, width } = this.scale;
        const moves = {
            ArrowLeft: -cell, ArrowRight: cell, ArrowUp: -cell * width, ArrowDown: cell * width,
            PageUp: -cell * width * 16, PageDown: cell * width * 16,
        };
        if (event.key in moves) {
            this.move(moves[event.key]);
        }
        else if (event.key === "n" || event.key === "b") {
            this.toNeighbour(event.key === "n" ? 1 : -1);
        }
        else if (event.key === "+" || event.key === "=") {
            this.zoom(1);
        }
        else if (event.key === "-") {
            this.zoom(-1);
        }
        else if (event.key === "Home") {
            this.fit();
        }
        else if (event.key === "Enter" && this.cursor !== null) {
            const chunk = this.heap?.chunkAt(this.cursor) ?? null;
            this.select(chunk);
            this.events.onSelect(this.cursor);
        }
        else {
            return;
        }
        event.preventDefault();
    }
    move(bytes) {
        const parts = this.parts().filter((part) => part.places === null);
        if (parts.length === 0) {
            return;
        }
        if (this.cursor === null) {
            this.setCursor(parts[0].start);
            return;
        }
        const cursor = this.cursor;
        const here = parts.findIndex((part) => cursor >= part.start && cursor < part.end);
        const part = parts[Math.max(here, 0)];
        let next = cursor + bytes;
        if (next < part.start) {
            next = here > 0 ? parts[here - 1].end - 16 : part.start;
        }
        else if (next >= part.end) {
            next = here + 1 < parts.length ? parts[here + 1].start : part.end - 16;
        }
        this.setCursor(next);
    }
    toNeighbour(step) {
        const chunk = this.cursor === null ? null : this.heap?.chunkAt(this.cursor) ?? null;
        if (chunk === null) {
            this.move(0);
            return;
        }
        const next = chunk.part.neighbour(chunk, step);
        if (next !== null) {
            this.setCursor(next.at);
        }
    }
    setCursor(address) {
        this.cursor = address;
        this.reveal(address);
        const chunk = this.heap?.chunkAt(address) ?? null;
        const section = this.shown.find((one) => one.part === chunk?.part);
        this.events.onLook(chunk === null ? "" : this.about(chunk) + (section === undefined ? "" : this.mixture({ section, address })));
        this.draw();
    }
    tell(text, x, y) {
        this.tip.hidden = text === "";
        if (text !== "") {
            this.tip.textContent = text.replace("; ", "\n");
            const left = Math.min(x + 14, this.below.width - this.tip.offsetWidth - 4);
            this.tip.style.transform = `translate(${Math.max(left, 0)}px, ${y + 18}px)`;
        }
    }
    /** A chunk in one line. */
    about(chunk) {
        const name = this.heap?.head.shades[chunk.shade][1] ?? "";
        const where = chunk.part.places === null ? `, arena ${chunk.part.head.arena}` : "";
        const born = chunk.mark > 0 && chunk.shade === IN_USE ? `, born after mark ${chunk.mark}` : "";
        return `${hex(chunk.at)}, ${grouped(chunk.size)} bytes, ${name}${where}${born}`;
    }
    /** Which states share the cell there, if several do. */
    mixture({ section, address }) {
        const { cell } = this.scale;
        const from = section.base + Math.floor((address - section.base) / cell) * cell;
        const bytes = shares(section.part, from, cell);
        const all = bytes.reduce((sum, part) => sum + part, 0);
        const names = this.heap?.head.shades ?? [];
        const there = bytes.map((part, shade) => [part, shade]).filter(([part]) => part > 0).sort((a, b) => b[0] - a[0]);
        if (there.length < 2) {
            return "";
        }
        return `; of its point's ${size(cell)} ${there.map(([part, shade]) => `${percent(part, all)} ${names[shade]?.[1] ?? ""}`).join(", ")}`;
    }
    /** What the scale is, in words. */
    scaleText() {
        const { cell, side, width } = this.scale;
        return `a ${side === 1 ? "point" : "cell"} is ${size(cell)}${cell > 16 ? " by share" : ""}, a row ${size(cell * width)}`;
    }
    // Drawing
    resize() {
        const [width, height] = [Math.max(this.frame.clientWidth, 200), Math.max(this.frame.clientHeight, 120)];
        if (this.below.width === width && this.below.height === height) {
            return;
        }
        this.below.width = width;
        this.below.height = height;
        // Text and lines are as fine as the screen is, at any zoom of the browser.
        this.above.width = width * devicePixelRatio;
        this.above.height = height * devicePixelRatio;
        this.image = null;
        if (this.heap !== null) {
            this.fit();
        }
        // A canvas of another size is empty, and is shown before the next frame is asked for.
        this.drawNow();
    }
    draw() {
        if (!this.asked) {
            this.asked = true;
            requestAnimationFrame(() => {
                this.asked = false;
                const began = performance.now();
                this.drawNow();
                this.drawn.push(performance.now() - began);
                if (this.drawn.length > 600) {
                    this.drawn.shift();
                }
            });
        }
    }
    drawNow() {
        const [width, height] = [this.below.width, this.below.height];
        const paper = this.below.getContext("2d", { alpha: false });
        const pen = this.above.getContext("2d");
        if (paper === null || pen === null || width === 0 || height === 0) {
            return;
        }
        if (this.image === null) {
            this.image = paper.createImageData(width, height);
            this.pixels = new Uint32Array(this.image.data.buffer);
        }
        this.top = Math.max(0, Math.min(this.top, this.height - height + 8));
        this.pixels.fill(this.colours[NOTHING]);
        pen.setTransform(this.above.width / width, 0, 0, this.above.height / height, 0, 0);
        pen.clearRect(0, 0, width, height);
        pen.font = "11px ui-monospace, monospace";
        pen.textBaseline = "middle";
        for (const section of this.shown) {
            this.drawSection(section, pen);
        }
        paper.putImageData(this.image, 0, 0);
        this.drawChunk(pen, this.cursor === null ? null : this.heap?.chunkAt(this.cursor) ?? null, 1);
        this.drawChunk(pen, this.selected, 2);
        this.drawArrows(pen);
        element("scale").textContent = this.scaleText();
    }
    drawSection(section, pen) {
        const { cell, side, width } = this.scale;
        const height = this.below.height;
        const y = section.title - this.top;
        if (y > height || section.top + section.rows * side < this.top) {
            return;
        }
        const { head } = section.part;
        const name = section.part.places === null
            ? `arena ${head.arena}: heap from ${hex(head.start)}, ${size(section.part.end - section.part.start)}, ${plural(head.chunks, "chunk", "chunks")}`
            : `mapped chunks: ${grouped(head.chunks)}, ${size(section.part.end)}, the largest first`;
        pen.fillStyle = this.ink.text;
        pen.fillText(name, GUTTER, y + TITLE / 2);
        const first = Math.max(0, Math.floor((this.top - section.top) / side));
        const last = Math.min(section.rows, Math.ceil((this.top + height - section.top) / side));
        // An address for each 16 points at the least.
        const every = 2 ** Math.max(0, Math.ceil(Math.log2(16 / side)));
        for (let row = first; row < last; row += 1) {
            const from = section.base + row * width * cell;
            const rowTop = section.top + row * side - this.top;
            if (rowTop < 0) {
                continue;
            }
            const cells = this.row(section.part, from);
            paint(cells, this.scale, this.pixels, this.below.width, GUTTER, rowTop | 0, height, this.colours, this.edges);
            if (row % every === 0 && section.part.places === null) {
                pen.fillStyle = this.ink.faint;
                pen.fillText(hex(from), 2, rowTop + Math.min(side / 2, 8));
            }
            if (side >= 8) {
                this.letters(pen, cells, rowTop);
            }
        }
    }
    row(part, from) {
        const key = `${part.start} ${from}`;
        let cells = this.rows.get(key);
        if (cells === undefined) {
            const { cell, width } = this.scale;
            cells = { shades: new Uint8Array(width), starts: new Uint8Array(width) };
            fill(part, from, cell, cells, this.marked);
            if (this.rows.size >= ROWS) {
                this.rows.clear();
            }
            this.rows.set(key, cells);
        }
        return cells;
    }
    /** Where there is room, each chunk has its letter too. */
    letters(pen, cells, y) {
        const { side } = this.scale;
        const { shades, starts } = cells;
        const names = this.heap?.head.shades ?? [];
        pen.fillStyle = this.ink.letters;
        pen.font = `${side >= 16 ? 11 : 8}px ui-monospace, monospace`;
        for (let cell = 0; cell < shades.length; cell += 1) {
            if (starts[cell] === 1 && shades[cell] !== NOTHING) {
                const shade = shades[cell] >= MARKED ? IN_USE : shades[cell];
                pen.fillText(names[shade][0], GUTTER + cell * side + (side >= 16 ? 4 : 2), y + side / 2);
            }
        }
        pen.font = "11px ui-monospace, monospace";
    }
    /** A line around a chunk: the box of its row, or of each that it has cells in, as long as they are few. */
    drawChunk(pen, chunk, width) {
        if (chunk === null || chunk.part.places !== null) {
            return;
        }
        const { cell, side, width: cells } = this.scale;
        const section = this.shown.find((one) => one.part === chunk.part);
        if (section === undefined) {
            return;
        }
        const from = Math.floor((chunk.at - section.base) / cell);
        const to = Math.max(from + 1, Math.ceil((chunk.at + chunk.size - section.base) / cell));
        pen.strokeStyle = this.ink.accent;
        pen.lineWidth = width;
        let row = Math.max(Math.floor(from / cells), Math.floor((this.top - section.top) / side));
        const last = Math.min(Math.floor((to - 1) / cells), row + Math.ceil(this.below.height / side));
        for (; row <= last; row += 1) {
            const [a, b] = [Math.max(from, row * cells) % cells, Math.min(to, (row + 1) * cells) - row * cells];
            const y = section.top + row * side - this.top;
            pen.strokeRect(GUTTER + a * side - 0.5, y - 0.5, Math.max((b - a) * side, 3) + 1, Math.max(side, 3) + 1);
        }
    }
    drawArrows(pen) {
        pen.strokeStyle = this.ink.accent;
        pen.fillStyle = this.ink.accent;
        pen.lineWidth = 1.5;
        const half = this.scale.side / 2;
        for (let index = 0; index < this.arrows.length; index += 1) {
            const to = this.placeOf(this.arrows[index][0]);
            if (to === null) {
                continue;
            }
            pen.beginPath();
            pen.arc(to.x + half, to.y + half, 3, 0, 2 * Math.PI);
            pen.fill();
            const from = index === 0 || !this.joined ? null : this.placeOf(this.arrows[index - 1][0]);
            if (from === null) {
                continue;
            }
            const [dx, dy] = [to.x - from.x, to.y - from.y];
            const length = Math.hypot(dx, dy);
            pen.beginPath();
            pen.moveTo(from.x + half, from.y + half);
            pen.lineTo(to.x + half, to.y + half);
            if (length > 12) {
                const [ux, uy] = [dx / length, dy / length];
                for (const turn of [0.45, -0.45]) {
                    const [c, s] = [Math.cos(turn), Math.sin(turn)];
                    pen.moveTo(to.x + half, to.y + half);
                    pen.lineTo(to.x + half - 9 * (ux * c - uy * s), to.y + half - 9 * (uy * c + ux * s));
                }
            }
            pen.stroke();
        }
    }
}
/** `#rrggbb`, perhaps darker, as the image has it. */
function word(colour, light) {
    const number = parseInt(colour.slice(1), 16);
    const channel = (shift) => Math.round(((number >> shift) & 255) * light);
    return ((255 << 24) | (channel(0) << 16) | (channel(8) << 8) | channel(16)) >>> 0;
}
