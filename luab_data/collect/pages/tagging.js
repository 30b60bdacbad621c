// One picture, and classes to drag onto what is there.
import { element } from "./dom.js";
import { place, layout } from "./browsing.js";

const STEP = 0.02; // of the picture, for an arrow key

export function run(state, recorder, show) {
  return new Promise((resolve) => {
    const slot = state.slots[0];
    const board = new Board(state, recorder);
    const made = { slot: 0, img: board.img, failed: false };
    const submit = element("button", { type: "button", class: "main", disabled: true }, "Submit this picture");
    const nothing = element("input", { type: "checkbox" });
    const unsure = element("input", { type: "checkbox" });
    const note = element("p", { class: "hint", role: "status" });
    show(
      element("section", { class: "question" },
        element("p", {}, "What is in this picture?"),
        element("p", { class: "hint" }, state.options.instructions || "Drag each class onto one object of it, or press Enter on it and move it by the arrow keys. Drag it away to take it back."),
      ),
      board.box, board.groups, board.palette,
      element("div", { class: "tools" },
        element("button", { type: "button", onclick: () => board.undo() }, "Undo"),
        element("button", { type: "button", onclick: () => board.redo() }, "Redo"),
        element("label", {}, nothing, " nothing of this is here"),
        element("label", {}, unsure, " I am not sure"),
      ),
      note, submit,
    );
    const stopping = new AbortController();
    const { signal } = stopping;
    const fit = () => {
      const scale = Math.min(board.box.parentElement.clientWidth / slot.width, 450 / slot.height);
      board.img.width = Math.max(1, Math.round(slot.width * scale));
      board.img.height = Math.max(1, Math.round(slot.height * scale));
    };
    fit();
    addEventListener("resize", () => { fit(); layout([made], recorder); }, { signal });
    addEventListener("scroll", () => recorder.add({ type: "scroll", x: scrollX, y: scrollY }), { signal, passive: true });
    document.addEventListener("pointermove", (event) => recorder.move(event, (point) => board.place(point)), { signal, passive: true });
    const ready = () => { submit.disabled = false; layout([made], recorder); };
    board.img.addEventListener("load", () => { recorder.add({ type: "load", slot: 0 }); ready(); });
    board.img.addEventListener("error", () => {
      made.failed = true;
      recorder.add({ type: "load", slot: 0, state: false });
      note.textContent = "The picture could not be loaded; this is reported.";
      ready();
    });
    submit.addEventListener("click", () => {
      if (!board.placed.size && !nothing.checked && !unsure.checked && !made.failed) {
        note.textContent = "Place a class, or say that nothing is here or that you are not sure.";
        return;
      }
      stopping.abort();
      layout([made], recorder);
      recorder.add({ type: "submit" });
      resolve({ labels: [...board.placed.keys()], nothing: nothing.checked, unsure: unsure.checked, failed: made.failed ? [0] : [] });
    });
  });
}

class Board {
  constructor(state, recorder) {
    this.recorder = recorder;
    this.placed = new Map(); // name -> { x, y, icon }
    this.done = [];
    this.undone = [];
    const wide = Math.ceil(900 * devicePixelRatio);
    this.img = element("img", { alt: "The picture", draggable: "false", src: `picture/${state.slots[0].picture}?w=${wide}`, "data-slot": 0 });
    this.box = element("div", { class: "board" }, this.img);
    for (const [name, type] of [["pointerenter", "enter"], ["pointerleave", "leave"]]) {
      this.img.addEventListener(name, (event) => recorder.add({ type, pointer: event.pointerType, ...this.place(event), slot: 0 }, event.timeStamp));
    }
    this.names = [...new Set(state.classes.map((label) => label.group))];
    this.classes = state.classes;
    this.group = 0;
    this.heading = element("strong", {});
    this.groups = element("div", { class: "groups", hidden: this.names.length < 2 },
      element("button", { type: "button", "aria-label": "Earlier group", onclick: () => this.turn(-1, "mouse") }, "‹"),
      this.heading,
      element("button", { type: "button", "aria-label": "Next group", onclick: () => this.turn(1, "mouse") }, "›"));
    this.palette = element("div", { class: "palette", role: "group", "aria-label": "Classes" });
    this.fill();
    for (const event of state.events) {
      if (event.type === "remove") this.takeOff(event.label);
      else this.put(event.label, event.fx, event.fy);
    }
  }

  // As of a page of pictures, and over icons too: they lie on the picture.
  place(event) {
    const found = place(event);
    const box = this.img.getBoundingClientRect();
    const fx = (event.clientX - box.left) / box.width;
    const fy = (event.clientY - box.top) / box.height;
    const inside = fx >= 0 && fx <= 1 && fy >= 0 && fy <= 1;
    return inside ? { ...found, slot: 0, fx, fy } : { x: found.x, y: found.y };
  }

  fill() {
    const name = this.names[this.group];
    this.heading.textContent = `${name} (${this.group + 1} of ${this.names.length})`;
    const buttons = this.classes.filter((label) => label.group === name).map((label) => {
      const button = element("button", { type: "button", title: label.definition, "data-name": label.name, "data-placed": this.placed.has(label.name) }, ...this.look(label.name));
      button.addEventListener("pointerdown", (event) => this.drag(event, label.name));
      button.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        if (!this.placed.has(label.name)) this.act({ type: "add", label: label.name, to: [0.5, 0.5], pointer: "keyboard" });
        this.placed.get(label.name).icon.focus();
      });
      return button;
    });
    this.palette.replaceChildren(...buttons);
  }

  // A class as it is shown: its icon, if it has one, and its name.
  look(name) {
    const { icon } = this.classes.find((label) => label.name === name);
    return icon ? [element("img", { src: `picture/${icon}?w=48`, alt: "", class: "icon", draggable: "false" }), name] : [name];
  }

  turn(step, pointer) {
    this.group = (this.group + step + this.names.length) % this.names.length;
    this.recorder.add({ type: "category", label: this.names[this.group], pointer });
    this.fill();
  }

  drag(event, name) {
    if (event.button > 0) return;
    event.preventDefault();
    const ghost = element("div", { class: "ghost" }, ...this.look(name));
    document.body.append(ghost);
    const follow = (moved) => {
      ghost.style.left = `${moved.clientX}px`;
      ghost.style.top = `${moved.clientY}px`;
    };
    follow(event);
    this.recorder.add({ type: "down", label: name, pointer: event.pointerType, ...this.place(event) }, event.timeStamp);
    const stopping = new AbortController();
    const { signal } = stopping;
    const drop = (dropped, is_over) => {
      stopping.abort();
      ghost.remove();
      const at = this.place(dropped);
      this.recorder.add({ type: "up", label: name, pointer: dropped.pointerType, ...at }, dropped.timeStamp);
      const was = this.placed.get(name);
      if (is_over && at.slot === 0) {
        this.act({ type: was ? "move-label" : "add", label: name, to: [at.fx, at.fy], pointer: dropped.pointerType });
      } else if (was) {
        this.act({ type: "remove", label: name, pointer: dropped.pointerType });
      }
    };
    document.addEventListener("pointermove", follow, { signal });
    document.addEventListener("pointerup", (dropped) => drop(dropped, true), { signal });
    document.addEventListener("pointercancel", (dropped) => drop(dropped, false), { signal });
  }

  // Do something and log it; it can be taken back.
  act(what, remember = true) {
    const was = this.placed.get(what.label);
    const from = was ? [was.x, was.y] : null;
    if (what.type === "remove") {
      this.recorder.add({ type: "remove", slot: 0, label: what.label, fx: from[0], fy: from[1], pointer: what.pointer });
      this.takeOff(what.label);
    } else {
      this.recorder.add({ type: what.type, slot: 0, label: what.label, fx: what.to[0], fy: what.to[1], from: from, pointer: what.pointer });
      this.put(what.label, ...what.to);
    }
    if (!remember) return;
    this.done.push({ ...what, from });
    this.undone = [];
  }

  undo() {
    const last = this.done.pop();
    if (!last) return;
    this.undone.push(last);
    if (last.type === "add") this.act({ type: "remove", label: last.label, pointer: "mouse" }, false);
    else this.act({ type: last.type === "remove" ? "add" : "move-label", label: last.label, to: last.from, pointer: "mouse" }, false);
  }

  redo() {
    const next = this.undone.pop();
    if (!next) return;
    this.act(next, false);
    this.done.push(next);
  }

  put(name, x, y) {
    const was = this.placed.get(name);
    const icon = was?.icon ?? this.icon(name);
    icon.style.left = `${100 * x}%`;
    icon.style.top = `${100 * y}%`;
    this.placed.set(name, { x, y, icon });
    if (!was) this.box.append(icon);
    this.fill();
  }

  takeOff(name) {
    this.placed.get(name)?.icon.remove();
    this.placed.delete(name);
    this.fill();
  }

  icon(name) {
    const icon = element("div", { class: "placed", role: "button", tabindex: "0", "aria-label": `${name}: arrows move, Delete takes away` }, ...this.look(name));
    icon.addEventListener("pointerdown", (event) => this.drag(event, name));
    icon.addEventListener("keydown", (event) => {
      const { x, y } = this.placed.get(name);
      const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (step) {
        event.preventDefault();
        const to = [Math.min(1, Math.max(0, x + step[0])), Math.min(1, Math.max(0, y + step[1]))];
        this.act({ type: "move-label", label: name, to, pointer: "keyboard" });
      } else if (event.key === "Delete" || event.key === "Backspace") {
        event.preventDefault();
        this.act({ type: "remove", label: name, pointer: "keyboard" });
        this.palette.querySelector(`[data-name="${CSS.escape(name)}"]`)?.focus();
      }
    });
    return icon;
  }
}
