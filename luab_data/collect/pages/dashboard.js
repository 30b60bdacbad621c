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
  const accepted = found.sessions.filter((one) => one.decision === "accept");
  const waiting = open(found.sessions).length;
  const usd = accepted.reduce((sum, one) => sum + found.reward_usd + one.bonus_usd, 0);
  const failed = found.sessions.reduce((sum, one) => sum + one.failed, 0);
  return element("section", { class: "counts", "aria-label": "Progress" },
    meter("Sessions finished", is["sessions finished"], is["sessions to do"]),
    meter("Pages answered", is["pages answered"], found.pages_to_do),
    count("People", is.participants.toLocaleString(), `${is["sessions begun"].toLocaleString()} sessions begun`),
    count("Accepted", accepted.length.toLocaleString(), usd ? `${usd.toFixed(2)} USD to pay` : ""),
    count("To decide", waiting.toLocaleString(), "finished sessions"),
    count("Failed pictures", failed.toLocaleString(), `of ${is.pictures.toLocaleString()} in the study`));
}

// Finished sessions that nobody has decided about.
function open(sessions) {
  return sessions.filter((one) => one.code && !one.decision);
}

const money = (usd) => (usd ? `, ${usd.toFixed(2)} USD of bonus` : "");

function cell(name, ...children) {
  return element("td", { "data-name": name }, element("span", {}, ...children));
}

function decided(one) {
  const done = one.decision === "accept" ? "accepted" : "rejected";
  return one.decision ? [element("strong", { class: `badge ${one.decision}` }, done), ` ${[one.decided_because, one.bonus_usd ? `${one.bonus_usd.toFixed(2)} USD of bonus` : ""].filter(Boolean).join(", ")}`] : ["none yet"];
}

function row(one, watch, decide) {
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
    cell("Suggestion", element("strong", { class: `badge ${one.suggestion}` }, one.suggestion), ` ${one.reason}${one.decision ? "" : money(one.bonus_usd)}`),
    cell("Decision", ...decided(one)),
    element("td", { class: "does" },
      element("button", { type: "button", onclick: () => watch(one), "aria-label": `Watch session ${one.session}` }, "Watch"),
      one.code ? element("button", { type: "button", onclick: () => decide([one]), "aria-label": `Decide about session ${one.session}` }, "Decide") : ""));
}

function people(found, watch, decide) {
  const head = ["Person", "Begun", "Arm", "Pages", "Seconds a page", "Known found", "Failed", "Code", "Suggestion", "Decision", ""];
  if (!found.sessions.length) return element("p", { class: "hint" }, "Nobody has begun yet.");
  const good = open(found.sessions).filter((one) => one.suggestion === "accept");
  const all = good.length > 1 ? element("p", {}, element("button", { type: "button", class: "all", onclick: () => decide(good) }, `Accept all ${good.length} that are suggested`)) : "";
  return element("div", {}, all, element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...found.sessions.map((one) => row(one, watch, decide)))));
}

// Asks what to do about one session, or whether to accept some; resolves to what to send, or null.
function ask(sessions, found) {
  const [one] = sessions;
  const alone = sessions.length === 1;
  const is = (name) => (one.decision ?? (one.suggestion === "reject" ? "reject" : "accept")) === name;
  const choice = (name, text) => element("label", {}, element("input", { type: "radio", name: "decision", value: name, checked: is(name) }), text);
  const bonus = element("input", { type: "number", name: "bonus", min: 0, max: 1000, step: 0.01, value: one.bonus_usd.toFixed(2) });
  const reason = element("input", { name: "reason", maxlength: 500, autocomplete: "off", value: one.decided_because ?? (one.suggestion === "reject" ? one.reason : "") });
  const total = sessions.reduce((sum, each) => sum + found.reward_usd + each.bonus_usd, 0);
  const parts = alone
    ? [element("h2", {}, `Session ${one.session}`), element("p", { class: "hint" }, `Suggested: ${one.suggestion}. ${one.reason}`),
      element("fieldset", {}, element("legend", {}, "Decision"), choice("accept", "Accept"), choice("reject", "Reject, without pay")),
      element("label", {}, "Bonus, USD", bonus), element("label", {}, "Reason, which the person may read", reason)]
    : [element("h2", {}, `Accept ${sessions.length} sessions`), element("p", {}, `Those that are suggested and not decided about; ${total.toFixed(2)} USD with their suggested bonuses.`)];
  const dialog = element("dialog", { "aria-label": alone ? `Session ${one.session}` : "Accept sessions" },
    element("form", { method: "dialog" }, ...parts,
      element("div", { class: "tools" }, element("button", { value: "cancel", class: "quiet", formnovalidate: true }, "Cancel"), element("button", { value: "save", class: "main" }, "Save"))));
  const change = () => {
    const rejects = alone && dialog.querySelector("[value=reject]").checked;
    bonus.disabled = rejects;
    reason.required = rejects;
  };
  dialog.addEventListener("change", change);
  document.body.append(dialog);
  change();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const wanted = { sessions: sessions.map((each) => each.session), decision: "accept" };
      if (alone) {
        wanted.decision = dialog.querySelector(":checked").value;
        wanted.bonus_usd = Number(bonus.value) || 0;
        wanted.reason = reason.value;
      }
      dialog.remove();
      resolve(dialog.returnValue === "save" ? wanted : null);
    });
  });
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
    this.found = found;
    this.paused = found.paused;
    document.title = `${found.title}: researcher`;
    by("title").textContent = found.title;
    by("pause").textContent = found.paused ? "Resume" : "Pause";
    const watched = document.activeElement?.closest("tr")?.dataset.session;
    this.places.progress.replaceChildren(progress(found));
    this.places.people.replaceChildren(people(found, (one) => this.replay.open(one), (some) => this.decide(some)));
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

  async decide(sessions) {
    const wanted = await ask(sessions, this.found);
    if (!wanted) return;
    try {
      await call("decide", wanted);
      await this.follow();
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
