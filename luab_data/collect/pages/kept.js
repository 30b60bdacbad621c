// What this browser keeps for the page; memory alone where it may keep nothing (a frame of another site).
const memory = new Map();

export const kept = {
  isLasting: (() => {
    try {
      localStorage.setItem("luab", "");
      localStorage.removeItem("luab");
      return true;
    } catch {
      return false;
    }
  })(),
  get(name) {
    return (this.isLasting ? localStorage.getItem(name) : memory.get(name)) ?? null;
  },
  set(name, text) {
    if (!this.isLasting) return void memory.set(name, text);
    try {
      localStorage.setItem(name, text);
    } catch {
      memory.set(name, text); // full
    }
  },
  remove(name) {
    memory.delete(name);
    if (this.isLasting) localStorage.removeItem(name);
  },
};
