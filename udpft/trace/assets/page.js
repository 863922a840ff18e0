"use strict";
// Draws the trace that stands in the page as JSON: a ladder of its first packets, and charts of all.
(() => {
  const trace = JSON.parse(document.getElementById("trace").textContent);
  const $ = (id) => document.getElementById(id);
  const NS = "http://www.w3.org/2000/svg";
  const svg = (name, attributes = {}, parent = null) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.append(node);
    return node;
  };
  const html = (name, text = null, parent = null) => {
    const node = document.createElement(name);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const arrows = trace.arrows;
  const end = Math.max(trace.duration, 0.001);
  const ms = (value) => (value >= 1000 ? (value / 1000).toFixed(3) + " s" : value.toFixed(value < 10 ? 3 : 1) + " ms");
  const SCALES = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const short = (value) => {
    for (const [size, name] of SCALES) if (value >= size) return +(value / size).toPrecision(3) + " " + name;
    return String(+value.toPrecision(3)) + " ";
  };

  // ------------------------------------------------------------------ what is selected, and when
  let chosen = -1;
  let now = end;
  let view = [0, end];
  let playing = null;

  // ------------------------------------------------------------------------------------- ladder
  const ROW = 15;
  const groups = [];
  const sentAt = (arrow) => (arrow.sent !== null ? arrow.sent : Math.max(0, arrow.came - trace.one_way));
  const cameAt = (arrow) => (arrow.came !== null ? arrow.came : arrow.sent + trace.one_way);

  function drawLadder() {
    const host = $("rungs");
    const width = Math.max(300, host.clientWidth);
    const narrow = width < 640;
    const margin = narrow ? 104 : Math.round(width * 0.33);
    $("heads").style.setProperty("--margin", margin + "px");
    // Each moment has a row of its own, so that nothing lies upon another thing.
    const moments = [];
    arrows.forEach((arrow, index) => {
      moments.push([sentAt(arrow), 0, index]);
      moments.push([cameAt(arrow), 1, index]);
    });
    moments.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
    const rows = arrows.map(() => [0, 0]);
    moments.forEach((moment, row) => { rows[moment[2]][moment[1]] = 12 + row * ROW; });
    const height = 24 + moments.length * ROW;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
    svg("title", {}, picture).textContent =
      `Ladder of ${arrows.length} packets between client and server; the table below says the same in words.`;
    const left = margin, right = width - margin;
    for (const x of [left, right]) svg("line", { class: "life", x1: x, x2: x, y1: 0, y2: height }, picture);
    groups.length = 0;
    arrows.forEach((arrow, index) => {
      const fromClient = arrow.from === "client";
      const x1 = fromClient ? left : right, x2 = fromClient ? right : left;
      const [y1, y2] = rows[index];
      const guess = arrow.sent === null || arrow.came === null;
      const node = svg("g", {
        class: `arrow ${arrow.from}${arrow.lost ? " lost" : guess ? " guess" : ""}`, "data-index": index,
      }, picture);
      svg("path", { class: "hit", d: `M${x1} ${y1}L${x2} ${y2}` }, node);
      const stop = arrow.lost ? 0.55 : 1;
      const xe = x1 + (x2 - x1) * stop, ye = y1 + (y2 - y1) * stop;
      svg("line", { x1, y1, x2: xe, y2: ye }, node);
      if (arrow.lost) {
        svg("line", { class: "cross", x1: xe - 6, y1: ye - 6, x2: xe + 6, y2: ye + 6 }, node);
        svg("line", { class: "cross", x1: xe - 6, y1: ye + 6, x2: xe + 6, y2: ye - 6 }, node);
      } else {
        const length = Math.hypot(x2 - x1, y2 - y1), ux = (x2 - x1) / length, uy = (y2 - y1) / length;
        svg("polygon", {
          points: `${x2},${y2} ${x2 - 9 * ux - 4 * uy},${y2 - 9 * uy + 4 * ux} ${x2 - 9 * ux + 4 * uy},${y2 - 9 * uy - 4 * ux}`,
        }, node);
      }
      const words = svg("text", {
        x: fromClient ? left - 8 : right + 8, y: y1 + 4, "text-anchor": fromClient ? "end" : "start",
      }, node);
      words.textContent = fit(narrow ? brief(arrow) : arrow.label, margin - (narrow ? 12 : 84));
      if (!narrow) {
        const when = svg("text", {
          class: "when", x: fromClient ? 0 : width, y: y1 + 4, "text-anchor": fromClient ? "start" : "end",
        }, node);
        when.textContent = ms(arrow.sent !== null ? arrow.sent : arrow.came);
      }
      svg("title", {}, node).textContent = arrow.label + (arrow.lost ? ": lost" : "");
      groups.push(node);
    });
    host.replaceChildren(picture);
    showLadder();
  }

  const brief = (arrow) => {
    if (arrow.kind === "DATA") return "DATA " + arrow.fields.packet;
    if (arrow.kind === "ACK") return "ACK …" + arrow.fields.acked[0][1];
    if (arrow.kind === "PLAIN_CHUNK") return arrow.label;
    return arrow.kind === "PLAIN_REQUEST" ? "request" : arrow.kind;
  };
  const meter = document.createElement("canvas").getContext("2d");
  function fit(text, room) {
    meter.font = "12px system-ui, sans-serif";
    if (meter.measureText(text).width <= room) return text;
    while (text.length > 1 && meter.measureText(text + "…").width > room) text = text.slice(0, -1);
    return text + "…";
  }

  function showLadder() {
    groups.forEach((node, index) => {
      node.classList.toggle("chosen", index === chosen);
      node.classList.toggle("later", sentAt(arrows[index]) > now);
    });
  }

  // ------------------------------------------------------------------------------------ details
  function choose(index, scroll = true) {
    if (!arrows.length) return;
    chosen = Math.max(0, Math.min(arrows.length - 1, index));
    const arrow = arrows[chosen];
    if (playing === null && now < end) now = Math.max(now, sentAt(arrow));
    const box = $("detail");
    box.replaceChildren();
    html("h2", `${chosen + 1}. ${arrow.label}${arrow.lost ? ": lost" : ""}`, box);
    const list = html("dl", null, box);
    const row = (name, value) => {
      const pair = html("div", null, list);
      html("dt", name, pair);
      html("dd", value, pair);
    };
    row("from", arrow.from);
    row("sent", arrow.sent === null ? "not seen" : ms(arrow.sent));
    row("arrived", arrow.lost ? "never" : arrow.came === null ? "not seen" : ms(arrow.came));
    if (arrow.length) row("length", arrow.length + " bytes");
    for (const key in arrow.fields) {
      const value = arrow.fields[key];
      row(key.replaceAll("_", " "), Array.isArray(value) ? value.map((one) => one.join(" to ")).join(", ") : String(value));
    }
    if (arrow.data) html("pre", dump(arrow.data), box).tabIndex = 0;
    showLadder();
    showClock();
    if (scroll && groups[chosen]) groups[chosen].scrollIntoView({ block: "center", behavior: "auto" });
  }
  function dump(hex) {
    const lines = [];
    for (let at = 0; at < hex.length; at += 32) {
      const bytes = hex.slice(at, at + 32).match(/../g);
      const text = bytes.map((one) => { const code = parseInt(one, 16); return code > 31 && code < 127 ? String.fromCharCode(code) : "."; });
      lines.push((at / 2).toString(16).padStart(4, "0") + "  " + bytes.join(" ").padEnd(48) + " " + text.join(""));
    }
    return lines.join("\n");
  }

  // ------------------------------------------------------------------------------------- charts
  const PAD = { left: 62, right: 10, top: 6, bottom: 18 };
  const figure = (column) => trace.figures.filter((one) => one[column] !== null && one[column] !== undefined).map((one) => [one[0], one[column]]);
  function rates() {
    const bins = 200, span = view[1] - view[0], sums = new Float64Array(bins + 1);
    for (const [at, , , , bytes] of trace.bursts) {
      if (at >= view[0] && at <= view[1]) sums[Math.floor(((at - view[0]) / span) * bins)] += bytes;
    }
    sums[bins - 1] += sums[bins];
    return Array.from(sums.subarray(0, bins), (sum, bin) => [view[0] + ((bin + 0.5) * span) / bins, (sum / (span / bins)) * 1000]);
  }
  const last = (list, column) => list.reduce((top, one) => Math.max(top, one[column]), 0);
  const PANELS = [
    {
      name: "Chunks", unit: "", height: 220, top: Math.max(1, last(trace.bursts, 2)),
      words: `Chunk numbers over time: ${trace.bursts.length} bursts, ${trace.lost.length} runs lost.`,
      series: [
        { name: trace.sides.includes(trace.sender) ? "sent" : "arrived", key: "a", spans: trace.bursts.filter((one) => !one[3]) },
        { name: trace.sides.includes(trace.sender) ? "sent again" : "filled in", key: "again", spans: trace.bursts.filter((one) => one[3]) },
        { name: "found lost", key: "lost", spans: trace.lost },
        { name: "acknowledged", key: "c", line: trace.acked },
      ],
    },
    { name: "Rate", unit: "B/s", height: 110, words: "Rate of data over time.", series: [
      { name: "data", key: "a", line: [], make: () => (trace.bursts.length ? rates() : []) },
      { name: "pacing", key: "b", line: figure(3).map((one) => [one[0], one[1] / 8]) } ] },
    { name: "Window", unit: "B", height: 110, words: "Congestion window and bytes in flight over time.", series: [
      { name: "congestion window", key: "b", line: figure(1) }, { name: "in flight", key: "a", line: figure(2) } ] },
    { name: "Round trip", unit: "ms", height: 110, words: "Round trip over time.", series: [
      { name: "latest", key: "a", line: figure(4) }, { name: "smallest", key: "c", line: figure(5) } ] },
  ];

  const x = (at, width) => PAD.left + ((at - view[0]) / (view[1] - view[0])) * (width - PAD.left - PAD.right);
  function within(points) {
    let low = 0, high = points.length;
    while (low < high) { const mid = (low + high) >> 1; if (points[mid][0] < view[0]) low = mid + 1; else high = mid; }
    let stop = low;
    while (stop < points.length && points[stop][0] <= view[1]) stop++;
    return [Math.max(0, low - 1), Math.min(points.length, stop + 1)];
  }

  function drawCharts() {
    const host = $("charts");
    const width = Math.max(300, host.clientWidth);
    host.replaceChildren();
    let drawn = 0;
    for (const panel of PANELS) {
      for (const one of panel.series) if (one.make) one.line = one.make();
      const series = panel.series.filter((one) => (one.line || one.spans).length);
      if (!series.length) continue;
      drawn++;
      const box = html("figure", null, host);
      const caption = html("figcaption", null, box);
      html("span", panel.name, caption);
      for (const one of series) {
        const key = html("span", null, caption);
        key.className = "key " + one.key;
        html("i", null, key);
        key.append(one.name);
      }
      const height = panel.height + PAD.top + PAD.bottom;
      const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img" }, box);
      svg("title", {}, picture).textContent = panel.words;
      let top = panel.top || 0;
      if (!panel.top) for (const one of series) { const [from, to] = within(one.line); for (let at = from; at < to; at++) top = Math.max(top, one.line[at][1]); }
      let low = 0;
      if (panel.top && view[1] - view[0] < end) [low, top] = chunksInView() || [0, top];
      top = Math.max(top, low + 1);
      const y = (value) => PAD.top + panel.height * (1 - (value - low) / ((top - low) * 1.05));
      axes(picture, width, panel, low, top, y);
      const clip = "clip" + drawn;
      svg("rect", { x: PAD.left, y: PAD.top, width: width - PAD.left - PAD.right, height: panel.height }, svg("clipPath", { id: clip }, svg("defs", {}, picture)));
      for (const one of series) {
        const d = one.spans ? spanPath(one.spans, width, y) : linePath(one.line, width, y);
        if (d) svg("path", { class: one.key, d, "clip-path": `url(#${clip})` }, picture);
      }
      svg("line", { class: "cursor", y1: PAD.top, y2: PAD.top + panel.height }, picture);
    }
    if (trace.phases.length) phases(host, width);
    if (!drawn) html("p", "This trace has no data packets to draw.", host);
    showCursor();
  }
  function chunksInView() {
    const [from, to] = within(trace.bursts);
    let low = Infinity, high = 0;
    for (let at = from; at < to; at++) { low = Math.min(low, trace.bursts[at][1]); high = Math.max(high, trace.bursts[at][2]); }
    return low < high ? [low, high] : null;
  }
  function axes(picture, width, panel, low, top, y) {
    const raw = (top - low) / 3, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
    for (let value = Math.ceil(low / step) * step; value <= low + (top - low) * 1.05; value += step) {
      svg("line", { class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }, picture);
      svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, picture).textContent = short(value) + panel.unit;
    }
    svg("rect", { class: "frame", x: PAD.left, y: PAD.top, width: width - PAD.left - PAD.right, height: panel.height }, picture);
    const count = width < 640 ? 2 : 5;
    for (let at = 0; at <= count; at++) {
      const when = view[0] + ((view[1] - view[0]) * at) / count;
      svg("text", {
        x: x(when, width), y: PAD.top + panel.height + 14,
        "text-anchor": at === 0 ? "start" : at === count ? "end" : "middle",
      }, picture).textContent = ms(when);
    }
  }
  // One column of the picture has one stroke, however many points fall into it.
  function spanPath(points, width, y) {
    const [from, to] = within(points);
    let d = "", column = -1, low = 0, high = 0;
    const put = () => { if (column >= 0) d += `M${column} ${(y(low) + 0.7).toFixed(1)}V${(y(high) - 0.7).toFixed(1)}`; };
    for (let at = from; at < to; at++) {
      const here = Math.round(x(points[at][0], width));
      if (here !== column || points[at][1] > high + 1 || points[at][2] < low - 1) { put(); column = here; low = points[at][1]; high = points[at][2]; }
      else { low = Math.min(low, points[at][1]); high = Math.max(high, points[at][2]); }
    }
    put();
    return d;
  }
  function linePath(points, width, y) {
    const [from, to] = within(points);
    let d = "", column = -1, low = 0, high = 0, closing = 0;
    const put = () => { if (column >= 0) d += `${d ? "L" : "M"}${column} ${y(low).toFixed(1)}${low !== high ? `V${y(high).toFixed(1)}V${y(closing).toFixed(1)}` : ""}`; };
    for (let at = from; at < to; at++) {
      const here = Math.round(x(points[at][0], width)), value = points[at][1];
      if (here !== column) { put(); column = here; low = high = value; }
      else { low = Math.min(low, value); high = Math.max(high, value); }
      closing = value;
    }
    put();
    return d;
  }
  function phases(host, width) {
    const box = html("figure", null, host);
    html("figcaption", "Phase of the controller", box);
    const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} 34`, height: 34, role: "img" }, box);
    svg("title", {}, picture).textContent = "Phases: " + trace.phases.slice(0, 40).map((one) => `${one[1]} from ${ms(one[0])}`).join(", ");
    trace.phases.forEach(([at, name], index) => {
      const until = index + 1 < trace.phases.length ? trace.phases[index + 1][0] : end;
      if (until < view[0] || at > view[1]) return;
      const from = Math.max(PAD.left, x(at, width)), to = Math.min(width - PAD.right, x(until, width));
      if (to - from < 0.5) return;
      svg("rect", { class: "band" + (index % 2 ? " odd" : ""), x: from, y: 4, width: to - from, height: 24 }, picture);
      const word = name.replaceAll("_", " ");
      if (to - from > 7 * word.length) svg("text", { class: "bandname", x: from + 4, y: 20 }, picture).textContent = word;
    });
    svg("line", { class: "cursor", y1: 4, y2: 28 }, picture);
  }
  function showCursor() {
    const width = Math.max(300, $("charts").clientWidth);
    for (const line of document.querySelectorAll("#charts .cursor")) {
      const at = x(now, width), seen = now < end && at >= PAD.left && at <= width - PAD.right;
      line.setAttribute("visibility", seen ? "visible" : "hidden");
      line.setAttribute("x1", at);
      line.setAttribute("x2", at);
    }
  }

  // --------------------------------------------------------------------------- zoom, pan, play
  const onCharts = () => !$("charts").hidden;
  function zoom(factor, about = (view[0] + view[1]) / 2) {
    const span = Math.min(end, Math.max(end / 1e5, (view[1] - view[0]) * factor));
    const share = (about - view[0]) / (view[1] - view[0]);
    move(about - share * span, span);
  }
  function move(start, span = view[1] - view[0]) {
    const from = Math.max(0, Math.min(end - span, start));
    view = [from, from + span];
    drawCharts();
    showClock();
  }
  function showClock() {
    const what = onCharts() && view[1] - view[0] < end ? `${ms(view[0])} to ${ms(view[1])}` : now < end ? ms(now) : `${ms(end)} in all`;
    $("clock").textContent = !onCharts() && chosen >= 0 ? `${chosen + 1} of ${arrows.length}` : what;
  }
  function stop() {
    if (playing !== null) cancelAnimationFrame(playing);
    playing = null;
    $("play").textContent = "Play";
    $("play").setAttribute("aria-pressed", "false");
  }
  function play() {
    if (playing !== null) return stop();
    $("play").textContent = "Pause";
    $("play").setAttribute("aria-pressed", "true");
    if (now >= end) now = 0;
    const lastShown = arrows.length ? Math.max(...arrows.map(cameAt)) : end;
    const target = onCharts() ? end : Math.min(end, lastShown + 0.001);
    const seconds = Math.min(20, Math.max(4, arrows.length / 12));
    let before = null;
    const turn = (stamp) => {
      if (before !== null) now += ((stamp - before) / 1000 / seconds) * target;
      before = stamp;
      if (now >= target) { now = end; stop(); } else playing = requestAnimationFrame(turn);
      let index = -1;
      arrows.forEach((arrow, at) => { if (sentAt(arrow) <= now) index = at; });
      if (!onCharts() && index >= 0 && index !== chosen && playing !== null) choose(index);
      showLadder();
      showCursor();
      showClock();
    };
    playing = requestAnimationFrame(turn);
  }
  function step(by) {
    stop();
    if (onCharts()) {
      if (now >= end && by > 0) now = 0;
      now = Math.max(0, Math.min(end, (now >= end ? view[1] : now) + (by * (view[1] - view[0])) / 50));
      showCursor();
      showClock();
    } else {
      choose(chosen < 0 ? (by > 0 ? 0 : arrows.length - 1) : chosen + by);
      now = sentAt(arrows[chosen] || { sent: end });
      showLadder();
    }
  }

  function show(name) {
    stop();
    for (const one of ["ladder", "charts"]) {
      const on = one === name;
      $(one).hidden = !on;
      $("tab-" + one).setAttribute("aria-selected", on);
      $("tab-" + one).tabIndex = on ? 0 : -1;
    }
    $("in").hidden = $("out").hidden = name !== "charts";
    $("detail").hidden = name === "charts";
    if (name === "charts") drawCharts(); else drawLadder();
    showClock();
  }

  $("tab-ladder").onclick = () => show("ladder");
  $("tab-charts").onclick = () => show("charts");
  $("tabs").onkeydown = (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = onCharts() ? "ladder" : "charts";
    show(other);
    $("tab-" + other).focus();
    event.stopPropagation();
  };
  $("play").onclick = play;
  $("step").onclick = () => step(1);
  $("back").onclick = () => step(-1);
  $("in").onclick = () => zoom(0.5);
  $("out").onclick = () => zoom(2);
  $("all").onclick = () => { now = end; stop(); view = [0, end]; if (onCharts()) drawCharts(); showLadder(); showClock(); };
  $("rungs").onclick = (event) => {
    const node = event.target.closest(".arrow");
    if (node) choose(+node.dataset.index, false);
  };
  $("rungs").onmouseover = (event) => {
    const node = event.target.closest(".arrow");
    if (node && playing === null && matchMedia("(hover: hover)").matches) choose(+node.dataset.index, false);
  };
  $("charts").addEventListener("wheel", (event) => {
    const picture = event.target.closest(".chart");
    if (!picture || !(event.ctrlKey || event.shiftKey || event.altKey)) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event, picture));
  }, { passive: false });
  const timeAt = (event, picture) => {
    const box = picture.getBoundingClientRect();
    const share = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
    return view[0] + Math.max(0, Math.min(1, share)) * (view[1] - view[0]);
  };
  let dragged = null;
  const fingers = new Map();
  $("charts").onpointerdown = (event) => {
    const picture = event.target.closest(".chart");
    if (!picture) return;
    fingers.set(event.pointerId, event.clientX);
    dragged = { x: event.clientX, view: [...view], width: picture.getBoundingClientRect().width - PAD.left - PAD.right, moved: false,
      gap: fingers.size === 2 ? Math.abs([...fingers.values()][0] - [...fingers.values()][1]) : 0 };
  };
  window.addEventListener("pointermove", (event) => {
    if (!dragged || !fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event.clientX);
    if (fingers.size === 2 && dragged.gap) {
      const [one, other] = [...fingers.values()];
      const span = dragged.view[1] - dragged.view[0];
      const wanted = Math.min(end, Math.max(end / 1e5, span * dragged.gap / Math.max(20, Math.abs(one - other))));
      move((dragged.view[0] + dragged.view[1] - wanted) / 2, wanted);
      return;
    }
    if (Math.abs(event.clientX - dragged.x) > 3) dragged.moved = true;
    if (dragged.moved) move(dragged.view[0] - ((event.clientX - dragged.x) / dragged.width) * (dragged.view[1] - dragged.view[0]));
  });
  const release = (event) => {
    fingers.delete(event.pointerId);
    if (dragged && !dragged.moved && event.type === "pointerup") {
      const picture = event.target.closest ? event.target.closest(".chart") : null;
      if (picture) { now = timeAt(event, picture); showCursor(); showClock(); }
    }
    if (!fingers.size) dragged = null;
  };
  window.addEventListener("pointerup", release);
  window.addEventListener("pointercancel", release);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.closest && event.target.closest("button, summary");
    if (event.key === " " && !onButton) play();
    else if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
    else if (event.key === "Home") { onCharts() ? move(0) : choose(0); }
    else if (event.key === "End") { onCharts() ? move(end) : choose(arrows.length - 1); }
    else if (event.key === "+" || event.key === "=") { if (onCharts()) zoom(0.5); }
    else if (event.key === "-") { if (onCharts()) zoom(2); }
    else if (event.key === "0") $("all").click();
    else if (event.key === "PageUp" && onCharts()) move(view[0] - (view[1] - view[0]) / 2);
    else if (event.key === "PageDown" && onCharts()) move(view[0] + (view[1] - view[0]) / 2);
    else return;
    event.preventDefault();
  });

  // --------------------------------------------------------------------------------- in words
  function drawTable() {
    const table = html("table", null, $("table"));
    html("caption", "Packets in the order of time", table);
    const head = html("tr", null, html("thead", null, table));
    for (const name of ["", "from", "packet", "sent", "arrived", "bytes"]) html("th", name, head).scope = "col";
    const body = html("tbody", null, table);
    arrows.forEach((arrow, index) => {
      const row = html("tr", null, body);
      html("td", index + 1, row).className = "n";
      html("td", arrow.from, row);
      html("td", arrow.label, row);
      html("td", arrow.sent === null ? "" : ms(arrow.sent), row).className = "n";
      html("td", arrow.lost ? "lost" : arrow.came === null ? "" : ms(arrow.came), row).className = "n";
      html("td", arrow.length || "", row).className = "n";
    });
  }
  $("words").addEventListener("toggle", () => { if (!$("table").firstChild) drawTable(); });

  if (trace.sides.length < 2) $("note").textContent =
    `This is what the ${trace.sides[0]} saw. When a packet left or reached the other end is a guess (dashed): half a round trip, ${ms(trace.one_way)}.`;
  if (trace.stopped.length) $("note").textContent += " The trace was stopped by its limit before the end.";
  if (trace.more) $("more").textContent = `The ladder shows the first ${arrows.length} packets; ${trace.more.toLocaleString("en")} more are in the charts.`;
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => (onCharts() ? drawCharts() : drawLadder()), 100); });
  window.addEventListener("beforeprint", () => { $("ladder").hidden = $("charts").hidden = false; drawLadder(); drawCharts(); });
  window.addEventListener("afterprint", () => show("ladder"));
  show(trace.more || !arrows.length ? "charts" : "ladder");
  document.documentElement.dataset.drawn = "yes";
})();
