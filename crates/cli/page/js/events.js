// The list of calls, as a trace tells them, with the trace's own filters.
import { get } from "./server.js";
import { element, grouped, made } from "./text.js";
export class EventList {
    constructor(go) {
        this.list = element("events");
        this.filter = element("filter");
        this.said = element("events-said");
        this.last = -1;
        this.shown = "";
        /** The moment of a recording. */
        this.at = null;
        this.go = go;
        this.filter.addEventListener("change", () => void this.refresh());
    }
    /** Asks for the last lines, if there is anything new. */
    async update(calls, at = null) {
        if (calls !== this.last) {
            this.last = calls;
            this.at = at;
            await this.refresh();
        }
    }
    async refresh() {
        const filter = encodeURIComponent(this.filter.value.trim());
        const events = await get(`events?e=${filter}${this.at === null ? "" : `&at=${this.at}`}`);
        const isRefused = "refused" in events;
        this.filter.setCustomValidity(isRefused ? events.refused : "");
        if (isRefused) {
            this.said.textContent = events.refused;
        }
        else {
            this.put(events);
        }
    }
    put(events) {
        const { lines } = events;
        const first = lines.length > 0 ? `, of which ${grouped(lines.length)} are shown` : "";
        const lost = events.lost > 0 ? `, ${grouped(events.lost)} dropped` : "";
        this.said.textContent = this.at !== null
            ? `Up to call ${grouped(this.at)}.`
            : events.calls === 0
                ? "No call was heard of yet: Hear calls makes the program tell them."
                : `${grouped(events.calls)} calls${lost}; kept from number ${grouped(events.kept_from)} on${first}.`;
        const key = lines.map((line) => line.call).join();
        if (key === this.shown) {
            return;
        }
        this.shown = key;
        const atEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 30;
        this.list.replaceChildren(...lines.map((line) => {
            const button = made("button", line.text, { type: "button", class: "link call" });
            button.addEventListener("click", () => this.go(line.at));
            const item = made("li", [button]);
            item.value = line.call;
            item.title = `call ${line.call}, thread ${line.thread}, at ${line.seconds.toFixed(6)} s`;
            return item;
        }));
        if (atEnd) {
            this.list.scrollTop = this.list.scrollHeight;
        }
    }
}
