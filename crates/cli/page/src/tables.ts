// What is text: the ledger, arenas and threads, the lists of free chunks, and all about one chunk. Real tables, so that whoever doesn't see
// the map has the same figures.

import { Chunk, Heap } from "./heap.js";
import { Bins, Head, List, Pin, Pinned } from "./server.js";
import { element, grouped, hex, made, percent, plural, size } from "./text.js";

/** Rows of a table that may have many more. */
const PINS = 30;

function row(cells: (string | Node)[], first: "th" | "td" = "td"): HTMLTableRowElement {
    const one = document.createElement("tr");
    cells.forEach((cell, index) => {
        const kind = index === 0 ? first : "td";
        const filled = typeof cell === "string" ? made(kind, cell) : made(kind, [cell]);
        if (kind === "th") {
            filled.setAttribute("scope", "row");
        }
        one.append(filled);
    });
    return one;
}

function nothing(text: string, columns: number): HTMLTableRowElement {
    const one = row([text]);
    one.cells[0].colSpan = columns;
    return one;
}

/** A button that looks like a link. */
function link(text: string, label: string, act: () => void): HTMLButtonElement {
    const button = made("button", text, { type: "button", class: "link", "aria-label": label }) as HTMLButtonElement;
    button.addEventListener("click", act);
    return button;
}

export function showLedger(head: Head): void {
    const { ledger } = head;
    const rows = head.lines
        .filter(([key]) => ledger.lines[key].bytes > 0 || ledger.lines[key].resident > 0)
        .map(([key, name]) => {
            const sum = ledger.lines[key];
            const swatch = made("span", "", { class: "swatch", "aria-hidden": "true" });
            swatch.style.background = `var(--line-${key})`;
            const one = row([
                "", sum.chunks > 0 ? grouped(sum.chunks) : "", grouped(sum.bytes), grouped(sum.resident),
                percent(sum.resident, ledger.sum),
            ], "th");
            one.cells[0].append(swatch, name);
            one.dataset.line = key;
            return one;
        });
    element("ledger-rows").replaceChildren(...rows);
    element("ledger-sum").textContent = grouped(ledger.sum);
    element("ledger-rss").textContent = ledger.rss === null ? "" : grouped(ledger.rss);
    // Only a process has one.
    element("ledger-kernel").hidden = ledger.rss === null;
    element("advice").textContent = head.advice;
}

/** States with their colours, letters, chunks and bytes. */
export function showLegend(heap: Heap): void {
    const rows = heap.head.shades.flatMap(([letter, name], shade) => {
        const { chunks, bytes } = heap.totals[shade];
        if (chunks === 0 && (name !== "released" || heap.head.ledger.rss === null)) {
            return [];
        }
        const swatch = made("span", letter, { class: "swatch letter" });
        swatch.style.background = `var(--shade-${shade})`;
        const text = name === "released" ? "free, page not there" : `${name}: ${grouped(chunks)}, ${size(bytes)}`;
        const item = made("li", [swatch, document.createTextNode(" " + text)]);
        item.dataset.state = name;
        item.dataset.chunks = String(chunks);
        item.dataset.bytes = String(bytes);
        return [item];
    });
    element("legend").replaceChildren(...rows);
}

export function showArenas(heap: Heap, chosen: number | null, choose: (arena: number | null) => void): void {
    const { ledger, threads } = heap.head;
    const all = row([link("all", "show all arenas", () => choose(null)), "", "", "", "", ""], "th");
    all.setAttribute("aria-current", String(chosen === null));
    const rows = ledger.arenas.map((arena) => {
        const own = threads.filter(([, index]) => index === arena.index).map(([id, , exists]) => (exists ? `${id}` : `${id} (gone)`));
        const lines = Object.values(arena.lines);
        const resident = lines.reduce((sum, line) => sum + line.resident, 0);
        const inUse = ["requested", "rounding", "in_use", "headers"].reduce((sum, key) => sum + arena.lines[key].bytes, 0);
        const one = row([
            link(`${arena.index}`, `show only arena ${arena.index}`, () => choose(arena.index)), grouped(arena.heaps), grouped(inUse),
            grouped(resident), own.slice(0, 12).join(", ") + (own.length > 12 ? ` and ${own.length - 12} more` : ""),
        ], "th");
        one.setAttribute("aria-current", String(chosen === arena.index));
        return one;
    });
    element("arena-rows").replaceChildren(...(rows.length > 1 ? [all, ...rows] : rows));
}

/** Chunks that hold pages which are mostly free, by size; a click shows them on the map. */
export function showPins(pins: Pin[], shown: Pin | null, show: (pin: Pin) => void): void {
    const [pages, held] = pins.reduce(([pages, held], pin) => [pages + pin.pages, held + pin.holds], [0, 0]);
    element("pins-table").hidden = pages === 0;
    element("pins-said").textContent = pages === 0
        ? "No page is held that is mostly free: nothing keeps memory from going back."
        : `Of ${plural(pages, "page", "pages")} three quarters and more are free, ${size(held)} in all, held by chunks of these sizes. `
            + "A size shows its chunks on the map."
            + (pins.length > PINS ? ` The ${PINS} of ${grouped(pins.length)} sizes that hold most:` : "");
    const rows = pins.slice(0, PINS).map((pin) => {
        const state = pin.cached ? "in thread caches" : "in use";
        const name = `${grouped(pin.size)} bytes`;
        const one = row([
            link(name, `show the chunks of ${name}, ${state}, that pin memory on the map`, () => show(pin)), state, grouped(pin.chunks),
            grouped(pin.pages), size(pin.holds),
        ], "th");
        one.dataset.size = String(pin.size);
        one.dataset.cached = String(pin.cached);
        one.setAttribute("aria-current", String(shown !== null && shown.size === pin.size && shown.cached === pin.cached));
        return one;
    });
    // A row that was clicked on keeps the keyboard's place.
    const focused = document.activeElement?.closest("#pin-rows tr") as HTMLElement | null;
    element("pin-rows").replaceChildren(...rows);
    rows.find((one) => focused !== null && one.dataset.size === focused.dataset.size && one.dataset.cached === focused.dataset.cached)
        ?.querySelector("button")?.focus({ preventScroll: true });
}

/** Whose they are, where a recording knows. */
export function showPinned(pin: Pin, pinned: Pinned, isRecorded: boolean): void {
    const blocks = pinned.stacks.slice(0, 5).flatMap(({ holds, chunks, stack }) => [
        made("p", `${plural(chunks, "chunk", "chunks")} of ${grouped(pin.size)} bytes, which hold ${size(holds)}, by`),
        made("ol", stack.slice(0, 12).map((name) => made("li", name)), { class: "stack" }),
    ]);
    const nobody = isRecorded && !pinned.knows_callers ? [made("p", "Who allocated them isn't in the recording: record -k keeps it.")] : [];
    element("pin-stacks").replaceChildren(...blocks, ...nobody);
}

export interface BinEvents {
    follow(name: string, chunks: [number, number][]): void;
}

export function showBins(bins: Bins, header: number, events: BinEvents): void {
    const rows: HTMLTableRowElement[] = [];
    for (const { arena, lists } of bins.arenas) {
        for (const list of lists) {
            rows.push(listRow(`arena ${arena}`, list, events));
        }
    }
    element("bin-rows").replaceChildren(...(rows.length > 0 ? rows : [nothing("nothing in any bin", 5)]));
    const caches: HTMLTableRowElement[] = [];
    for (const [holder, classes] of Object.entries(bins.caches)) {
        for (const [name, users] of Object.entries(classes)) {
            const chunks = users.map((user) => [user - header, 0] as [number, number]);
            const see = link(name, `show ${name} of ${holder} in the map`, () => events.follow(`${holder}, ${name}`, chunks));
            caches.push(row([holder, see, grouped(users.length), users.slice(0, 4).map(hex).join(", ") + (users.length > 4 ? " ..." : "")], "th"));
        }
    }
    element("cache-rows").replaceChildren(...(caches.length > 0 ? caches : [nothing("nothing in any cache", 4)]));
}

function listRow(arena: string, list: List, events: BinEvents): HTMLTableRowElement {
    const see = link(list.bin, `show the bin ${list.bin} of ${arena} in the map`, () => events.follow(`${arena}, ${list.bin}`, list.chunks));
    const some = list.chunks.slice(0, 4).map(([at]) => hex(at)).join(" → ") + (list.count > 4 ? " ..." : "");
    const one = row([arena, see, grouped(list.count), size(list.bytes), list.damage === null ? some : `damage: ${list.damage}`], "th");
    one.dataset.bin = list.bin;
    return one;
}

/** All that the command knows of a chunk, under the names that it uses. */
export function showChunk(told: Record<string, unknown> | null, near: Chunk | null, go: (address: number) => void): void {
    const list = element("chunk");
    if (told === null) {
        list.replaceChildren(made("p", "Click on a chunk, or press Enter at the cursor."));
        return;
    }
    const items: Node[] = [];
    const put = (name: string, value: string | Node): void => {
        items.push(made("dt", name), typeof value === "string" ? made("dd", value) : made("dd", [value]));
    };
    const number = (key: string): number | null => (typeof told[key] === "number" ? (told[key] as number) : null);
    put("state", [told.state, told.kept].filter((one) => typeof one === "string").join(": "));
    const [at, bytes, user] = [number("at"), number("size"), number("user")];
    if (at !== null && bytes !== null) {
        put("chunk", `${hex(at)} to ${hex(at + bytes)}, ${grouped(bytes)} bytes`);
    }
    if (user !== null) {
        const usable = number("usable");
        put("user", usable === null ? hex(user) : `${hex(user)}, ${grouped(usable)} bytes can be used`);
    }
    const request = number("request");
    put("requested", request === null ? "not recorded" : plural(request, "byte", "bytes"));
    if (number("arena") !== null) {
        put("arena", String(number("arena")));
    }
    if (typeof told.flags === "string") {
        put("flags", told.flags);
    }
    if (number("cookie") !== null) {
        put("cookie", (number("cookie") ?? 0).toString(16).padStart(8, "0"));
    }
    if (Array.isArray(told.mapping)) {
        put("mapping", (told.mapping as number[]).map(hex).join(" to "));
    }
    for (const key of ["before", "after"]) {
        const one = told[key] as { at: number; size: number; state: string } | null | undefined;
        if (one !== null && one !== undefined) {
            put(key === "before" ? "before it" : "behind it",
                link(`${hex(one.at)}, ${grouped(one.size)} bytes, ${one.state}`, `go to the chunk ${key} it`, () => go(one.at)));
        }
    }
    if (near !== null && near.mark > 0) {
        put("born", `after mark ${near.mark}`);
    }
    for (const key of ["age", "thread", "call", "stack"]) {
        if (typeof told[key] === "string") {
            put(key, told[key] as string);
        } else if (Array.isArray(told[key]) && (told[key] as string[]).length > 0) {
            put(key, made("ol", (told[key] as string[]).map((name) => made("li", name)), { class: "stack" }));
        }
    }
    if (number("number") !== null) {
        put("born by call", grouped(number("number") ?? 0));
    }
    const all = document.createElement("dl");
    all.append(...items);
    list.replaceChildren(all);
}

export function showNotes(head: Head): void {
    const { ledger } = head;
    const damages = [
        ...ledger.damages.map((one) => `${one.racing ? "unclear, it may have changed while it was read" : "damage"}: ${one.what}`),
        ...(ledger.more_damage > 0 ? [`and ${grouped(ledger.more_damage)} more`] : []),
    ];
    const lines = [
        ...head.notes,
        ...(head.more_mapped > 0 ? [`${grouped(head.more_mapped)} more mapped chunks, shorter ones, aren't drawn`] : []),
        ...(ledger.steady ? [] : ["the program went on while it was read: not all of this is of one instant"]),
    ];
    element("notes").replaceChildren(
        ...damages.map((line) => made("li", line, { class: "damage" })), ...lines.map((line) => made("li", line)),
    );
}
