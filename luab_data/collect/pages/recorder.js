// What happens on the page, kept until the server has it on its disk.
//
// Events wait in memory for two seconds at most, then become a batch with a number of its own. A
// batch stays in IndexedDB until it is acknowledged; sent twice it is stored once. What is in memory
// when the page goes is sent by beacon, and kept in localStorage in case the beacon is lost.
import { kept as local } from "./kept.js";

const EVERY_MS = 2000;
const MOST = 2000; // events of a batch
const CLOSEST_MS = 4; // moves that are nearer in time are left out
const SLOWEST_MS = 30000;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("luab", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("batches", { keyPath: ["token", "sequence"] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function asked(store, mode, what) {
  return new Promise((resolve, reject) => {
    const request = what(store.transaction("batches", mode).objectStore("batches"));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class Recorder {
  constructor(token, onSaved) {
    this.token = token;
    this.onSaved = onSaved;
    this.waiting = [];
    this.sequence = 0;
    this.acknowledged = 0; // batches that the server has: those that it refuses are not among them
    this.page = 0;
    this.offset = 0; // session's clock less performance.now()
    this.lastMove = -Infinity;
    this.sending = null;
    this.hasEnded = false;
    this.store = null;
    this.memory = new Map(); // batches, where there is no IndexedDB
    this.tail = `luab-tail-${token}`;
  }

  // Take up where the server and an earlier page of this session stand; whether that one left anything.
  async begin(state) {
    this.setClock(state);
    try {
      this.store = await opened();
    } catch {
      this.store = null;
    }
    const kept = await this.batches();
    const numbers = kept.map((batch) => batch.sequence);
    const lost = JSON.parse(local.get(this.tail) ?? "null");
    if (lost) {
      if (lost.sequence >= state.next_sequence && !numbers.includes(lost.sequence)) await this.keep(lost);
      numbers.push(lost.sequence);
      local.remove(this.tail);
    }
    this.acknowledged = state.next_sequence;
    this.sequence = Math.max(state.next_sequence, ...numbers.map((number) => number + 1));
    setInterval(() => this.flush(), EVERY_MS);
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => {
      this.add({ type: document.hidden ? "blur" : "focus" });
      if (document.hidden) this.leave();
    });
    addEventListener("blur", () => this.add({ type: "blur" }));
    addEventListener("focus", () => this.add({ type: "focus" }));
    addEventListener("online", () => this.send());
    await this.send(); // what an earlier page of this session left
    return numbers.length > 0;
  }

  setClock(state) {
    this.offset = state.server_ms - state.begun_ms - performance.now();
  }

  at(timeStamp = performance.now()) {
    return Math.round((timeStamp + this.offset) * 10) / 10;
  }

  end() {
    this.hasEnded = true;
    return this.flush();
  }

  // Nothing more is noted, and nothing of it stays in this browser.
  async forget() {
    this.hasEnded = true;
    this.waiting = [];
    for (const batch of await this.batches()) await this.drop(batch);
    local.remove(this.tail);
  }

  add(event, timeStamp) {
    if (this.hasEnded) return;
    this.waiting.push({ t: this.at(timeStamp), page: this.page, ...event });
    if (this.waiting.length >= MOST) this.flush();
  }

  // Points of a pointer event, those that the browser put together included.
  move(event, place) {
    const points = event.getCoalescedEvents?.() ?? [];
    for (const point of points.length ? points : [event]) {
      if (point.timeStamp - this.lastMove < CLOSEST_MS) continue;
      this.lastMove = point.timeStamp;
      this.add({ type: "move", pointer: event.pointerType, ...place(point) }, point.timeStamp);
    }
  }

  batch() {
    const batch = { token: this.token, sequence: this.sequence, events: this.waiting };
    this.sequence += 1;
    this.waiting = [];
    return batch;
  }

  // All that waits becomes a batch; resolves when the server has every batch.
  async flush() {
    if (this.waiting.length) await this.keep(this.batch());
    return this.send();
  }

  leave() {
    if (!this.waiting.length) return;
    const batch = this.batch();
    const body = JSON.stringify(batch);
    local.set(this.tail, body);
    this.keep(batch);
    navigator.sendBeacon("api/events", body);
  }

  async keep(batch) {
    this.memory.set(batch.sequence, batch);
    if (!this.store) return;
    try {
      await asked(this.store, "readwrite", (store) => store.put(batch));
    } catch {
      this.store = null; // full, or a private window: memory it is
    }
  }

  async batches() {
    let kept = [];
    if (this.store) {
      const own = IDBKeyRange.bound([this.token, 0], [this.token, Infinity]);
      kept = await asked(this.store, "readonly", (store) => store.getAll(own)).catch(() => []);
    }
    for (const batch of kept) this.memory.set(batch.sequence, batch);
    return [...this.memory.values()].sort((one, other) => one.sequence - other.sequence);
  }

  async drop(batch) {
    this.memory.delete(batch.sequence);
    if (local.get(this.tail)?.includes(`"sequence":${batch.sequence},`)) local.remove(this.tail);
    if (this.store) await asked(this.store, "readwrite", (store) => store.delete([batch.token, batch.sequence])).catch(() => {});
  }

  send() {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
    });
    return this.sending;
  }

  async sendAll() {
    let pause = 500;
    for (;;) {
      const kept = await this.batches();
      if (!kept.length) {
        this.onSaved(true);
        return;
      }
      for (const batch of kept) {
        const answer = await this.post(batch);
        if (answer === "gone") return;
        if (answer === "refused") {
          await this.drop(batch); // it will never be taken, and others wait behind it
          continue;
        }
        if (answer !== "kept") {
          this.onSaved(false);
          const wait = Math.max(pause, 1000 * answer.seconds);
          await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
          pause = Math.min(2 * pause, SLOWEST_MS);
          break;
        }
        pause = 500;
        this.acknowledged = Math.max(this.acknowledged, batch.sequence + 1);
        await this.drop(batch);
      }
    }
  }

  async post(batch) {
    try {
      const body = JSON.stringify(batch);
      const response = await fetch("api/events", { method: "POST", body, keepalive: body.length < 60000 });
      if (response.ok) return "kept";
      if (response.status === 401) return "gone";
      if ([400, 410, 413].includes(response.status)) return "refused";
      return { seconds: Number(response.headers.get("Retry-After") ?? 0) };
    } catch {
      return { seconds: 0 };
    }
  }
}
