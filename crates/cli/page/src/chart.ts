// The ledger over time: its lines stacked, with system calls and marks on the same axis.

import { Head } from "./server.js";
import { element, grouped, size } from "./text.js";

interface Point {
    seconds: number;
    resident: number[];
}

interface Kernel {
    seconds: number;
    name: string;
    bytes: number;
}

/** Points that are kept; then every second of the older half goes. */
const POINTS = 2000;
const KERNEL = 4000;
const LEFT = 66;
const BOTTOM = 34;

export class Chart {
    private readonly canvas = element<HTMLCanvasElement>("chart");
    private readonly tip = element<HTMLDivElement>("chart-tip");
    private lines: [string, string, boolean][] = [];
    private points: Point[] = [];
    private kernel: Kernel[] = [];
    private marks: [number, string][] = [];
    private at: number | null = null;
    private before: Record<string, number> | null = null;

    constructor() {
        new ResizeObserver(() => this.draw()).observe(this.canvas);
        this.canvas.addEventListener("mousemove", (event) => this.tell(event.offsetX));
        this.canvas.addEventListener("mouseleave", () => {
            this.tip.hidden = true;
        });
    }

    /** What a look found. System calls that no listener tells one by one are told by what their counters came to. */
    add(head: Head, listening: boolean): void {
        this.lines = head.lines;
        const resident = head.lines.map(([key]) => head.ledger.lines[key].resident);
        this.points.push({ seconds: head.seconds, resident });
        if (this.points.length > POINTS) {
            const half = POINTS / 2;
            this.points = [...this.points.slice(0, half).filter((_, index) => index % 2 === 0), ...this.points.slice(half)];
        }
        const now = head.system_calls;
        if (!listening && now !== null && this.before !== null) {
            for (const [name, calls] of Object.entries(now)) {
                const more = calls - (this.before[name] ?? 0);
                if (more > 0) {
                    this.note(head.seconds, `${grouped(more)} × ${name}`, 0);
                }
            }
        }
        this.before = now;
        this.draw();
    }

    /** All of a recording. */
    whole(lines: [string, string, boolean][], curve: [number, number, number[]][]): void {
        this.lines = lines;
        this.points = [{ seconds: 0, resident: lines.map(() => 0) }, ...curve.map(([seconds, , resident]) => ({ seconds, resident }))];
        this.draw();
    }

    note(seconds: number, name: string, bytes: number): void {
        this.kernel.push({ seconds, name, bytes });
        if (this.kernel.length > KERNEL) {
            this.kernel.splice(0, KERNEL / 2);
        }
    }

    mark(seconds: number, name = String(this.marks.length + 1)): void {
        this.marks.push([seconds, name]);
        this.draw();
    }

    /** The moment that is shown, where that isn't the last. */
    moment(seconds: number | null): void {
        this.at = seconds;
        this.draw();
    }

    private range(): [number, number] {
        const first = this.points[0]?.seconds ?? 0;
        const last = this.points[this.points.length - 1]?.seconds ?? 1;
        return [first, this.at === null ? Math.max(last, first + 10) : Math.max(last, first + 1e-6)];
    }

    private tell(x: number): void {
        const [from, to] = this.range();
        const seconds = from + ((x - LEFT) / (this.canvas.clientWidth - LEFT - 8)) * (to - from);
        const distance = (point: { seconds: number }): number => Math.abs(point.seconds - seconds);
        const point = this.points.reduce<Point | null>((best, one) => (best === null || distance(one) < distance(best) ? one : best), null);
        this.tip.hidden = point === null;
        if (point === null) {
            return;
        }
        const rows = this.lines
            .map(([, name], index) => [name, point.resident[index]] as const)
            .filter(([, bytes]) => bytes > 0)
            .map(([name, bytes]) => `${name}  ${size(bytes)}`);
        const near = this.kernel.filter((one) => distance(one) <= (to - from) / 200).slice(-6);
        const calls = near.map((one) => `${one.name}${one.bytes === 0 ? "" : `  ${one.bytes < 0 ? "−" : "+"}${size(Math.abs(one.bytes))}`}`);
        this.tip.textContent = [`${point.seconds.toFixed(1)} s`, ...rows, ...calls].join("\n");
        this.tip.style.transform = `translate(${Math.min(x + 12, this.canvas.clientWidth - this.tip.offsetWidth - 4)}px, 8px)`;
    }

    recolour(): void {
        this.draw();
    }

    private draw(): void {
        const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
        const pen = this.canvas.getContext("2d");
        if (pen === null || width === 0) {
            return;
        }
        this.canvas.width = width * devicePixelRatio;
        this.canvas.height = height * devicePixelRatio;
        pen.scale(devicePixelRatio, devicePixelRatio);
        const style = getComputedStyle(document.documentElement);
        const ink = (name: string): string => style.getPropertyValue(name).trim();
        pen.font = "11px ui-monospace, monospace";
        const [from, to] = this.range();
        const x = (seconds: number): number => LEFT + ((seconds - from) / (to - from)) * (width - LEFT - 8);
        const most = this.points.reduce((top, point) => Math.max(top, point.resident.reduce((sum, part) => sum + part, 0)), 1);
        const floor = height - BOTTOM;
        const y = (bytes: number): number => floor - (bytes / most) * (floor - 10);
        this.axes(pen, ink, { width, floor, most, from, to }, x, y);
        // A single moment is drawn as if it had lasted.
        const points = this.points.length === 1 ? [this.points[0], { ...this.points[0], seconds: to }] : this.points;
        let under = points.map(() => 0);
        this.lines.forEach(([key], index) => {
            const over = points.map((point, place) => under[place] + point.resident[index]);
            if (over.some((bytes, place) => bytes > under[place])) {
                pen.beginPath();
                points.forEach((point, place) => pen.lineTo(x(point.seconds), y(over[place])));
                for (let place = points.length - 1; place >= 0; place -= 1) {
                    pen.lineTo(x(points[place].seconds), y(under[place]));
                }
                pen.fillStyle = ink(`--line-${key}`) || ink("--faint");
                pen.fill();
            }
            under = over;
        });
        this.callsAndMarks(pen, ink, { width, floor, from, to }, x);
    }

    private axes(
        pen: CanvasRenderingContext2D, ink: (name: string) => string,
        frame: { width: number; floor: number; most: number; from: number; to: number },
        x: (seconds: number) => number, y: (bytes: number) => number,
    ): void {
        const { width, floor, most, from, to } = frame;
        pen.strokeStyle = ink("--grid");
        pen.fillStyle = ink("--faint");
        pen.lineWidth = 1;
        const step = 2 ** Math.ceil(Math.log2(most / 4));
        for (let bytes = 0; bytes <= most; bytes += step) {
            pen.fillText(size(bytes), 2, y(bytes) + 3);
            pen.beginPath();
            pen.moveTo(LEFT, y(bytes) + 0.5);
            pen.lineTo(width - 8, y(bytes) + 0.5);
            pen.stroke();
        }
        const span = to - from;
        const steps = [0.0001, 0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600, 36000];
        const gap = steps.find((one) => span / one <= 10) ?? 36000;
        for (let seconds = Math.ceil(from / gap) * gap; seconds <= to; seconds += gap) {
            pen.fillText(`${gap < 1 ? seconds.toFixed(Math.ceil(-Math.log10(gap))) : seconds} s`, x(seconds), floor + 30);
        }
    }

    private callsAndMarks(
        pen: CanvasRenderingContext2D, ink: (name: string) => string,
        { width, floor, from, to }: { width: number; floor: number; from: number; to: number }, x: (seconds: number) => number,
    ): void {
        for (const one of this.kernel) {
            if (one.seconds < from || one.seconds > to) {
                continue;
            }
            // Up for what was gained, down for what was given back.
            const gives = one.bytes < 0 || one.name.endsWith("munmap") || one.name.endsWith("madvise");
            pen.fillStyle = ink(gives ? "--gives" : "--takes");
            pen.fillRect(x(one.seconds) - 0.5, gives ? floor + 11 : floor + 2, 1.5, 8);
        }
        pen.fillStyle = ink("--text");
        pen.strokeStyle = ink("--text");
        // Names that would run into one another stand below one another.
        const ends = [-Infinity, -Infinity, -Infinity];
        for (const [seconds, name] of [...this.marks].sort((a, b) => a[0] - b[0])) {
            const [at, wide] = [x(seconds), pen.measureText(name).width];
            pen.fillRect(at, 0, 1, floor);
            const right = at + 3 + wide <= width;
            const from = right ? at + 3 : at - 3 - wide;
            const line = Math.max(ends.findIndex((end) => end <= from), 0);
            ends[line] = from + wide + 4;
            // What is stacked below may have any colour.
            pen.fillStyle = ink("--panel");
            pen.fillRect(from - 1, 12 * line, wide + 2, 12);
            pen.fillStyle = ink("--text");
            pen.fillText(name, from, 9 + 12 * line);
        }
        if (this.at !== null) {
            pen.fillStyle = ink("--accent");
            pen.fillRect(x(this.at) - 1, 0, 2, floor + 20);
        }
    }
}
