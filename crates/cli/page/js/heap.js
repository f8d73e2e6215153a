// A heap as it was read: chunks in words of 32 bits, as they came. No object is made for a chunk.
//
// A chunk's word is its size in units of 16 bytes above 4 bits of its shade; a word of the shade MORE holds the upper bits of the size
// before it. Where a chunk lies is the sum of the sizes before it, so each STRIDE words a sum is kept.
export const MORE = 15;
const STRIDE = 256;
const MAGIC = 0x4b4c4748;
/** Shades by number, as the command counts them. */
export const IN_USE = 0;
export const RELEASED = 7;
export const DAMAGED = 9;
export const MAPPED = 10;
/** May free pages of it be gone? Unsorted, small, large and top. */
export function canBeReleased(shade) {
    return shade >= 3 && shade <= 6;
}
/** One heap, or the strip of mapped chunks. */
export class Part {
    constructor(head, words, runs, page) {
        /** For each word, the mark after which its chunk was born. */
        this.marks = null;
        /** Of mapped chunks: where each of them lies. */
        this.places = null;
        this.head = head;
        this.words = words;
        this.runs = runs;
        this.page = page;
        this.sums = new Float64Array(Math.ceil(words.length / STRIDE) + 1);
        let at = head.start;
        for (let index = 0; index < words.length; index += 1) {
            if (index % STRIDE === 0) {
                this.sums[index / STRIDE] = at;
            }
            const word = words[index];
            at += (word & 15) === MORE ? (word >>> 4) * 2 ** 32 : (word >>> 4) * 16;
        }
        this.sums[this.sums.length - 1] = at;
    }
    get start() {
        return this.head.start;
    }
    get end() {
        return this.sums[this.sums.length - 1];
    }
    sizeAt(index) {
        const next = index + 1 < this.words.length ? this.words[index + 1] : 0;
        const more = (next & 15) === MORE ? (next >>> 4) * 2 ** 32 : 0;
        return (this.words[index] >>> 4) * 16 + more;
    }
    /** The first word of the chunk that holds an address in this part, with where it begins. */
    find(address) {
        let low = 0;
        let high = this.sums.length - 1;
        while (high - low > 1) {
            const middle = (low + high) >> 1;
            if (this.sums[middle] <= address) {
                low = middle;
            }
            else {
                high = middle;
            }
        }
        let index = low * STRIDE;
        let at = this.sums[low];
        // The stride may begin in the middle of a long chunk.
        if ((this.words[index] & 15) === MORE) {
            index -= 1;
            at -= (this.words[index] >>> 4) * 16;
        }
        for (;;) {
            const size = this.sizeAt(index);
            const next = this.next(index);
            if (at + size > address || next >= this.words.length) {
                return [index, at];
            }
            at += size;
            index = next;
        }
    }
    next(index) {
        return index + 1 < this.words.length && (this.words[index + 1] & 15) === MORE ? index + 2 : index + 1;
    }
    chunkAt(address) {
        if (address < this.start || address >= this.end || this.words.length === 0) {
            return null;
        }
        const [index, at] = this.find(address);
        return this.chunk(index, at);
    }
    chunk(index, at) {
        const place = this.places === null ? at : this.places[index];
        const mark = this.marks === null ? 0 : this.marks[index];
        return { at: place, size: this.sizeAt(index), shade: this.words[index] & 15, mark, part: this, index };
    }
    /** The chunk before (-1) or behind (1) another. */
    neighbour(chunk, step) {
        const from = this.places === null ? chunk.at : this.offset(chunk);
        return this.chunkAt(step === 1 ? from + chunk.size : from - 1);
    }
    /** Where a chunk begins in this part's own count. */
    offset(chunk) {
        if (this.places === null) {
            return chunk.at;
        }
        let at = this.start;
        for (let index = 0; index < chunk.index; index = this.next(index)) {
            at += this.sizeAt(index);
        }
        return at;
    }
}
export class Heap {
    constructor(buffer) {
        const view = new DataView(buffer);
        if (view.getUint32(0, true) !== MAGIC) {
            throw new Error("this is no heap");
        }
        const length = view.getUint32(4, true);
        this.head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
        const words = new Uint32Array(buffer, 8 + length);
        this.parts = this.head.heaps.map((heap) => {
            const [from, count] = heap.words;
            const [runs, runCount] = heap.runs;
            const own = words.subarray(from, from + count);
            return new Part(heap, own, words.subarray(runs, runs + 2 * runCount), this.head.page);
        });
        this.parts.sort((a, b) => a.head.arena - b.head.arena || a.start - b.start);
        this.mapped = this.mappedPart();
        this.born = this.bornIn(words);
        const marks = this.head.marks ?? null;
        this.told = marks === null ? null : words.subarray(marks);
        this.totals = this.head.shades.map(() => ({ chunks: 0, bytes: 0 }));
        this.count();
    }
    mappedPart() {
        const all = this.head.mapped;
        if (all.length === 0) {
            return null;
        }
        const words = [];
        const places = [];
        for (const [user, length] of all) {
            const units = Math.ceil(length / 16);
            words.push((((units % 2 ** 28) << 4) | MAPPED) >>> 0);
            places.push(user);
            if (units >= 2 ** 28) {
                words.push(((Math.floor(units / 2 ** 28) << 4) | MORE) >>> 0);
                places.push(user);
            }
        }
        const head = {
            arena: -1, start: 0, end: 0, break: false, chunks: all.length, words: [0, 0], base: 0, runs: [0, 0],
        };
        const part = new Part(head, Uint32Array.from(words), new Uint32Array(0), this.head.page);
        part.places = Float64Array.from(places);
        return part;
    }
    bornIn(words) {
        if (this.head.born === null || !this.head.born[2]) {
            return null;
        }
        const [from, count] = this.head.born;
        const born = new Set();
        for (let index = 0; index < count; index += 1) {
            born.add(words[from + 2 * index] + words[from + 2 * index + 1] * 2 ** 32);
        }
        return born;
    }
    count() {
        for (const part of this.everything()) {
            for (let index = 0; index < part.words.length; index += 1) {
                const word = part.words[index];
                const shade = word & 15;
                if (shade !== MORE) {
                    this.totals[shade].chunks += 1;
                    this.totals[shade].bytes += part.sizeAt(index);
                }
            }
        }
    }
    everything() {
        return this.mapped === null ? this.parts : [...this.parts, this.mapped];
    }
    chunkAt(address) {
        for (const part of this.parts) {
            const found = part.chunkAt(address);
            if (found !== null) {
                return found;
            }
        }
        return null;
    }
    /**
     * Tells chunks that were there before from new ones: those in use that the heap before had at the same place with the same size keep
     * its mark, all others have `mark`. Where calls are heard, what they handed out is new even there.
     */
    inherit(before, mark) {
        if (this.told !== null) {
            // A recording knows it of each.
            for (const part of this.parts) {
                const [from, count] = part.head.words;
                part.marks = Uint8Array.from(this.told.subarray(from, from + count));
            }
            return;
        }
        for (const part of this.parts) {
            const old = before?.parts.find((other) => other.start === part.start);
            const marks = new Uint8Array(part.words.length);
            let [at, theirs, theirAt] = [part.start, 0, part.start];
            for (let index = 0; index < part.words.length; index = part.next(index)) {
                const size = part.sizeAt(index);
                while (old !== undefined && theirs < old.words.length && theirAt < at) {
                    theirAt += old.sizeAt(theirs);
                    theirs = old.next(theirs);
                }
                const same = old !== undefined && theirAt === at && theirs < old.words.length
                    && old.words[theirs] === part.words[index] && !(this.born?.has(at + 16) ?? false);
                const theirMark = same && old.marks !== null ? old.marks[theirs] : 0;
                marks[index] = before === null ? 0 : same ? theirMark : mark;
                at += size;
            }
            part.marks = marks;
        }
    }
}
