// The researcher's page: log in once, then progress, people, replay, pause and the log.
import { element } from "./dom.js";
import { Replay } from "./replay.js";

const EVERY_MS = 10000;
const work = document.getElementById("work");
const said = document.getElementById("said");
const by = (id) => document.getElementById(id);
const when = (ms) => new Date(ms).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const share = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0);

async function call(path, body) {
  const headers = { "X-Luab": "researcher" };
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(`researcher/api/${path}`, options);
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(found.error ?? `The server answers ${response.status}.`), { status: response.status });
  return found;
}

async function logIn(token) {
  await call("login", { token });
  await begin();
}

function askForToken(reason) {
  by("acts").hidden = true;
  const token = element("input", { type: "password", autocomplete: "off", id: "token", required: true });
  const form = element("form", { class: "login" },
    element("p", {}, reason),
    element("label", { for: "token" }, "Token, or what follows # in the link"), token,
    element("button", { class: "main" }, "Log in"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    logIn(token.value.trim()).catch((error) => askForToken(error.message));
  });
  work.replaceChildren(form);
  token.focus();
}

function meter(name, done, whole) {
  const bar = element("progress", { max: Math.max(whole, 1), value: Math.min(done, whole), "aria-label": name });
  return element("div", { class: "count" }, element("span", {}, name),
    element("strong", {}, `${done.toLocaleString()} of ${whole.toLocaleString()}`), bar,
    element("span", { class: "hint" }, `${share(done, whole)} %`));
}

function count(name, value, more) {
  return element("div", { class: "count" }, element("span", {}, name), element("strong", {}, value), element("span", { class: "hint" }, more));
}

function progress(found) {
  const is = found.progress;
  const accepted = found.sessions.filter((one) => one.suggestion === "accept").length;
  const pay = found.reward_usd ? `${(accepted * found.reward_usd).toFixed(2)} USD to pay` : "";
  const failed = found.sessions.reduce((sum, one) => sum + one.failed, 0);
  return element("section", { class: "counts", "aria-label": "Progress" },
    meter("Sessions finished", is["sessions finished"], is["sessions to do"]),
    meter("Pages answered", is["pages answered"], found.pages_to_do),
    count("People", is.participants.toLocaleString(), `${is["sessions begun"].toLocaleString()} sessions begun`),
    count("To accept", accepted.toLocaleString(), pay),
    count("Failed pictures", failed.toLocaleString(), `of ${is.pictures.toLocaleString()} in the study`));
}

function cell(name, ...children) {
  return element("td", { "data-name": name }, element("span", {}, ...children));
}

function row(one, watch) {
  const recall = one.recall === null ? "none seen" : `${share(one.found, one.known)} % (${one.found} of ${one.known})`;
  return element("tr", { "data-session": one.session },
    cell("Person", element("code", {}, one.person)),
    cell("Begun", when(one.begun_ms)),
    cell("Arm", one.arm ?? "none"),
    cell("Pages", `${one.answered} of ${one.num_pages}`),
    cell("Seconds a page", one.seconds === null ? "none yet" : one.seconds.toFixed(1)),
    cell("Known found", recall),
    cell("Failed", String(one.failed)),
    cell("Code", element("code", {}, one.code ?? "none yet")),
    cell("Suggestion", element("strong", { class: `badge ${one.suggestion}` }, one.suggestion), " ", one.reason),
    element("td", {}, element("button", { type: "button", onclick: () => watch(one), "aria-label": `Watch session ${one.session}` }, "Watch")));
}

function people(found, watch) {
  const head = ["Person", "Begun", "Arm", "Pages", "Seconds a page", "Known found", "Failed", "Code", "Suggestion", ""];
  if (!found.sessions.length) return element("p", { class: "hint" }, "Nobody has begun yet.");
  return element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...found.sessions.map((one) => row(one, watch))));
}

function audit(found) {
  const acts = found.acts.map((one) => element("li", {}, element("time", {}, when(one.at_ms)), ` ${one.act}`, one.about ? `: ${one.about}` : ""));
  return element("ol", { class: "audit" }, ...acts);
}

class Page {
  constructor() {
    this.replay = new Replay((session, page, since) => call(`replay?session=${session}&page=${page}&since=${since}`), (error) => this.failed(error));
    this.places = { progress: element("div"), people: element("div"), audit: element("div") };
    this.timer = null;
    by("acts").hidden = false;
    work.replaceChildren(this.places.progress, this.replay.box,
      element("h2", {}, "People"), this.places.people,
      element("h2", {}, "Your acts"), this.places.audit);
  }

  // The latest state; what has the focus keeps it, by being left alone while nothing changed.
  async refresh() {
    const found = await call("overview");
    const text = JSON.stringify(found);
    said.textContent = found.paused ? "Paused: nobody new can begin." : "";
    if (text === this.text) return;
    this.text = text;
    this.paused = found.paused;
    document.title = `${found.title}: researcher`;
    by("title").textContent = found.title;
    by("pause").textContent = found.paused ? "Resume" : "Pause";
    const watched = document.activeElement?.closest("tr")?.dataset.session;
    this.places.progress.replaceChildren(progress(found));
    this.places.people.replaceChildren(people(found, (one) => this.replay.open(one)));
    this.places.audit.replaceChildren(audit(found));
    if (watched) this.places.people.querySelector(`[data-session="${watched}"] button`)?.focus({ preventScroll: true });
  }

  // Now, and again and again.
  async follow() {
    clearTimeout(this.timer);
    try {
      await this.refresh();
      this.timer = setTimeout(() => this.follow(), EVERY_MS);
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error) {
    if (error.status === 401) {
      this.close();
      askForToken(error.message);
    } else {
      said.textContent = error.status ? error.message : "The server does not answer; trying again.";
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.follow(), EVERY_MS);
    }
  }

  close() {
    clearTimeout(this.timer);
    this.replay.close();
  }
}

let shown = null;

async function begin() {
  shown?.close();
  shown = new Page();
  await shown.follow();
}

async function main() {
  by("pause").addEventListener("click", () => call("pause", { paused: !shown.paused }).then(() => shown.follow()).catch((error) => shown.failed(error)));
  by("export").addEventListener("click", () => {
    location.assign(`researcher/export?suffix=${by("suffix").value}`); // a download: the page stays
    setTimeout(() => shown.follow(), 1000);
  });
  by("logout").addEventListener("click", async () => {
    await call("logout", {}).catch(() => {});
    shown.close();
    said.textContent = "";
    askForToken("You are logged out.");
  });
  const token = location.hash.slice(1);
  if (token) history.replaceState(null, "", location.pathname); // it opens no door from the history
  try {
    await (token ? logIn(token) : begin());
  } catch (error) {
    askForToken(error.message);
  }
}

main();
