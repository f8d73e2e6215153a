// The page: asks the command again and again, hands what it says to those who draw it, and passes the user's wishes on.

import { Chart } from "./chart.js";
import { EventList } from "./events.js";
import { FlameView } from "./flame.js";
import { Heap } from "./heap.js";
import { HeapMap } from "./map.js";
import { Bins, Flame, Pin, Pinned, Refusal, State, bytes, get, post } from "./server.js";
import { showArenas, showBins, showChunk, showLedger, showLegend, showNotes, showPinned, showPins } from "./tables.js";
import { address, element, grouped, made, plural, size } from "./text.js";

/** Milliseconds between two looks, and how many times as long as a look took. */
const PAUSE = 1000;
const RESTS = 3;
/** From a chunk's start to what the program is given. */
const HEADER = 16;

class Page {
    private heap: Heap | null = null;
    private state: State | null = null;
    private frozen = false;
    private arena: number | null = null;
    private marks = 0;
    /** What pins memory, and is shown on the map. */
    private pinned: Pin | null = null;
    private lastKernel = 0;
    private wasListening = false;
    private timer = 0;
    /** The call of a recording that is shown, and those after which marks were set. */
    private at = 0;
    private markedCalls: number[] = [];
    private isGoing = false;
    private readonly chart = new Chart();
    private readonly map = new HeapMap({
        onLook: (text) => {
            element("under").textContent = text;
        },
        onSelect: (at) => void this.select(at),
    });
    private readonly events = new EventList((at) => this.goTo(at));
    private readonly flame = new FlameView((name, chunks) => this.pick(name, chunks));
    private isBurning = false;

    start(): void {
        const click = (id: string, act: () => void | Promise<void>): void => {
            element(id).addEventListener("click", () => void this.guarded(act));
        };
        click("pause", () => this.freeze(!this.frozen));
        click("hold", () => this.ask(this.state?.held === true ? "go" : "hold"));
        click("step", () => this.step());
        click("listen", () => this.ask(this.state?.listening === true ? "deaf" : "listen"));
        click("end", () => this.ask("end"));
        click("mark", () => this.mark());
        click("in", () => this.map.zoom(1));
        click("out", () => this.map.zoom(-1));
        click("fit", () => this.map.fit());
        click("bins-again", () => this.bins());
        click("theme", () => this.theme());
        click("sample", async () => {
            await this.ask(this.state?.sampling === true ? "unsample" : "sample");
            await this.burn();
        });
        click("flame-again", () => this.burn());
        click("back", () => this.rewind(this.at - 1));
        click("forth", () => this.rewind(this.at + 1));
        element("rewind").addEventListener("input", () => {
            void this.guarded(() => this.rewind(element<HTMLInputElement>("rewind").valueAsNumber));
        });
        element("go").addEventListener("submit", (event) => {
            event.preventDefault();
            const at = address(element<HTMLInputElement>("address").value);
            if (at !== null) {
                this.goTo(at);
                void this.guarded(() => this.select(at));
            }
        });
        element<HTMLInputElement>("by-mark").addEventListener("change", (event) => {
            this.map.colourMarks((event.target as HTMLInputElement).checked);
        });
        document.addEventListener("keydown", (event) => this.key(event));
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
        showChunk(null, null, () => undefined);
        void this.round();
    }

    private async guarded(act: () => void | Promise<void>): Promise<void> {
        try {
            await act();
        } catch (error) {
            this.say(error instanceof Error ? error.message : String(error));
        }
    }

    /** One line for what went wrong, or was done; read out where nobody looks. */
    private say(text: string): void {
        element("said").textContent = text;
    }

    private key(event: KeyboardEvent): void {
        const target = event.target as HTMLElement;
        if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "BUTTON", "SUMMARY"].includes(target.tagName)) {
            return;
        }
        const keys: Record<string, string> = this.state?.phase === "recorded"
            ? { r: "back", s: "forth", m: "mark" }
            : { p: "pause", h: "hold", s: "step", m: "mark", l: "listen" };
        if (event.key in keys) {
            element(keys[event.key]).click();
            event.preventDefault();
        }
    }

    // Looking

    private async round(): Promise<void> {
        let pause = PAUSE;
        try {
            await this.update();
            pause = Math.max(PAUSE, RESTS * 1000 * (this.heap?.head.took ?? 0));
        } catch (error) {
            this.failed(error);
        }
        if (this.state?.phase !== "recorded") {
            this.timer = window.setTimeout(() => void this.round(), pause);
        }
    }

    private async update(): Promise<void> {
        const state = await get<State>(`state?after=${this.lastKernel}`);
        const before = this.state;
        this.state = state;
        if (state.phase === "recorded") {
            if (before === null) {
                await this.open(state);
            }
            return;
        }
        for (const [seconds, name, gained, call] of state.kernel) {
            this.chart.note(seconds, name, gained);
            this.lastKernel = Math.max(this.lastKernel, call);
        }
        const stands = before !== null && before.held && state.held && before.calls === state.calls;
        if (state.phase === "core") {
            for (const id of ["pause", "hold", "step", "listen", "mark", "by-mark-label", "flame-view", "time", "calls"]) {
                element(id).hidden = true;
            }
            element("ledger").classList.add("wide");
            element("ledger-there").textContent = "in the file";
        }
        const isOver = before !== null && before.phase !== "runs" && before.phase === state.phase;
        if (this.heap === null || !(this.frozen || stands || isOver)) {
            await this.look();
        }
        await this.events.update(state.calls);
        this.controls();
    }

    /** A recording: nothing in it changes, so it is asked only for what the user goes to. */
    private async open(state: State): Promise<void> {
        for (const id of ["pause", "hold", "step", "listen", "bins", "arenas", "flame-view", "kernel-key"]) {
            element(id).hidden = true;
        }
        element("recording").hidden = false;
        element("go-now").hidden = state.live !== true;
        element("time-title").textContent = "Memory over time";
        element("ledger-there").textContent = "had";
        element("pins").classList.add("wide");
        this.markedCalls = (state.marks ?? []).map(([, , calls]) => calls);
        this.marks = this.markedCalls.length;
        this.showMarks(state.marks ?? []);
        element<HTMLInputElement>("rewind").max = String(state.calls);
        this.chart.whole(state.lines ?? [], state.curve ?? []);
        await this.rewind(state.calls);
    }

    /** Marks that the recording has: on the axis of time, and as buttons that go there. */
    private showMarks(marks: [string, number, number][]): void {
        const buttons = marks.flatMap(([name, seconds, calls]) => {
            this.chart.mark(seconds, name);
            const button = made("button", name, { type: "button", class: "link", title: `after call ${grouped(calls)}` });
            button.addEventListener("click", () => void this.guarded(() => this.rewind(calls)));
            return [document.createTextNode(" "), button];
        });
        element("marks").hidden = marks.length === 0;
        element("marks").replaceChildren(document.createTextNode("Marks:"), ...buttons);
    }

    /** Goes to a call of the recording. While one picture comes, only the last wish is kept. */
    private async rewind(to: number): Promise<void> {
        this.at = Math.max(0, Math.min(to, this.state?.calls ?? 0));
        element<HTMLInputElement>("rewind").value = String(this.at);
        element("at-call").textContent = `${grouped(this.at)} of ${grouped(this.state?.calls ?? 0)}`;
        if (this.isGoing) {
            return;
        }
        this.isGoing = true;
        try {
            let shown = -1;
            while (shown !== this.at) {
                shown = this.at;
                const marks = this.markedCalls.map((call) => `&mark=${call}`).join("");
                this.show(new Heap(await bytes(`look?at=${shown}${marks}`)));
                this.chart.moment(this.heap?.head.seconds ?? null);
                await this.events.update(shown, shown);
            }
        } finally {
            this.isGoing = false;
        }
        this.controls();
    }

    private async look(): Promise<void> {
        // What was born since the last look is known only if calls were told all the while.
        const after = this.wasListening && this.heap !== null ? `?after=${this.heap.head.calls}` : "";
        this.wasListening = this.state?.listening === true;
        const heap = new Heap(await bytes(`look${after}`));
        if (this.frozen && this.heap !== null) {
            // Paused while it was on its way.
            return;
        }
        this.chart.add(heap.head, this.wasListening);
        this.show(heap);
    }

    private show(heap: Heap): void {
        heap.inherit(this.heap, this.marks);
        this.heap = heap;
        this.map.show(heap);
        showLedger(heap.head);
        showLegend(heap);
        showNotes(heap.head);
        showPins(heap.head.ledger.pins, this.pinned, (pin) => void this.guarded(() => this.pin(pin)));
        showArenas(heap, this.arena, (arena) => this.choose(arena));
        const { ledger } = heap.head;
        element("title").textContent = ledger.of;
        document.title = `${ledger.of}, Heapglass`;
        const arenas = ledger.arenas.length > 0 ? `${plural(ledger.arenas.length, "arena", "arenas")}, ` : "";
        const where = ledger.rss !== null ? "resident" : this.state?.phase === "core" ? "in the file" : "had of the kernel";
        element("summary").textContent = arenas
            + `${plural(heap.parts.length, "heap", "heaps")}, `
            + `${plural(heap.head.chunk_count, "chunk", "chunks")}, ${plural(heap.head.mapped.length + heap.head.more_mapped, "mapped chunk", "mapped chunks")}; `
            + `${size(ledger.rss ?? ledger.sum)} ${where}; read in ${(heap.head.took * 1000).toFixed(0)} ms`;
        element("map").setAttribute("aria-label", `Map of the heap. ${element("summary").textContent}. Arrow keys move, n and b go from chunk to chunk, plus and minus zoom, Enter tells of the chunk.`);
    }

    private choose(arena: number | null): void {
        this.arena = arena;
        this.map.only(arena);
        if (this.heap !== null) {
            showArenas(this.heap, arena, (other) => this.choose(other));
        }
    }

    private failed(error: unknown): void {
        if (error instanceof Refusal) {
            this.say(error.message);
        } else {
            element("phase").textContent = "the command has ended; this is what was seen last";
            document.body.dataset.phase = "gone";
        }
    }

    private controls(): void {
        const { state } = this;
        if (state === null) {
            return;
        }
        const words: Record<State["phase"], string> = {
            runs: state.held ? "held at its next call" : this.frozen ? "runs; the picture is paused" : "runs",
            ending: "at its end, held there",
            ended: "has ended; this is what was seen last",
            recorded: "a recording",
            core: "a core file",
        };
        element("phase").textContent = words[state.phase] + (state.listening ? `; ${grouped(state.calls)} calls heard` : "");
        document.body.dataset.phase = state.phase;
        document.body.dataset.calls = String(state.calls);
        const press = (id: string, on: boolean, enabled: boolean): void => {
            const button = element<HTMLButtonElement>(id);
            button.setAttribute("aria-pressed", String(on));
            button.disabled = !enabled;
        };
        const runs = state.phase === "runs";
        press("pause", this.frozen, true);
        press("hold", state.held, runs);
        press("listen", state.listening, runs && (state.listening || !state.launched));
        press("sample", state.sampling, runs && (state.sampling || !state.launched));
        element<HTMLButtonElement>("flame-again").disabled = !state.sampling;
        element<HTMLButtonElement>("step").disabled = !runs;
        element<HTMLButtonElement>("end").hidden = state.phase !== "ending";
        const isKept = (state.recording ?? null) !== null;
        element("go-back").hidden = !isKept;
        element("how-to-go-back").hidden = isKept || state.phase === "recorded" || state.phase === "core";
        element("how-to-record").textContent = state.launched
            ? "heapglass watch --recording FILE -- PROGRAM" : `heapglass watch --recording FILE ${state.pid}`;
    }

    // What the user asks for

    private freeze(on: boolean): void {
        this.frozen = on;
        this.controls();
    }

    private async ask(what: string): Promise<void> {
        this.say("");
        this.state = await post<State>(`${what}?after=${this.lastKernel}`);
        this.controls();
        this.soon();
    }

    private async step(): Promise<void> {
        const done = await post<{ stepped: boolean; calls: number }>("step");
        this.say(done.stepped ? "" : "the program made no call within two seconds");
        await this.update();
    }

    private soon(): void {
        window.clearTimeout(this.timer);
        void this.round();
    }

    private async mark(): Promise<void> {
        if ((this.state?.recording ?? null) !== null) {
            await post<State>("mark");
        }
        this.marks += 1;
        this.markedCalls.push(this.at);
        this.chart.mark(this.state?.phase === "recorded" ? this.heap?.head.seconds ?? 0 : this.state?.seconds ?? 0);
        element<HTMLInputElement>("by-mark").checked = true;
        this.map.colourMarks(true);
        this.say(`mark ${this.marks}: what is born from now on has its colour`);
    }

    private async select(at: number): Promise<void> {
        const chunk = this.heap?.chunkAt(at) ?? null;
        const told = await get<Record<string, unknown>>(`chunk?address=0x${at.toString(16)}&at=${this.at}`);
        showChunk(told, chunk, (other) => {
            this.goTo(other);
            void this.guarded(() => this.select(other));
        });
    }

    private goTo(at: number): void {
        this.map.goTo(at, true);
        this.map.select(this.heap?.chunkAt(at) ?? null);
    }

    /** The chunks of a size that pin memory, on the map, and whose they are. */
    private async pin(pin: Pin): Promise<void> {
        this.pinned = pin;
        const at = this.state?.phase === "recorded" ? `&at=${this.at}` : "";
        const pinned = await get<Pinned>(`pins?size=${pin.size}&cached=${pin.cached}${at}`);
        this.map.point(pinned.places.map((place) => [place, pin.size]));
        if (pinned.places.length > 0) {
            this.map.goTo(pinned.places[0], false);
        }
        showPinned(pin, pinned, this.state?.phase === "recorded");
        if (this.heap !== null) {
            showPins(this.heap.head.ledger.pins, pin, (other) => void this.guarded(() => this.pin(other)));
        }
        const count = plural(pinned.places.length, "chunk", "chunks");
        this.say(`${grouped(pin.size)} bytes: ${count} on the map`
            + (pinned.places.length < pin.chunks ? `, the first of ${grouped(pin.chunks)}` : ""));
    }

    private async bins(): Promise<void> {
        const bins = await get<Bins>("bins");
        element("bins-said").textContent = "";
        element("bins-table").hidden = false;
        showBins(bins, HEADER, {
            follow: (name, chunks) => {
                this.map.follow(chunks);
                if (chunks.length > 0) {
                    this.map.goTo(chunks[0][0], false);
                }
                this.say(`${name}: ${plural(chunks.length, "chunk", "chunks")}`
                    + (chunks.length > 200 ? ", arrows along the first 200" : ""));
            },
        });
    }

    /** Asked for again before it came, it is drawn once: a second drawing would take away the frame that is being pointed at. */
    private async burn(): Promise<void> {
        if (this.state?.sampling !== true || this.isBurning) {
            return;
        }
        this.isBurning = true;
        try {
            this.flame.show(await get<Flame>("flame"));
        } finally {
            this.isBurning = false;
        }
    }

    /** The chunks of a frame, on the map. */
    private pick(name: string, chunks: [number, number][]): void {
        this.map.point(chunks);
        if (chunks.length > 0) {
            this.map.goTo(chunks[0][0], false);
        }
        this.say(`${name}: ${plural(chunks.length, "sampled chunk", "sampled chunks")} on the map`);
    }

    private theme(): void {
        const root = document.documentElement;
        const isDark = root.dataset.theme === "dark" || (root.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
        root.dataset.theme = isDark ? "light" : "dark";
        this.recolour();
    }

    private recolour(): void {
        this.map.recolour();
        this.chart.recolour();
    }

    /** For who measures: frames that were drawn, in milliseconds each. */
    get drawn(): number[] {
        return this.map.drawn;
    }

    get view(): HeapMap {
        return this.map;
    }
}

const page = new Page();
page.start();
// The tests drive the page by what a user sees; this is for measuring frames only.
(window as unknown as { heapglass: Page }).heapglass = page;
