// What the command is asked, and what it answers. All addresses are relative to the page's own, which has the token in it.
/** What it said instead of an answer. */
export class Refusal extends Error {
}
async function ask(path, method = "GET") {
    const response = await fetch(path, { method, cache: "no-store" });
    if (!response.ok) {
        throw new Refusal((await response.text()).trim());
    }
    return response;
}
export async function get(path) {
    return (await ask(path)).json();
}
export async function post(path) {
    return (await ask(path, "POST")).json();
}
export async function bytes(path) {
    return (await ask(path)).arrayBuffer();
}
