// A page as it was worked on: its pictures, the pointer's path, clicks and labels, over time.
import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const LIVE_MS = 3000;
const SPEED = 4; // times as fast as it was
const ALONE = 320; // px, the width of a picture whose layout is not known

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const isPlace = (...numbers) => numbers.every((number) => Number.isFinite(number));

export class Replay {
  constructor(fetched, failed) {
    this.fetched = fetched; // (session, page, since) -> what happened
    this.failed = failed;
    this.pages = element("select", { "aria-label": "Page", onchange: () => this.load(Number(this.pages.value)) });
    this.time = element("input", { type: "range", min: 0, max: 0, value: 0, step: "any", "aria-label": "Time", oninput: () => { this.stop(); this.draw(); } });
    this.button = element("button", { type: "button", onclick: () => (this.playing ? this.stop() : this.play()) }, "Play");
    this.note = element("p", { class: "hint", role: "status" });
    this.heading = element("h2", {}, "Replay");
    this.svg = drawn("svg", { role: "img", "aria-label": "The page as it was worked on" });
    this.box = element("section", { class: "replay", hidden: true, "aria-label": "Replay" }, this.heading,
      element("div", { class: "tools" }, this.pages, this.button, this.time, element("button", { type: "button", class: "quiet", onclick: () => this.close() }, "Close")),
      this.note, this.svg);
  }

  open(one) {
    this.session = one;
    this.box.hidden = false;
    this.heading.textContent = `Replay of ${one.person}`;
    this.pages.replaceChildren(...Array.from({ length: one.num_pages }, (_, page) => element("option", { value: page }, `Page ${page + 1} of ${one.num_pages}`)));
    const page = Math.min(one.answered, one.num_pages - 1);
    this.pages.value = one.answered < one.num_pages ? page : 0;
    this.load(Number(this.pages.value));
    this.box.scrollIntoView({ block: "start" });
  }

  close() {
    this.stop();
    clearTimeout(this.timer);
    this.session = null;
    this.box.hidden = true;
  }

  async load(page) {
    this.stop();
    this.page = page;
    this.events = [];
    this.last = -1;
    await this.more();
  }

  // What is new; again soon while the session goes on.
  async more() {
    clearTimeout(this.timer);
    const { session, page } = this;
    try {
      const found = await this.fetched(session.session, page, this.last);
      if (this.session !== session || this.page !== page) return;
      const atEnd = Number(this.time.value) >= Number(this.time.max);
      this.found = found;
      this.last = found.last;
      this.events = [...this.events, ...found.events].filter((event) => isPlace(event.t)).sort((one, other) => one.t - other.t);
      this.arrange();
      if (atEnd && !this.playing) this.time.value = this.time.max;
      this.draw();
      if (!found.finished) this.timer = setTimeout(() => this.more(), LIVE_MS);
    } catch (error) {
      this.failed(error);
    }
  }

  // Where the pictures are: as the browser last said, else beside each other.
  arrange() {
    const said = this.events.findLast((event) => Array.isArray(event.layout))?.layout;
    this.places = this.found.slots.map((_, slot) => said?.[slot] ?? [(slot % 3) * (ALONE + 8), Math.floor(slot / 3) * (ALONE + 8), ALONE, ALONE]);
    this.start = this.events[0]?.t ?? 0;
    this.time.max = Math.max(0, (this.events.at(-1)?.t ?? 0) - this.start);
    const pictures = this.found.slots.map((slot, k) => {
      const [x, y, width, height] = this.places[k];
      return drawn("image", { href: `picture/${slot.picture}?w=324`, x, y, width, height, preserveAspectRatio: "none" });
    });
    this.frames = this.found.slots.map((slot, k) => {
      const [x, y, width, height] = this.places[k];
      return drawn("rect", { x, y, width, height, class: "frame" });
    });
    const known = this.found.slots.flatMap((slot, k) => {
      const [x, y, width, height] = this.places[k];
      return slot.known ? [drawn("rect", { x: x + 12, y: y + 12, width: Math.max(0, width - 24), height: Math.max(0, height - 24), class: "known" })] : [];
    });
    this.line = drawn("polyline", { class: "path" });
    this.marks = drawn("g");
    const left = Math.min(...this.places.map(([x]) => x));
    const top = Math.min(...this.places.map(([, y]) => y));
    const right = Math.max(...this.places.map(([x, , width]) => x + width));
    const bottom = Math.max(...this.places.map(([, y, , height]) => y + height));
    this.px = (right - left + 24) / (this.svg.clientWidth || right - left + 24); // one of the screen
    this.dot = drawn("circle", { r: 7 * this.px, class: "pointer" });
    this.svg.setAttribute("viewBox", `${left - 12} ${top - 12} ${right - left + 24} ${bottom - top + 24}`);
    this.svg.replaceChildren(...pictures, ...this.frames, ...known, this.line, this.marks, this.dot);
  }

  at(event) {
    const place = this.places[event.slot];
    if (place && isPlace(event.fx, event.fy)) return [place[0] + event.fx * place[2], place[1] + event.fy * place[3]];
    return isPlace(event.x, event.y) && event.type !== "scroll" ? [event.x, event.y] : null;
  }

  draw() {
    const until = this.start + Number(this.time.value);
    const path = [];
    const clicks = [];
    const labels = new Map();
    const selected = new Set();
    for (const event of this.events) {
      if (event.t > until) break;
      const at = this.at(event);
      if (at && ["move", "enter", "leave", "click", "down", "up"].includes(event.type)) path.push(at);
      if (event.type === "click") {
        if (at) clicks.push(at);
        if (event.state) selected.add(event.slot);
        else selected.delete(event.slot);
      }
      if (event.type === "add" || event.type === "move-label") labels.set(event.label, at);
      if (event.type === "remove") labels.delete(event.label);
    }
    this.line.setAttribute("points", path.map((at) => at.join(",")).join(" "));
    this.frames.forEach((frame, slot) => frame.classList.toggle("selected", selected.has(slot)));
    const names = [...labels].filter(([, at]) => at).map(([name, [x, y]]) => drawn("text", { x, y, class: "tag", "font-size": 15 * this.px }, String(name)));
    this.marks.replaceChildren(...clicks.map(([cx, cy]) => drawn("circle", { cx, cy, r: 5 * this.px, class: "click" })), ...names);
    const last = path.at(-1);
    this.dot.setAttribute("visibility", last ? "visible" : "hidden");
    if (last) [this.dot.cx.baseVal.value, this.dot.cy.baseVal.value] = last;
    this.say();
  }

  say() {
    const seconds = (ms) => `${(Number(ms) / 1000).toFixed(1)} s`;
    const asked = this.found.label ? `${this.found.label}: ` : "";
    const known = this.found.slots.some((slot) => slot.known) ? "; dashed: known to be of the class" : "";
    this.note.textContent = this.events.length
      ? `${asked}${seconds(this.time.value)} of ${seconds(this.time.max)}, ${SPEED} times as fast${known}`
      : `${asked}nothing has happened on this page yet`;
  }

  play() {
    if (Number(this.time.value) >= Number(this.time.max)) this.time.value = 0;
    this.playing = true;
    this.button.textContent = "Stop";
    let before = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      this.time.value = Number(this.time.value) + SPEED * (now - before);
      before = now;
      this.draw();
      if (Number(this.time.value) >= Number(this.time.max)) this.stop();
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  stop() {
    this.playing = false;
    this.button.textContent = "Play";
  }
}
