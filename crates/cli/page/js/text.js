// Numbers as the command writes them.
/** With a comma between thousands. */
export function grouped(figure) {
    return figure.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
/** In the largest unit of which there is one: `16 KiB`, `1.5 MiB`. */
export function size(bytes) {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (unit + 1 < units.length && bytes >= 1024 ** (unit + 1)) {
        unit += 1;
    }
    const whole = 1024 ** unit;
    const figure = bytes % whole === 0 ? (bytes / whole).toString() : (bytes / whole).toFixed(1);
    return `${figure} ${units[unit]}`;
}
export function hex(address) {
    return "0x" + address.toString(16);
}
export function percent(part, whole) {
    return `${((100 * part) / Math.max(whole, 1)).toFixed(1)}%`;
}
export function plural(count, one, many) {
    return `${grouped(count)} ${count === 1 ? one : many}`;
}
/** An address as debuggers write it, with or without `0x`; `null` if it is none. */
export function address(text) {
    const digits = text.trim().replace(/^0x/i, "");
    return /^[0-9a-f]{1,13}$/i.test(digits) ? parseInt(digits, 16) : null;
}
/** The element of this id, which the page has. */
export function element(id) {
    const found = document.getElementById(id);
    if (found === null) {
        throw new Error(`no element ${id}`);
    }
    return found;
}
/** An element with text, or with others, in it. */
export function made(name, inside = "", attributes = {}) {
    const one = document.createElement(name);
    if (typeof inside === "string") {
        one.textContent = inside;
    }
    else {
        one.append(...inside);
    }
    for (const [key, value] of Object.entries(attributes)) {
        one.setAttribute(key, value);
    }
    return one;
}
