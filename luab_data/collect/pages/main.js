// A session from consent to the code at its end.
import { element } from "./dom.js";
import { kept } from "./kept.js";
import { Recorder } from "./recorder.js";
import * as browsing from "./browsing.js";
import * as tagging from "./tagging.js";

const TASKS = { browsing, tagging };
const work = document.getElementById("work");
const saved = document.getElementById("saved");
const TOKEN = `luab-token${location.search}`; // another assignment or invitation is another session
const LATER = "Not saved yet: trying again. Please keep this page open.";
const LAST = "luab-last"; // who comes back by another assignment shows by it that they are who they were

function show(...children) {
  work.replaceChildren(...children);
  work.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function say(text, leave) {
  const way = leave ? element("a", { class: "main", href: leave.link }, "Back to Prolific") : "";
  show(element("p", { class: "notice", role: "alert" }, text), way);
}

async function call(path, token, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(found.error ?? `The server answers ${response.status}.`), { status: response.status, leave: found.leave });
  return found;
}

async function patiently(path, token, body) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 30000)) {
    try {
      const found = await call(path, token, body);
      saved.textContent = "";
      return found;
    } catch (error) {
      if (error.status && error.status < 500 && ![408, 409, 429].includes(error.status)) throw error;
      saved.textContent = LATER;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function consent(study) {
  const query = Object.fromEntries(new URLSearchParams(location.search));
  return new Promise((resolve) => {
    const agree = element("button", { type: "button", class: "main" }, study.closed ? "I have begun before: go on" : "I agree, begin");
    agree.addEventListener("click", async () => {
      agree.disabled = true;
      try {
        resolve((await call("api/join", kept.get(LAST), { consent: true, query })).token);
      } catch (error) {
        say(error.message, error.leave);
      }
    });
    const text = study.consent.split(/\n\s*\n/).map((paragraph) => element("p", {}, paragraph));
    const notices = [];
    if (study.closed) notices.push(study.closed);
    if (!kept.isLasting) notices.push("Your browser keeps nothing for this page: please do not load it again before the end.");
    const told = notices.map((notice) => element("p", { class: "notice", role: "status" }, notice));
    show(element("section", { class: "consent" }, ...told, element("h2", {}, "Before you begin"), ...text, agree));
  });
}

function end(state) {
  document.getElementById("foot").hidden = false;
  document.getElementById("progress").textContent = "Done";
  const parts = [element("h2", {}, "Thank you!"), element("p", {}, "Everything is saved.")];
  if (state.code) parts.push(element("p", {}, "Your completion code: ", element("output", { class: "code" }, state.code)));
  if (state.leave?.form) {
    const form = element("form", { method: "post", action: state.leave.form });
    for (const [name, value] of Object.entries(state.leave.fields)) form.append(element("input", { type: "hidden", name, value }));
    form.append(element("button", { class: "main" }, "Finish"));
    parts.push(form);
  } else if (state.leave?.link) {
    parts.push(element("a", { class: "main", href: state.leave.link }, "Finish"));
  }
  show(element("section", { class: "end" }, ...parts));
}

async function session(token) {
  let state = await patiently("api/state", token);
  const recorder = new Recorder(token, (is) => {
    saved.textContent = is ? "" : LATER;
  });
  document.title = state.title;
  document.getElementById("title").textContent = state.title;
  if (await recorder.begin(state)) state = await patiently("api/state", token);
  const withdraw = document.getElementById("withdraw");
  withdraw.addEventListener("click", async () => {
    if (!confirm("Delete all that was recorded of you in this study? This cannot be undone.")) return;
    try {
      await call("api/withdraw", token, {});
    } catch (error) {
      saved.textContent = `Nothing is deleted yet. ${error.status ? error.message : "The server does not answer."} Please try again.`;
      return;
    }
    await recorder.forget();
    kept.remove(TOKEN);
    kept.remove(LAST);
    document.getElementById("foot").hidden = true;
    say("All that was recorded of you is deleted.");
  });
  while (!state.finished) {
    document.getElementById("foot").hidden = false;
    document.getElementById("progress").textContent = `Page ${state.page + 1} of ${state.num_pages}`;
    recorder.page = state.page;
    recorder.add({ type: document.hidden ? "blur" : "focus" }); // from here on the page is shown
    const task = TASKS[state.task];
    const answer = await task.run(state, recorder, show);
    await recorder.flush();
    state = await patiently("api/page", token, { page: state.page, batches: recorder.acknowledged, answer });
    recorder.setClock(state);
  }
  await recorder.end();
  end(state);
}

async function main() {
  try {
    const study = await call("api/study");
    document.title = study.title;
    document.getElementById("title").textContent = study.title;
    let token = kept.get(TOKEN);
    if (token) {
      try {
        await call("api/state", token);
      } catch (error) {
        if (error.status !== 401) throw error;
        token = null;
      }
    }
    if (!token) {
      token = await consent(study);
      kept.set(TOKEN, token);
      kept.set(LAST, token);
    }
    if (!navigator.locks) return await session(token);
    await navigator.locks.request(`luab-${token}`, { ifAvailable: true }, async (lock) => {
      if (!lock) return say("This study is open in another tab; go on there, or close it and load this page again.");
      await session(token);
      return new Promise(() => {}); // the tab keeps the session
    });
  } catch (error) {
    say(error.message);
  }
}

main();
