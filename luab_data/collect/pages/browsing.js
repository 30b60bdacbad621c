// A page of pictures: which of them are of a class?
import { element } from "./dom.js";

export function run(state, recorder, show) {
  return new Promise((resolve) => {
    const selected = state.slots.map(() => false);
    for (const event of state.events) if (event.type === "click") selected[event.slot] = event.state;
    const cells = state.slots.map((slot) => cell(slot, state, selected, recorder));
    const submit = element("button", { type: "button", class: "main", disabled: true }, "Submit this page");
    const left = element("p", { class: "hint", role: "status" });
    const grid = element("div", { class: "grid", role: "group", "aria-label": "Pictures" }, ...cells.map((made) => made.box));
    grid.style.setProperty("--columns", state.columns);
    if (state.options.blur) grid.classList.add("blurred");
    const asked = state.class;
    show(
      element("section", { class: "question" },
        element("p", {}, "Which of these pictures contain"),
        element("h2", {}, asked.name),
        asked.definition ? element("p", { class: "definition" }, asked.definition) : "",
        asked.examples.length ? element("p", { class: "examples" }, "For example", ...asked.examples.map((key) => element("img", { src: `picture/${key}?w=240`, alt: `Example of ${asked.name}`, draggable: "false" }))) : "",
        element("p", { class: "hint" }, state.options.instructions || "Click each picture that does. Click again to take it back."),
      ),
      grid, left, submit,
    );
    if (state.options.pointer_dot) dot(grid);
    const stop = watch(grid, cells, recorder);
    Promise.allSettled(cells.map((made) => made.loaded)).then(() => {
      const failed = cells.filter((made) => made.failed).length;
      left.textContent = failed ? `${failed} pictures could not be loaded; they are reported.` : "";
      submit.disabled = false;
      layout(cells, recorder);
    });
    submit.addEventListener("click", () => {
      stop();
      layout(cells, recorder);
      recorder.add({ type: "submit" });
      resolve({ selected: cells.map((made) => made.slot).filter((slot) => selected[slot]), failed: cells.filter((made) => made.failed).map((made) => made.slot) });
    });
  });
}

function cell(slot, state, selected, recorder) {
  const wide = Math.ceil(324 * devicePixelRatio);
  const img = element("img", { alt: `Picture ${slot.slot + 1}`, draggable: "false", src: `picture/${slot.picture}?w=${wide}`, "data-slot": slot.slot });
  const box = element("div", { class: "cell", role: "checkbox", tabindex: "0", "aria-checked": String(selected[slot.slot]), "aria-label": `Picture ${slot.slot + 1}` }, img);
  const made = { slot: slot.slot, img, box, failed: false, width: slot.width, height: slot.height };
  made.loaded = new Promise((resolve) => {
    img.addEventListener("load", () => {
      recorder.add({ type: "load", slot: slot.slot });
      resolve();
    });
    img.addEventListener("error", () => {
      made.failed = true;
      box.classList.add("failed");
      box.append(element("span", {}, "could not be loaded"));
      box.setAttribute("aria-disabled", "true");
      recorder.add({ type: "load", slot: slot.slot, state: false });
      resolve();
    });
  });
  const toggle = (more, timeStamp) => {
    if (made.failed) return;
    selected[slot.slot] = !selected[slot.slot];
    box.setAttribute("aria-checked", selected[slot.slot]);
    recorder.add({ type: "click", slot: slot.slot, state: selected[slot.slot], ...more }, timeStamp);
  };
  img.addEventListener("click", (event) => toggle({ pointer: event.pointerType || "mouse", ...place(event) }, event.timeStamp));
  box.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    toggle({ pointer: "keyboard" }, event.timeStamp);
  });
  for (const [name, type] of [["pointerenter", "enter"], ["pointerleave", "leave"]]) {
    img.addEventListener(name, (event) => recorder.add({ type, pointer: event.pointerType, ...place(event) }, event.timeStamp));
  }
  return made;
}

// Where an event is: px in the document, and on which picture, as a fraction of it.
export function place(event) {
  const found = { x: Math.round((event.clientX + scrollX) * 10) / 10, y: Math.round((event.clientY + scrollY) * 10) / 10 };
  const img = event.target?.closest?.("[data-slot]") ?? document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-slot]");
  if (!img) return found;
  const box = img.getBoundingClientRect();
  return { ...found, slot: Number(img.dataset.slot), fx: (event.clientX - box.left) / box.width, fy: (event.clientY - box.top) / box.height };
}

// Sizes of the pictures in their cells: known before they are loaded, so nothing shifts.
function fit(cells) {
  for (const made of cells) {
    const box = made.box.getBoundingClientRect();
    const scale = Math.min(1, (box.width - 16) / made.width, (box.height - 16) / made.height);
    made.img.width = Math.max(1, Math.round(made.width * scale));
    made.img.height = Math.max(1, Math.round(made.height * scale));
  }
}

export function layout(cells, recorder) {
  const places = cells.map(({ img }) => {
    const box = img.getBoundingClientRect();
    return [box.left + scrollX, box.top + scrollY, box.width, box.height].map((px) => Math.round(px * 10) / 10);
  });
  recorder.add({ type: "resize", layout: places, viewport: [innerWidth, innerHeight], ratio: devicePixelRatio, scroll: [scrollX, scrollY] });
}

function watch(grid, cells, recorder) {
  const stopping = new AbortController();
  const { signal } = stopping;
  fit(cells);
  const resized = () => {
    fit(cells);
    layout(cells, recorder);
  };
  addEventListener("resize", resized, { signal });
  addEventListener("scroll", () => recorder.add({ type: "scroll", x: scrollX, y: scrollY }), { signal, passive: true });
  document.addEventListener("pointermove", (event) => recorder.move(event, place), { signal, passive: true });
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columnsOf(grid), ArrowDown: columnsOf(grid) }[event.key];
    const here = cells.findIndex((made) => made.box === document.activeElement);
    if (!step || here < 0) return;
    event.preventDefault();
    cells[Math.min(Math.max(here + step, 0), cells.length - 1)].box.focus();
  }, { signal });
  return () => stopping.abort();
}

function columnsOf(grid) {
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

// The red dot of the paper's pilot: it follows the cursor, and stays where a click was.
function dot(grid) {
  const made = element("div", { class: "dot", hidden: true });
  document.body.append(made);
  const moved = (event) => {
    made.hidden = !event.target.closest?.("[data-slot]");
    made.style.translate = `${event.pageX}px ${event.pageY}px`;
  };
  grid.addEventListener("pointermove", moved);
  grid.addEventListener("pointerleave", () => { made.hidden = true; });
  grid.addEventListener("click", (event) => {
    const box = event.target.closest?.(".cell");
    if (!box) return;
    box.querySelector(".mark")?.remove();
    if (box.getAttribute("aria-checked") !== "true") return;
    const mark = element("div", { class: "mark" });
    const at = box.getBoundingClientRect();
    mark.style.translate = `${event.clientX - at.left}px ${event.clientY - at.top}px`;
    box.append(mark);
  });
}
