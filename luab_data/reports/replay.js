"use strict";
// One controller for each article.replay. The page arrives in its final state, so that it can be
// read and printed without this script; here it is drawn as it was at any time.
for (const article of document.querySelectorAll("article.replay")) replay(article);

function replay(article) {
  const data = JSON.parse(article.querySelector("script.data").textContent);
  const events = data.events.map(([time, kind, picture, x, y, name, starts]) =>
    ({ time, kind, picture, x, y, name, starts, placed: x !== null }));
  const slider = article.querySelector("input[type=range]");
  if (!slider) return;

  const one = (selector) => article.querySelector(selector);
  const [viewport, page, map] = [one(".viewport"), one(".page"), one(".map")];
  const [play, clock, speed, follow] = [one(".play"), one(".time"), one(".speed select"), one(".follow input")];
  const [trail, halo, jumps, recent] = [".trail", ".halo", ".jumps", ".recent"].map((s) => page.querySelector(s));
  const [pointer, shown] = [one(".pointer"), one(".shown")];
  const frames = [...page.querySelectorAll(".picture")];
  const marks = [...page.querySelectorAll(".mark")].map((mark) =>
    [mark, Number(mark.dataset.event), Number(mark.dataset.until ?? Infinity)]);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const DONE = { add: "added", shift: "moved", remove: "removed" };
  const RECENT = 700, PAUSE = 3000, CALM_STEP = 700; // ms
  let now = data.duration, playing = false, last = 0, scroll = 0, due = 0;

  // How many events have happened by a time; they are sorted.
  function happened(time) {
    let low = 0, high = events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (events[middle].time <= time) low = middle + 1; else high = middle;
    }
    return low;
  }

  function draw() {
    const count = happened(now), atEnd = now >= data.duration;
    const paths = { trail: "", jumps: "", recent: "" };
    const selected = data.selected.map(() => false);
    let at = null, inside = null, group = "", latest = "", fresh = false;
    for (let i = 0; i < count; i++) {
      const e = events[i];
      if (e.kind === "enter") inside = e.picture;
      if (e.kind === "leave" && inside === e.picture) inside = null;
      if (e.kind === "category") group = e.name;
      if (e.kind === "move" || e.kind === "click") {
        const point = `${e.x} ${e.y}`;
        if (e.starts && at) paths.jumps += `M${at.x} ${at.y}L${point}`;
        paths.trail += (e.starts ? "M" : "L") + point;
        if (e.time >= now - RECENT) {
          paths.recent += (e.starts || !fresh ? "M" : "L") + point;
          fresh = true;
        }
        // The tool logs no path over a selected picture: a later record proves a deselection.
        selected[e.picture] = e.kind === "click";
        if (inside === null) inside = e.picture; // an entry that was not logged
      }
      if (DONE[e.kind]) latest = `${DONE[e.kind]} ${e.name}`;
      if (e.placed) at = e;
    }
    trail.setAttribute("d", paths.trail);
    halo.setAttribute("d", paths.trail);
    jumps.setAttribute("d", paths.jumps);
    recent.setAttribute("d", atEnd ? "" : paths.recent);
    frames.forEach((frame, i) => {
      frame.classList.toggle("selected", (atEnd ? data.selected : selected)[i]);
      frame.classList.toggle("inside", !atEnd && inside === i && data.grid);
    });
    for (const [mark, i, until] of marks) {
      mark.classList.toggle("future", i >= count);
      mark.classList.toggle("past", until < count);
      mark.classList.toggle("fresh", !atEnd && i < count && events[i].time >= now - RECENT);
    }
    pointer.setAttribute("visibility", at && !atEnd ? "visible" : "hidden");
    if (at) pointer.setAttribute("transform", `translate(${at.x} ${at.y})`);
    pointer.classList.toggle("away", data.grid && inside === null);
    if (shown) shown.textContent = atEnd ? "" : [group && `icons shown: ${group}`, latest].filter(Boolean).join(" · ");
    const text = seconds(now);
    slider.value = String(Math.round(now));
    slider.setAttribute("aria-valuetext", text);
    clock.textContent = `${text} / ${seconds(data.duration)}`;
    if (map) drawMap(at && !atEnd ? at : null);
  }

  function drawMap(at) {
    const scale = data.view[2] / page.getBoundingClientRect().width;
    const height = viewport.clientHeight * scale;
    if (at && follow.checked) {
      const target = Math.max(0, (at.y - data.view[1] - height / 2) / scale);
      scroll += (target - scroll) * (playing && !calm.matches ? 0.12 : 1);
      viewport.scrollTop = scroll;
    } else scroll = viewport.scrollTop;
    const frame = map.querySelector(".window"), here = map.querySelector(".here");
    frame.setAttribute("x", data.view[0]);
    frame.setAttribute("width", data.view[2]);
    frame.setAttribute("y", data.view[1] + viewport.scrollTop * scale);
    frame.setAttribute("height", Math.min(height, data.view[3]));
    here.setAttribute("visibility", at ? "visible" : "hidden");
    if (at) { here.setAttribute("cx", at.x); here.setAttribute("cy", at.y); }
  }

  function seek(time) {
    now = Math.min(Math.max(time, 0), data.duration);
    draw();
  }

  // The time of the next or last event worth a stop, so that steps skip single records of a path.
  function stop(direction) {
    const stops = events.filter((e) => e.kind !== "move" && e.kind !== "leave").map((e) => e.time);
    const found = direction > 0 ? stops.find((t) => t > now) : stops.reverse().find((t) => t < now);
    return found ?? (direction > 0 ? data.duration : 0);
  }

  function setPlaying(value) {
    playing = value;
    if (playing && now >= data.duration) now = 0;
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    article.classList.toggle("playing", playing);
    if (playing) {
      last = due = performance.now();
      requestAnimationFrame(tick);
    }
    draw();
  }

  function tick(clockTime) {
    if (!playing) return;
    const rate = Number(speed.value);
    if (calm.matches) {
      if (clockTime >= due) {
        seek(stop(1));
        due = clockTime + CALM_STEP / rate;
      }
    } else {
      const next = events[happened(now)];
      if (next && next.time - now > PAUSE) now = next.time - PAUSE / 6;
      seek(now + Math.max(0, clockTime - last) * rate);
    }
    last = clockTime;
    if (now >= data.duration) setPlaying(false);
    else requestAnimationFrame(tick);
  }

  play.addEventListener("click", () => setPlaying(!playing));
  slider.addEventListener("input", () => {
    const wanted = Number(slider.value); // drawing moves the slider
    setPlaying(false);
    seek(wanted);
  });
  const keys = {
    " ": () => setPlaying(!playing),
    ArrowLeft: () => seek(now - 200),
    ArrowRight: () => seek(now + 200),
    Home: () => seek(0),
    End: () => seek(data.duration),
    ",": () => seek(stop(-1)),
    ".": () => seek(stop(1)),
  };
  function press(event) {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.key !== " ") setPlaying(false);
    keys[event.key]();
  }
  viewport.addEventListener("keydown", press);
  slider.addEventListener("keydown", press);
  if (map) {
    const letGo = () => { follow.checked = false; };
    viewport.addEventListener("wheel", letGo, { passive: true });
    viewport.addEventListener("touchmove", letGo, { passive: true });
    viewport.addEventListener("scroll", () => { if (!playing) drawMap(null); }, { passive: true });
    map.addEventListener("click", (event) => {
      letGo();
      const box = map.getBoundingClientRect();
      const y = ((event.clientY - box.top) / box.height) * page.getBoundingClientRect().height;
      viewport.scrollTop = y - viewport.clientHeight / 2;
      draw();
    });
    addEventListener("resize", draw);
  }
  addEventListener("beforeprint", () => { setPlaying(false); seek(data.duration); });
  draw();
}

function seconds(time) {
  return `${(time / 1000).toFixed(2)} s`;
}
