// The flame view: a row for each depth of calls, each function as wide as what is in use below it. A click shows its sampled chunks on the
// map, a second one makes it as wide as the view.
import { element, grouped, made, percent, plural, size } from "./text.js";
/** Frames narrower than this part of the view aren't drawn. */
const LEAST = 0.001;
const ROW = 1.4;
export class FlameView {
    constructor(onPick) {
        this.flame = null;
        this.below = [];
        /** The node that is as wide as the view, and the one whose chunks are shown. */
        this.root = 0;
        this.picked = -1;
        this.onPick = onPick;
        element("flame-search").addEventListener("input", () => this.find());
        element("flame-all").addEventListener("click", () => this.zoom(0));
    }
    show(flame) {
        // The same function stays wide, and picked, if it is still there.
        const [root, picked] = [this.path(this.root), this.path(this.picked)];
        this.flame = flame;
        this.below = flame.nodes.map(() => []);
        flame.nodes.forEach(([parent], index) => {
            if (index > 0) {
                this.below[parent].push(index);
            }
        });
        this.below.forEach((nodes) => nodes.sort((a, b) => flame.nodes[b][2] - flame.nodes[a][2]));
        this.root = Math.max(this.at(root), 0);
        this.picked = this.at(picked);
        this.draw();
    }
    path(node) {
        if (this.flame === null || node < 0) {
            return null;
        }
        const names = [];
        for (let at = node; at > 0; at = this.flame.nodes[at][0]) {
            names.unshift(this.flame.nodes[at][1]);
        }
        return names;
    }
    at(path) {
        if (path === null) {
            return -1;
        }
        let at = 0;
        for (const name of path) {
            at = this.below[at]?.find((index) => this.flame?.nodes[index][1] === name) ?? -1;
            if (at < 0) {
                return -1;
            }
        }
        return at;
    }
    zoom(node) {
        this.root = node;
        this.draw();
    }
    /** The sampled chunks of a node and all below it. */
    chunks(node) {
        const { nodes, chunks } = this.flame ?? { nodes: [], chunks: [] };
        const inside = new Uint8Array(nodes.length);
        inside[node] = 1;
        // A parent stands before what is below it.
        for (let index = node + 1; index < nodes.length; index += 1) {
            inside[index] = inside[nodes[index][0]];
        }
        return chunks.filter((chunk) => inside[chunk[2]] === 1).map(([at, bytes]) => [at, bytes]);
    }
    click(node) {
        if (this.flame === null) {
            return;
        }
        if (this.picked === node) {
            this.zoom(node);
            return;
        }
        this.picked = node;
        for (const frame of element("flame").querySelectorAll("button.frame")) {
            frame.setAttribute("aria-pressed", String(frame.dataset.node === String(node)));
        }
        this.onPick(this.flame.nodes[node][1], this.chunks(node));
    }
    draw() {
        const { flame } = this;
        if (flame === null) {
            return;
        }
        const [, , whole] = flame.nodes[this.root];
        const frames = [];
        let depths = 1;
        const place = (node, left, width, depth) => {
            depths = Math.max(depths, depth + 1);
            frames.push(this.frame(node, left, width, depth, flame));
            let at = left;
            for (const next of this.below[node]) {
                const part = flame.nodes[next][2] / Math.max(whole, 1);
                if (part >= LEAST) {
                    place(next, at, part, depth + 1);
                }
                at += part;
            }
        };
        place(this.root, 0, 1, 0);
        const view = element("flame");
        view.replaceChildren(...frames);
        view.style.height = `${depths * ROW + 0.5}rem`;
        this.find();
    }
    frame(node, left, width, depth, flame) {
        const [, name, bytes, count] = flame.nodes[node];
        const about = `${name}: ${size(bytes)}, ${percent(bytes, flame.nodes[0][2])}, ${plural(count, "allocation", "allocations")}`;
        const frame = made("button", name, {
            type: "button", class: "frame", title: about, "aria-label": about,
            "aria-pressed": String(node === this.picked), "data-node": String(node),
        });
        frame.style.left = `${100 * left}%`;
        frame.style.width = `${100 * width}%`;
        frame.style.top = `${depth * ROW}rem`;
        frame.addEventListener("click", () => this.click(node));
        return frame;
    }
    /** Marks what the words are found in, and says how much is held below those. */
    find() {
        const { flame } = this;
        if (flame === null) {
            return;
        }
        const words = element("flame-search").value.trim().toLowerCase();
        const found = flame.nodes.map(([, name], index) => index > 0 && words !== "" && name.toLowerCase().includes(words));
        for (const frame of element("flame").querySelectorAll("button.frame")) {
            if (found[Number(frame.dataset.node)]) {
                frame.dataset.found = "";
            }
            else {
                delete frame.dataset.found;
            }
        }
        const sampled = `${size(flame.nodes[0][2])} in use, estimated from ${plural(flame.sampled, "sampled chunk", "sampled chunks")} of the last ${flame.seconds.toFixed(0)} s`;
        const lost = flame.dropped > 0 ? `; ${grouped(flame.dropped)} samples were left out` : "";
        if (words === "") {
            element("flame-said").textContent = sampled + lost;
            return;
        }
        // Of one found below another, only the outer counts.
        const outer = found.slice();
        let bytes = 0;
        let frames = 0;
        flame.nodes.forEach(([parent, , held], index) => {
            if (index > 0 && outer[parent]) {
                outer[index] = true;
            }
            else if (found[index]) {
                bytes += held;
            }
            frames += found[index] ? 1 : 0;
        });
        element("flame-said").textContent = `${plural(frames, "frame", "frames")} found, with ${size(bytes)}, ${percent(bytes, flame.nodes[0][2])} of ${sampled}${lost}`;
    }
}
