"use strict";
(() => {
  const $ = (s, at = document) => at.querySelector(s), $$ = (s, at = document) => [...at.querySelectorAll(s)];
  const body = document.body, rows = new Map($$("tr[data-k]").map(tr => [tr.dataset.k, tr]));
  const keep = (store, key, value) => { try { if (value === undefined) return store.getItem(key); store.setItem(key, value); } catch { return null; } };
  const session = window.sessionStorage, local = window.localStorage;

  // -- numbers as people read them
  const scaled = (n, step, units) => { let i = 0; while (n >= step && i < units.length - 1) { n /= step; i++; } return (i && n < 100 ? n.toFixed(1) : Math.round(n)) + units[i]; };
  const count = n => n < 100000 ? Math.round(n).toLocaleString("en-US").replace(/,/g, "\u202f") : scaled(n, 1000, ["", " k", " M", " G", " T"]);
  const bytes = n => scaled(n, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"]);
  const span = s => s < 0 ? "–" : s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min" : s < 86400 ? Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min" : Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
  const show = { n: count, b: bytes, s: span, m: n => n < 10 ? n.toFixed(1) : count(n) };
  const state = word => /^(OPEN|UP|no check)/.test(word) ? (word.includes("/") ? "turning" : "up") : /^DOWN/.test(word) ? (word.includes("/") ? "turning" : "down") : /^(DRAIN|NOLB)/.test(word) ? "drain" : "maint";
  const HOT = /^(Errors|Denied|Warnings)/;
  function paint(cell, raw) {
    const unit = cell.dataset.u, n = Number(raw), empty = raw === "" || raw === undefined;
    cell.dataset.v = empty ? "" : raw;
    cell.textContent = empty ? "" : unit === "t" ? raw : show[unit](n);
    if (cell.tagName === "TD") {
      cell.classList.toggle("z", empty || (unit !== "t" && n <= 0));
      cell.classList.toggle("warm", !empty && n > 0 && HOT.test(cell.dataset.l || ""));
      if (!empty && unit === "b") cell.title = raw + " bytes";
    }
  }
  $$("[data-c]").forEach(cell => paint(cell, cell.textContent));

  // what lies behind a number, as the server wrote it first
  const tips = JSON.parse($("#tips").textContent);
  function explain(cell, cells) {
    const lines = (tips[cell.dataset.c] || []).filter(([, column]) => cells[column]).map(([what, column]) => (what ? what + ": " : "") + cells[column]);
    if (lines.length) cell.title = lines.join("\n"); else if (cell.dataset.u !== "b") cell.removeAttribute("title");
  }

  // -- charts
  const history = JSON.parse($("#history").textContent), KEPT = 60, RATE = 0, IN = 1, OUT = 2, NOW = 3, BAD = 4;
  function chart(values) {
    const most = Math.max(...values, 1e-9), w = 140, h = 30, x = i => (w * i / (KEPT - 1)).toFixed(1), from = KEPT - values.length;
    const points = values.map((v, i) => x(from + i) + "," + (h - 2 - (h - 5) * v / most).toFixed(1)).join(" ");
    const svg = `<svg viewBox="0 0 ${w} ${h}" preserveAspectRatio="none" aria-hidden="true">`;
    if (values.length < 2) return svg + `<line x1="0" x2="${w}" y1="${h - 2}" y2="${h - 2}" stroke="currentColor" opacity=".3" stroke-width="1.6" vector-effect="non-scaling-stroke"/></svg>`;
    return svg + `<polygon fill="currentColor" opacity=".16" points="${x(from)},${h} ${points} ${w},${h}"/><polyline fill="none" stroke="currentColor" stroke-width="1.6" vector-effect="non-scaling-stroke" points="${points}"/></svg>`;
  }
  const last = values => values.length ? values[values.length - 1] : 0;
  const one = n => n < 10 ? n.toFixed(1) : count(n);
  function draw() {
    for (const place of $$("[data-chart]")) {
      const points = history.charts[place.dataset.chart] || [], values = points.map(p => p[RATE]);
      place.innerHTML = chart(values) + `<span>${one(last(values))}/s</span>`;
    }
    const fronts = Object.entries(history.charts).filter(([name]) => name.startsWith("F/")).map(([, points]) => points);
    const size = Math.max(0, ...fronts.map(p => p.length));
    const sum = what => Array.from({ length: size }, (_, i) => fronts.reduce((s, p) => s + (p[p.length - size + i]?.[what] || 0), 0));
    const tile = (name, values, text, bad) => `<div class="tile${bad ? " bad" : ""}"><small>${name}</small><b>${text}</b>${chart(values)}</div>`;
    const rate = sum(RATE), now = sum(NOW), out = sum(OUT), came = sum(IN), failed = sum(BAD);
    const tiles = $(".tiles");
    tiles.innerHTML = tile("Requests per second", rate, one(last(rate))) + tile("Sessions now", now, count(last(now))) + tile("Sent per second", out, bytes(last(out))) + tile("Received per second", came, bytes(last(came))) + tile("Answers 5xx per second", failed, one(last(failed)), last(failed) > 0);
    tiles.hidden = !fronts.length;
  }
  draw();

  // -- which rows are shown
  const find = $("#find");
  let wanted = keep(session, "show") || "all";
  find.value = keep(session, "find") || find.value;
  find.form.addEventListener("submit", e => e.preventDefault());
  function filter() {
    const text = find.value.trim().toLowerCase();
    let seen = 0;
    for (const section of $$(".proxy")) {
      const mine = section.dataset.name.toLowerCase().includes(text);
      let any = 0;
      for (const tr of $$("tr[data-k]", section)) {
        const fits = wanted === "all" || (wanted === "trouble" ? !tr.classList.contains("up") || $("td.warm", tr) : Number($(`[data-l="Sessions Cur"]`, tr).dataset.v) > 0 || Number($(`[data-l="Session rate Cur"]`, tr).dataset.v) > 0);
        tr.hidden = !(fits && (mine || tr.dataset.k.toLowerCase().slice(section.dataset.name.length).includes(text)));
        any += !tr.hidden;
      }
      section.hidden = !any;
      seen += any;
    }
    $("#nothing").hidden = seen > 0;
    $$("[data-show]").forEach(b => b.setAttribute("aria-pressed", String(b.dataset.show === wanted)));
    keep(session, "find", find.value);
    keep(session, "show", wanted);
  }
  find.addEventListener("input", filter);
  $$("[data-show]").forEach(b => b.addEventListener("click", () => { wanted = b.dataset.show; filter(); }));
  document.addEventListener("keydown", e => { if (e.key === "/" && !/INPUT|SELECT/.test(e.target.tagName)) { e.preventDefault(); find.focus(); } });
  filter();

  // -- news
  const every = (Number(body.dataset.every) || 5) * 1000;
  let timer = 0, before = null;
  function read(text) {
    const cut = line => line.match(/("([^"]|"")*"|[^,]*)(,|$)/g).map(c => c.replace(/,$/, "").replace(/^"|"$/g, "").replace(/""/g, '"'));
    const [head, ...lines] = text.trim().split("\n").map(cut);
    head[0] = head[0].replace("# ", "");
    return lines.map(cells => Object.assign(cells, Object.fromEntries(head.map((name, i) => [name, cells[i]]))));
  }
  async function renew() {
    let table;
    try {
      const answer = await fetch(body.dataset.csv, { cache: "no-store" });
      if (!answer.ok) throw answer.status;
      table = read(await answer.text());
    } catch { $("#live").textContent = "Live (no answer)"; return; }
    $("#live").textContent = "Live";
    const now = performance.now(), names = new Set(table.map(cells => cells.pxname + "/" + cells.svname));
    if (table.length !== rows.size || [...rows.keys()].some(key => !names.has(key))) { location.reload(); return; }
    const sums = {};
    for (const cells of table) {
      const tr = rows.get(cells.pxname + "/" + cells.svname);
      for (const cell of $$("[data-c]", tr)) {
        if (cell.dataset.v !== cells[cell.dataset.c]) paint(cell, cells[cell.dataset.c]);
        explain(cell, cells);
      }
      tr.classList.remove("up", "down", "turning", "maint", "drain");
      tr.classList.add(state(cells.status));
      if (cells.type === "0" || cells.type === "1") {
        const count = cells.mode === "http" && cells.req_tot ? cells.req_tot : cells.stot;
        sums[(cells.type === "0" ? "F/" : "B/") + cells.pxname] = [count, cells.bin, cells.bout, cells.scur, cells.hrsp_5xx || 0].map(Number);
      }
    }
    if (before) for (const [name, sum] of Object.entries(sums)) {
      const old = before.sums[name], s = (now - before.at) / 1000, points = history.charts[name] ||= [];
      if (!old) continue;
      points.push([RATE, IN, OUT, NOW, BAD].map(i => i === NOW ? sum[i] : Math.max(0, sum[i] - old[i]) / s));
      if (points.length > KEPT) points.shift();
    }
    before = { at: now, sums };
    draw();
    filter();
  }
  const live = $("#live");
  function set(on) {
    live.setAttribute("aria-pressed", String(on));
    clearInterval(timer);
    before = null;
    if (on) { timer = setInterval(() => document.hidden || renew(), every); renew(); }
  }
  live.hidden = false;
  live.addEventListener("click", () => { const on = live.getAttribute("aria-pressed") !== "true"; keep(session, "live", String(on)); set(on); });
  set((keep(session, "live") ?? String(body.dataset.live === "1")) === "true");

  // -- light or dark
  const theme = $("#theme"), root = document.documentElement;
  theme.hidden = false;
  if (keep(local, "theme")) root.dataset.theme = keep(local, "theme");
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    keep(local, "theme", root.dataset.theme);
  });
})();
