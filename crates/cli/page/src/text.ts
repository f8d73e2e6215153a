// Numbers as the command writes them.

/** With a comma between thousands. */
export function grouped(figure: number): string {
    return figure.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** In the largest unit of which there is one: `16 KiB`, `1.5 MiB`. */
export function size(bytes: number): string {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (unit + 1 < units.length && bytes >= 1024 ** (unit + 1)) {
        unit += 1;
    }
    const whole = 1024 ** unit;
    const figure = bytes % whole === 0 ? (bytes / whole).toString() : (bytes / whole).toFixed(1);
    return `${figure} ${units[unit]}`;
}

export function hex(address: number): string {
    return "0x" + address.toString(16);
}

export function percent(part: number, whole: number): string {
    return `${((100 * part) / Math.max(whole, 1)).toFixed(1)}%`;
}

export function plural(count: number, one: string, many: string): string {
    return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** An address as debuggers write it, with or without `0x`; `null` if it is none. */
export function address(text: string): number | null {
    const digits = text.trim().replace(/^0x/i, "");
    return /^[0-9a-f]{1,13}$/i.test(digits) ? parseInt(digits, 16) : null;
}

/** The element of this id, which the page has. */
export function element<E extends HTMLElement>(id: string): E {
    const found = document.getElementById(id);
    if (found === null) {
        throw new Error(`no element ${id}`);
    }
    return found as E;
}

/** An element with text, or with others, in it. */
export function made(name: string, inside: string | Node[] = "", attributes: Record<string, string> = {}): HTMLElement {
    const one = document.createElement(name);
    if (typeof inside === "string") {
        one.textContent = inside;
    } else {
        one.append(...inside);
    }
    for (const [key, value] of Object.entries(attributes)) {
        one.setAttribute(key, value);
    }
    return one;
}
