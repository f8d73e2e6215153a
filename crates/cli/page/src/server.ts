// What the command is asked, and what it answers. All addresses are relative to the page's own, which has the token in it.

export interface State {
    pid: number;
    phase: "runs" | "ending" | "ended" | "recorded" | "core";
    listening: boolean;
    sampling: boolean;
    held: boolean;
    launched: boolean;
    calls: number;
    lost: number;
    seconds: number;
    /** Seconds, name, bytes gained or (negative) given back, the call's number. */
    kernel: [number, string, number, number][];
    /** Of a recording: seconds, calls and bytes of each line, from time to time; and the lines. */
    curve?: [number, number, number[]][];
    lines?: [string, string, boolean][];
    /** Name, seconds and calls of each mark that was set while it was made, or afterwards. */
    marks?: [string, number, number][];
    /** A recording that is still being made. */
    live?: boolean;
    /** The file that what is watched is kept in. */
    recording?: string | null;
}

/** The chunks of one size that pin memory. */
export interface Pinned {
    places: number[];
    stacks: { holds: number; chunks: number; stack: string[] }[];
    knows_callers: boolean;
}

export interface Pin {
    size: number;
    cached: boolean;
    chunks: number;
    pages: number;
    holds: number;
}

export interface Sum {
    chunks: number;
    bytes: number;
    resident: number;
}

export interface Ledger {
    of: string;
    lines: Record<string, Sum>;
    sum: number;
    rss: number | null;
    swap: number;
    arenas: { index: number; threads: number; heaps: number; lines: Record<string, Sum> }[];
    largest_free: number;
    free_sizes: { from: number; chunks: number; bytes: number }[];
    pins: Pin[];
    damages: { at: number; arena: number; what: string; racing: boolean }[];
    more_damage: number;
    steady: boolean;
}

export interface HeapHead {
    arena: number;
    start: number;
    end: number;
    break: boolean;
    chunks: number;
    words: [number, number];
    base: number;
    runs: [number, number];
}

/** The JSON at the head of a look. */
export interface Head {
    page: number;
    seconds: number;
    took: number;
    calls: number;
    shades: [string, string][];
    chunk_count: number;
    heaps: HeapHead[];
    /** User pointer, length, resident bytes, state. */
    mapped: [number, number, number, string][];
    more_mapped: number;
    threads: [number, number, boolean][];
    system_calls: Record<string, number> | null;
    released: number | null;
    born: [number, number, boolean] | null;
    /** Of a recording: where the marks of the chunks stand, word for word. */
    marks?: number | null;
    lines: [string, string, boolean][];
    ledger: Ledger;
    advice: string;
    notes: string[];
}

export interface Events {
    calls: number;
    kept_from: number;
    lost: number;
    lines: { call: number; thread: number; seconds: number; at: number; text: string }[];
}

export interface Bins {
    arenas: { arena: number; lists: List[] }[];
    caches: Record<string, Record<string, number[]>>;
}

/** Who holds the memory, by call stack. */
export interface Flame {
    interval: number;
    seconds: number;
    dropped: number;
    /** The parent's number, function and line, bytes and allocations in use. The first is all of it. */
    nodes: [number, string, number, number][];
    /** Sampled chunks in use: what the program was given, bytes, and the node that allocated it. */
    chunks: [number, number, number][];
    sampled: number;
}

export interface List {
    bin: string;
    head: number;
    count: number;
    bytes: number;
    chunks: [number, number][];
    damage: string | null;
}

/** What it said instead of an answer. */
export class Refusal extends Error {}

async function ask(path: string, method = "GET"): Promise<Response> {
    const response = await fetch(path, { method, cache: "no-store" });
    if (!response.ok) {
        throw new Refusal((await response.text()).trim());
    }
    return response;
}

export async function get<T>(path: string): Promise<T> {
    return (await ask(path)).json() as Promise<T>;
}

export async function post<T>(path: string): Promise<T> {
    return (await ask(path, "POST")).json() as Promise<T>;
}

export async function bytes(path: string): Promise<ArrayBuffer> {
    return (await ask(path)).arrayBuffer();
}
