// The lanes of a run on a canvas. The data is columns of marks in the order of time, spans, faults, and the chain.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const GUTTER = 190, AXIS = 26, LANE = 24, ROW = 16, FOLDED = 16, PAD = 4;
const KINDS = ["write", "read", "shown", "failed", "said", "process", "runtime", "stored", "broken", "fault"];
const M = data.marks, N = M.at.length;
const end = Math.max(data.lasted, 1);
const view = { from: 0, to: end, top: 0 };
let palette = {}, shown = null, matching = N, hover = null, selected = null, dirty = true, folded = new Set(), layout = [], height = 0;

// ---- the data, by lane
const byLane = data.lanes.map(() => []);
for (let i = 0; i < N; i++) byLane[M.lane[i]].push(i);
const spansOf = data.lanes.map(() => []);
data.spans.forEach((span, i) => spansOf[span.lane].push(i));
const groups = [];
data.lanes.forEach((lane, i) => {
  const last = groups[groups.length - 1];
  if (last && last.name === lane.group) last.lanes.push(i); else groups.push({ name: lane.group, lanes: [i] });
});
groups.forEach(group => { group.marks = group.lanes.flatMap(lane => byLane[lane]).sort((a, b) => M.at[a] - M.at[b]); });
const children = new Map();
for (let i = 0; i < N; i++) if (M.from[i] >= 0) {
  if (!children.has(M.from[i])) children.set(M.from[i], []);
  children.get(M.from[i]).push(i);
}
const chainMarks = data.chain.filter(step => step.mark >= 0);
const stepOf = new Map(chainMarks.map((step, i) => [step.mark, i]));

function lowest(list, at) { // the first of a list of marks that is not before `at`
  let low = 0, high = list.length;
  while (low < high) { const mid = (low + high) >> 1; if (M.at[list[mid]] < at) low = mid + 1; else high = mid; }
  return low;
}

// ---- the layout: which rows there are, from the top
function arrange() {
  layout = []; let y = 0;
  for (const group of groups) {
    const head = group.name !== "";
    if (head) { layout.push({ head: true, group, y, h: FOLDED + 4 }); y += FOLDED + 4; }
    if (head && folded.has(group.name)) continue;
    for (const lane of group.lanes) {
      const info = data.lanes[lane];
      const h = info.kind === "pods" || info.kind === "faults" ? Math.max(info.rows, 1) * ROW + 2 * PAD : LANE;
      layout.push({ lane, group, y, h }); y += h;
    }
    y += 5;
  }
  height = y; dirty = true;
}
const rowOf = lane => layout.find(row => row.lane === lane) || layout.find(row => row.head && row.group.lanes.includes(lane));

// ---- drawing
const canvas = $("lanes"), pen = canvas.getContext("2d"), map = $("map"), mapPen = map.getContext("2d");
let width = 0, tall = 0;
function colours() {
  const style = getComputedStyle(document.documentElement);
  palette = new Proxy({}, { get: (cache, name) => cache[name] || (cache[name] = style.getPropertyValue("--" + String(name)).trim()) });
  dirty = true;
}
function resize() {
  const ratio = devicePixelRatio || 1;
  for (const one of [canvas, map]) {
    const box = one.getBoundingClientRect();
    one.width = Math.round(box.width * ratio); one.height = Math.round(box.height * ratio);
    one.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  width = canvas.clientWidth; tall = canvas.clientHeight; dirty = true;
}
const xOf = at => GUTTER + (at - view.from) / (view.to - view.from) * (width - GUTTER);
const atOf = x => view.from + (x - GUTTER) / (width - GUTTER) * (view.to - view.from);
const yOf = row => AXIS + row.y - view.top;
const visible = i => !shown || shown[i];
const colourOf = kind => palette[{ stored: "write", broken: "accent", fault: "faultline" }[KINDS[kind]] || KINDS[kind]];
const centre = i => {
  const row = rowOf(M.lane[i]); if (!row) return null;
  const place = M.row[i] >= 0 && !row.head ? PAD + M.row[i] * ROW + ROW / 2 : row.h / 2;
  return { x: xOf(M.at[i]), y: yOf(row) + place };
};
function clock(ms, step) {
  const s = ms / 1000;
  if (step >= 60000 && s >= 60) return `${Math.floor(s / 60)}:${String(Math.round(s % 60)).padStart(2, "0")} min`;
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step / 1000) - 1e-9)));
  return s.toFixed(digits) + " s";
}
const exact = ms => (ms / 1000).toFixed(6) + " s";
function ticks(space) {
  const raw = (view.to - view.from) / Math.max(space / 110, 1), power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map(f => f * power).find(step => step >= raw);
}
function short(text, room) {
  if (room < 20) return "";
  if (pen.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) { const mid = (low + high + 1) >> 1; if (pen.measureText(text.slice(0, mid) + "…").width <= room) low = mid; else high = mid - 1; }
  return low > 2 ? text.slice(0, low) + "…" : "";
}
function bar(x0, x1, y, h, colour) { pen.fillStyle = colour; pen.fillRect(x0, y, Math.max(x1 - x0, 1), h); }

function draw() {
  pen.fillStyle = palette.back; pen.fillRect(0, 0, width, tall);
  pen.save(); pen.beginPath(); pen.rect(0, AXIS, width, tall - AXIS); pen.clip();
  for (const row of layout) { // the ground
    const y = yOf(row); if (y > tall || y + row.h < AXIS) continue;
    bar(0, width, y, row.h, row.head ? palette.soft : palette.panel);
    pen.fillStyle = palette.line; pen.fillRect(0, y + row.h - 1, width, 1);
  }
  const step = ticks(width - GUTTER);
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) bar(xOf(at), xOf(at), AXIS, tall, palette.line);
  pen.beginPath(); pen.rect(GUTTER, AXIS, width - GUTTER, tall - AXIS); pen.clip();
  drawFaults();
  for (const row of layout) {
    const y = yOf(row); if (y > tall || y + row.h < AXIS) continue;
    if (row.head) { if (folded.has(row.group.name)) drawMarks(row.group.marks, row, y); }
    else { drawSpans(row, y); drawMarks(byLane[row.lane], row, y); }
  }
  bar(xOf(end), width, AXIS, tall, palette.soft);
  drawLines(); drawChain(); drawFocus(hover, false); drawFocus(selected, true);
  pen.restore();
  drawGutter(); drawAxis(step); drawScroll();
}
function drawFaults() {
  for (const fault of data.faults) {
    const x0 = xOf(fault.from), x1 = xOf(fault.until); if (x1 < GUTTER || x0 > width) continue;
    for (const row of layout) {
      if (row.head && !folded.has(row.group.name)) continue;
      const hit = fault.all || (row.head ? row.group.lanes : [row.lane]).some(lane => fault.lanes.includes(lane));
      if (hit) bar(x0, x1, yOf(row), row.h, palette.fault);
    }
  }
}
function drawSpans(row, y) {
  const kind = data.lanes[row.lane].kind;
  pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
  const rows = kind === "pods" || kind === "faults", h = rows ? ROW - 2 : row.h - 7;
  const topOf = span => rows ? y + PAD + span.row * ROW : y + 3, faint = i => shown && kind !== "faults" && !data.spanShown[i];
  for (const i of spansOf[row.lane]) {
    const span = data.spans[i], x0 = xOf(span.from), x1 = xOf(span.until); if (x1 < GUTTER || x0 > width) continue;
    pen.globalAlpha = faint(i) ? .18 : 1;
    bar(x0, x1, topOf(span), h, palette[span.kind]);
  }
  for (const i of spansOf[row.lane]) { // names last: a pod's goes over all of its states
    const span = data.spans[i], from = Math.max(xOf(span.from), GUTTER) + 4, until = Math.min(xOf(span.whole), width);
    if (until < GUTTER || from > width || (rows && !span.label)) continue;
    const name = rows ? span.label : span.kind === "down" ? "down" : span.kind === "paused" ? "stands still" : span.text;
    const text = short(name, until - from - 3); if (!text) continue;
    pen.globalAlpha = faint(i) ? .18 : 1; pen.fillStyle = span.kind === "down" ? "#fff" : palette.text;
    pen.fillText(text, from, topOf(span) + h / 2 + .5);
  }
  pen.globalAlpha = 1;
}
function drawMarks(list, row, y) {
  // One mark a pixel and kind is enough for the eye; this is what keeps a hundred thousand events fluid.
  const wide = 40, first = lowest(list, atOf(GUTTER - wide) - data.longest), last = lowest(list, atOf(width + wide));
  const drawn = new Int32Array(KINDS.length * 2).fill(-9), dense = last - first > width * 3;
  const middle = y + row.h / 2;
  for (let k = first; k < last; k++) {
    const i = list[k]; const kind = M.kind[i], on = visible(i) ? 0 : 1;
    const x = xOf(M.at[i]), pixel = x | 0, place = kind * 2 + on;
    const until = M.until[i] > M.at[i] ? xOf(M.until[i]) : x;
    if (until < GUTTER - wide) continue;
    if (drawn[place] === pixel && until - x < 1.5 && M.row[i] < 0) continue;
    drawn[place] = pixel;
    pen.globalAlpha = on ? .1 : dense ? .75 : 1;
    const colour = colourOf(kind), cy = M.row[i] >= 0 && !row.head ? y + PAD + M.row[i] * ROW + ROW / 2 : middle;
    switch (KINDS[kind]) {
      case "shown": bar(x, x + 1.5, middle + 2, row.head ? 4 : 8, colour); break;
      case "read": bar(x, Math.max(until, x + 1.5), middle - 4, 3, colour); break;
      case "write": case "failed": bar(x, Math.max(until, x + 2), middle - 8, 7, colour); break;
      case "said": pen.fillStyle = colour; pen.beginPath(); pen.moveTo(x, middle - 9); pen.lineTo(x + 4, middle - 2); pen.lineTo(x - 4, middle - 2); pen.fill(); break;
      case "broken": case "process": bar(x - 1, x + 1.5, y + 2, row.h - 5, colour); break;
      case "runtime": bar(x - .5, x + 1.5, cy - 5, 9, colour); break;
      case "fault": break;
      default: pen.fillStyle = colour; pen.beginPath(); pen.arc(x, middle, row.head ? 2 : 3, 0, 7); pen.fill();
    }
  }
  pen.globalAlpha = 1;
}
function drawLines() {
  for (const line of data.lines) {
    const x = xOf(line.at); if (x < GUTTER || x > width) continue;
    pen.strokeStyle = palette[line.kind]; pen.setLineDash(line.kind === "accent" ? [] : [4, 4]); pen.lineWidth = line.kind === "accent" ? 2 : 1;
    pen.beginPath(); pen.moveTo(x, AXIS); pen.lineTo(x, tall); pen.stroke(); pen.setLineDash([]);
  }
}
function arrow(a, b, colour, thick) {
  if (!a || !b) return;
  if (Math.max(a.x, b.x) < GUTTER || Math.min(a.x, b.x) > width) return;
  const bend = Math.max(Math.min(Math.abs(b.x - a.x) / 2, 90), 14);
  pen.strokeStyle = colour; pen.fillStyle = colour; pen.lineWidth = thick;
  pen.beginPath(); pen.moveTo(a.x, a.y); pen.bezierCurveTo(a.x + bend, a.y, b.x - bend, b.y, b.x - 6, b.y); pen.stroke();
  pen.beginPath(); pen.moveTo(b.x - 1, b.y); pen.lineTo(b.x - 9, b.y - 4); pen.lineTo(b.x - 9, b.y + 4); pen.fill();
}
function drawChain() {
  const points = chainMarks.map(step => centre(step.mark));
  for (let k = 1; k < points.length; k++) arrow(points[k - 1], points[k], palette.chain, 2.2);
  pen.font = "bold 10px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
  let lastX = -99, lastY = -99;
  points.forEach((point, k) => {
    if (!point) return;
    pen.fillStyle = palette.chain; pen.beginPath(); pen.arc(point.x, point.y, 5, 0, 7); pen.fill();
    pen.strokeStyle = palette.panel; pen.lineWidth = 1.5; pen.stroke();
    if (Math.hypot(point.x - lastX, point.y - lastY) < 15) return;
    lastX = point.x; lastY = point.y;
    pen.fillStyle = palette.chain; pen.beginPath(); pen.arc(point.x, point.y, 8, 0, 7); pen.fill();
    pen.fillStyle = palette.panel; pen.fillText(String(k + 1), point.x, point.y + .5);
  });
  pen.textAlign = "left";
}
function ancestry(i) {
  const found = []; const met = new Set([i]);
  while (M.from[i] >= 0 && !met.has(M.from[i]) && found.length < 40) { found.push([M.from[i], i]); i = M.from[i]; met.add(i); }
  return found;
}
function drawFocus(what, firm) {
  if (!what) return;
  if (what.mark !== undefined) {
    for (const [a, b] of ancestry(what.mark)) arrow(centre(a), centre(b), palette.select, firm ? 1.6 : 1);
    for (const child of (children.get(what.mark) || []).slice(0, 60)) { pen.globalAlpha = .55; arrow(centre(what.mark), centre(child), palette.shown, 1); pen.globalAlpha = 1; }
    const point = centre(what.mark); if (!point) return;
    pen.strokeStyle = palette.select; pen.lineWidth = 2; pen.beginPath(); pen.arc(point.x, point.y, firm ? 9 : 7, 0, 7); pen.stroke();
  } else if (what.span !== undefined) {
    const span = data.spans[what.span], row = layout.find(row => row.lane === span.lane); if (!row) return;
    const rows = ["pods", "faults"].includes(data.lanes[span.lane].kind);
    pen.strokeStyle = palette.select; pen.lineWidth = 1.5;
    pen.strokeRect(xOf(span.from), yOf(row) + (rows ? PAD + span.row * ROW : 3), xOf(span.until) - xOf(span.from), rows ? ROW - 2 : row.h - 7);
  }
}
function drawGutter() {
  pen.save(); pen.beginPath(); pen.rect(0, AXIS, GUTTER, tall - AXIS); pen.clip();
  pen.textBaseline = "middle";
  for (const row of layout) {
    const y = yOf(row); if (y > tall || y + row.h < AXIS) continue;
    bar(0, GUTTER, y, row.h, row.head ? palette.soft : palette.panel);
    pen.fillStyle = palette.line; pen.fillRect(0, y + row.h - 1, GUTTER, 1);
    pen.fillStyle = row.head ? palette.text : palette.dim;
    pen.font = row.head ? "600 12px system-ui, sans-serif" : "12px system-ui, sans-serif";
    const label = row.head ? `${folded.has(row.group.name) ? "▸" : "▾"} ${row.group.name}` : data.lanes[row.lane].name;
    pen.fillText(short(label, GUTTER - 26), row.head ? 8 : 20, y + Math.min(row.h, LANE) / 2);
  }
  pen.fillStyle = palette.line; pen.fillRect(GUTTER - 1, AXIS, 1, tall);
  pen.restore();
}
function drawAxis(step) {
  bar(0, width, 0, AXIS, palette.panel); pen.fillStyle = palette.line; pen.fillRect(0, AXIS - 1, width, 1);
  pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
  const taken = [];
  for (const line of data.lines) {
    const x = xOf(line.at); if (x < GUTTER || x > width) continue;
    pen.font = "600 11px system-ui, sans-serif"; const w = pen.measureText(line.text).width + 10, left = Math.min(Math.max(x - w / 2, GUTTER), width - w - 2);
    taken.push([left, left + w]); pen.fillStyle = palette[line.kind]; pen.fillText(line.text, left + 5, AXIS / 2);
  }
  pen.font = "11px system-ui, sans-serif";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const x = xOf(at), text = clock(at, step), until = x + 6 + pen.measureText(text).width; if (x < GUTTER) continue;
    pen.fillStyle = palette.line; pen.fillRect(x, AXIS - 6, 1, 5);
    if (until < width && !taken.some(([a, b]) => until > a && x < b)) { pen.fillStyle = palette.dim; pen.fillText(text, x + 4, AXIS / 2 - 1); }
  }
  const range = view.to - view.from;
  pen.font = "11px system-ui, sans-serif"; pen.fillStyle = palette.dim; pen.fillText(`${clock(range, range / 100)} in view`, 10, AXIS / 2);
}
function drawScroll() {
  const room = tall - AXIS; if (height <= room) return;
  const h = Math.max(room * room / height, 24), y = AXIS + view.top / (height - room) * (room - h);
  pen.globalAlpha = .5; bar(width - 7, width - 2, y, h, palette.dim); pen.globalAlpha = 1;
}
function drawMap() {
  const w = map.clientWidth, h = map.clientHeight, x = at => at / end * w;
  mapPen.fillStyle = palette.panel; mapPen.fillRect(0, 0, w, h);
  for (const fault of data.faults) { mapPen.fillStyle = palette.fault; mapPen.fillRect(x(fault.from), 0, Math.max(x(fault.until) - x(fault.from), 1), h); }
  const bins = new Float64Array(Math.max(w | 0, 1)); const bad = new Uint8Array(bins.length);
  for (let i = 0; i < N; i++) if (visible(i)) { const b = Math.min(x(M.at[i]) | 0, bins.length - 1); bins[b]++; if (KINDS[M.kind[i]] === "failed") bad[b] = 1; }
  const most = Math.max(...bins, 1);
  bins.forEach((count, b) => { if (count) { const tallness = Math.max(Math.sqrt(count / most) * (h - 10), 2); mapPen.fillStyle = bad[b] ? palette.failed : palette.read; mapPen.fillRect(b, h - tallness, 1, tallness); } });
  chainMarks.forEach(step => { mapPen.fillStyle = palette.chain; mapPen.beginPath(); mapPen.arc(x(M.at[step.mark]), 7, 3, 0, 7); mapPen.fill(); });
  mapPen.fillStyle = palette.back; mapPen.globalAlpha = .6; mapPen.fillRect(0, 0, x(view.from), h); mapPen.fillRect(x(view.to), 0, w, h); mapPen.globalAlpha = 1;
  mapPen.strokeStyle = palette.select; mapPen.lineWidth = 1.5; mapPen.strokeRect(x(view.from) + .75, .75, Math.max(x(view.to) - x(view.from) - 1.5, 2), h - 1.5);
}
function frame() { if (dirty) { dirty = false; draw(); drawMap(); } requestAnimationFrame(frame); }

// ---- moving about
function look(from, to) {
  const least = 0.02, range = Math.min(Math.max(to - from, least), end * 1.04), low = -end * .02;
  if (to - from < least) from = (from + to - least) / 2;
  view.from = Math.max(low, Math.min(from, end * 1.02 - range)); view.to = view.from + range; dirty = true;
}
function zoom(factor, at = (view.from + view.to) / 2) { look(at - (at - view.from) * factor, at + (view.to - at) * factor); }
function pan(share) { const by = (view.to - view.from) * share; look(view.from + by, view.to + by); }
function scroll(by) { view.top = Math.max(0, Math.min(view.top + by, height - (tall - AXIS))); dirty = true; }
function toChain() {
  if (!chainMarks.length) return look(0, end);
  const times = chainMarks.map(step => M.at[step.mark]).concat(data.lines.filter(line => line.kind === "accent").map(line => line.at));
  const low = Math.min(...times), high = Math.max(...times), pad = Math.max((high - low) * .12, 5);
  look(low - pad, high + pad); reveal(chainMarks[0].mark);
}
function reveal(i) {
  const group = groups.find(group => group.lanes.includes(M.lane[i]));
  if (group && folded.delete(group.name)) arrange();
  const row = rowOf(M.lane[i]); if (!row) return;
  const y = yOf(row); if (y < AXIS + 10) scroll(y - AXIS - 30); else if (y + row.h > tall - 10) scroll(y + row.h - tall + 30);
}
function select(what, move) {
  selected = what; dirty = true;
  document.querySelectorAll("#story li").forEach(li => li.classList.toggle("on", !!what && what.mark !== undefined && +li.dataset.mark === what.mark));
  if (what && move) {
    const at = M.at[what.mark];
    if (at < view.from || at > view.to) { const half = (view.to - view.from) / 2; look(at - half, at + half); }
    reveal(what.mark);
  }
  details();
}
function details() {
  const box = $("details"); box.replaceChildren();
  if (!selected) { const hint = document.createElement("p"); hint.className = "hint"; hint.textContent = "Select an event to see what it rests on and what it led to."; box.append(hint); return; }
  const list = document.createElement("dl");
  const add = (name, text) => { const dt = document.createElement("dt"), dd = document.createElement("dd"); dt.textContent = name; dd.textContent = text; list.append(dt, dd); };
  if (selected.mark !== undefined) {
    const i = selected.mark;
    add("when", exact(M.at[i]) + (M.until[i] > M.at[i] ? `, for ${(M.until[i] - M.at[i]).toFixed(2)} ms` : ""));
    add("where", data.lanes[M.lane[i]].name); add("what", M.text[i]);
    const roots = ancestry(i); if (roots.length) { roots.slice(0, 8).forEach(([a], k) => add(k ? "" : "rests on", `${exact(M.at[a])}  ${M.text[a]}`)); if (roots.length > 8) add("", `and ${roots.length - 8} earlier`); }
    const after = children.get(i) || []; after.slice(0, 8).forEach((b, k) => add(k ? "" : "led to", `${exact(M.at[b])}  ${M.text[b]}`)); if (after.length > 8) add("", `and ${after.length - 8} more`);
  } else {
    const span = data.spans[selected.span];
    add("from", exact(span.from)); add("until", exact(span.until)); add("where", data.lanes[span.lane].name); add("what", span.text);
  }
  const title = document.createElement("h2"); title.textContent = "Selected"; box.append(title, list);
}
function at(x, y) {
  if (x < GUTTER || y < AXIS) return null;
  const row = layout.find(row => y >= yOf(row) && y < yOf(row) + row.h); if (!row) return null;
  let best = null, near = 8;
  const near2 = (i) => { const point = centre(i); const d = Math.hypot(point.x - x, (point.y - y) / 2); const inside = M.until[i] > M.at[i] && x >= point.x && x <= xOf(M.until[i]); return inside ? Math.min(d, 3) : d; };
  for (const step of chainMarks) { const point = centre(step.mark); if (point && Math.hypot(point.x - x, point.y - y) < 9) return { mark: step.mark }; }
  const list = row.head ? (folded.has(row.group.name) ? row.group.marks : []) : byLane[row.lane];
  const range = (view.to - view.from) / (width - GUTTER) * 10;
  for (let k = lowest(list, atOf(x) - range - data.longest), looked = 0; k < list.length && M.at[list[k]] <= atOf(x) + range && looked < 20000; k++, looked++) {
    const i = list[k]; if (!visible(i)) continue;
    const d = near2(i) - ({ write: 2, stored: 2, failed: 2 }[KINDS[M.kind[i]]] || 0); if (d < near) { near = d; best = { mark: i }; }
  }
  if (best || row.head) return best;
  const info = data.lanes[row.lane], rows = info.kind === "pods" || info.kind === "faults", when = atOf(x);
  const slot = rows ? Math.floor((y - yOf(row) - PAD) / ROW) : -1;
  const found = spansOf[row.lane].find(i => (slot < 0 || data.spans[i].row === slot) && data.spans[i].from <= when && when <= data.spans[i].until);
  return found === undefined ? null : { span: found };
}
const same = (a, b) => (a && a.mark) === (b && b.mark) && (a && a.span) === (b && b.span);
function showTip(x, y) {
  const tip = $("tip"); if (!hover) { tip.hidden = true; return; }
  const [when, text] = hover.mark !== undefined ? [exact(M.at[hover.mark]), M.text[hover.mark]] : [`${exact(data.spans[hover.span].from)} – ${exact(data.spans[hover.span].until)}`, data.spans[hover.span].text];
  const stamp = document.createElement("span"); stamp.className = "at"; stamp.textContent = when;
  tip.replaceChildren(stamp, document.createElement("br"), text); tip.hidden = false;
  const left = Math.min(x + 14, width - tip.offsetWidth - 8), below = y + 18 + map.clientHeight;
  tip.style.left = Math.max(left, 4) + "px"; tip.style.top = (below + tip.offsetHeight > map.clientHeight + tall ? y + map.clientHeight - tip.offsetHeight - 10 : below) + "px";
}
function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) { shown = null; data.spanShown = null; $("matches").textContent = ""; dirty = true; return; }
  shown = new Uint8Array(N); matching = 0;
  for (let i = 0; i < N; i++) { const hay = (M.text[i] + " " + data.lanes[M.lane[i]].name).toLowerCase(); if (words.every(word => hay.includes(word))) { shown[i] = 1; matching++; } }
  data.spanShown = data.spans.map(span => words.every(word => (span.text + " " + data.lanes[span.lane].name).toLowerCase().includes(word)));
  $("matches").textContent = `${matching} of ${N}`; dirty = true;
}
function walk(by) {
  if (!chainMarks.length) return;
  const now = selected && stepOf.has(selected.mark) ? stepOf.get(selected.mark) : by > 0 ? -1 : chainMarks.length;
  const next = Math.max(0, Math.min(now + by, chainMarks.length - 1)); select({ mark: chainMarks[next].mark }, true);
}
function along(by) {
  const i = selected && selected.mark !== undefined ? selected.mark : hover && hover.mark; if (i === undefined || i === null) return;
  const list = byLane[M.lane[i]]; let k = list.indexOf(i) + by;
  while (k >= 0 && k < list.length && !visible(list[k])) k += by;
  if (k >= 0 && k < list.length) select({ mark: list[k] }, true);
}

// ---- the pointer and the keys
let drag = null;
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : 1;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) * unit / width);
  else if (event.offsetX < GUTTER) scroll(event.deltaY * unit);
  else zoom(Math.exp(Math.max(-300, Math.min(event.deltaY * unit, 300)) * .0022), atOf(event.offsetX));
}, { passive: false });
canvas.addEventListener("pointerdown", event => { drag = { x: event.offsetX, y: event.offsetY, from: view.from, to: view.to, top: view.top, moved: false }; canvas.setPointerCapture(event.pointerId); canvas.classList.add("drag"); });
canvas.addEventListener("pointermove", event => {
  if (drag) {
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 3) drag.moved = true;
    if (drag.moved) { const by = dx / (width - GUTTER) * (drag.to - drag.from); look(drag.from - by, drag.to - by); view.top = drag.top; scroll(-dy); hover = null; showTip(); }
    return;
  }
  const found = at(event.offsetX, event.offsetY);
  if (!same(found, hover)) { hover = found; dirty = true; }
  showTip(event.offsetX, event.offsetY);
});
canvas.addEventListener("pointerup", event => {
  canvas.classList.remove("drag"); const clicked = drag && !drag.moved; drag = null; if (!clicked) return;
  if (event.offsetX < GUTTER) {
    const row = layout.find(row => row.head && event.offsetY >= yOf(row) && event.offsetY < yOf(row) + row.h);
    if (row) { if (!folded.delete(row.group.name)) folded.add(row.group.name); arrange(); scroll(0); }
  } else select(at(event.offsetX, event.offsetY), false);
});
canvas.addEventListener("pointerleave", () => { if (hover) { hover = null; dirty = true; } $("tip").hidden = true; });
const jump = event => { const middle = event.offsetX / map.clientWidth * end, half = (view.to - view.from) / 2; look(middle - half, middle + half); };
map.addEventListener("pointerdown", event => { map.setPointerCapture(event.pointerId); jump(event); });
map.addEventListener("pointermove", event => { if (event.buttons) jump(event); });
function turn() {
  const now = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = now; colours(); legend();
}
const KEYS = {
  ArrowLeft: () => pan(-.15), ArrowRight: () => pan(.15), ArrowUp: () => scroll(-40), ArrowDown: () => scroll(40),
  PageUp: () => scroll(AXIS - tall), PageDown: () => scroll(tall - AXIS), Home: () => look(0, view.to - view.from), End: () => look(end - (view.to - view.from), end),
  "+": () => zoom(.7), "=": () => zoom(.7), "-": () => zoom(1 / .7), "0": () => look(0, end), c: toChain, n: () => walk(1), p: () => walk(-1),
  ".": () => along(1), ",": () => along(-1), "/": () => $("filter").focus(), t: turn, "?": () => $("help").showModal(), Escape: () => select(null),
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target === $("filter")) { if (event.key === "Escape" || event.key === "Enter") { if (event.key === "Escape") { $("filter").value = ""; filter(""); } canvas.focus(); } return; }
  const act = KEYS[event.key]; if (act) { event.preventDefault(); act(); }
});
let typing = 0;
$("filter").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => filter($("filter").value), 80); });
$("in").onclick = () => zoom(.6); $("out").onclick = () => zoom(1 / .6); $("whole").onclick = () => look(0, end); $("tochain").onclick = toChain;
$("theme").onclick = turn; $("keys").onclick = () => $("help").showModal();
addEventListener("resize", resize); new ResizeObserver(resize).observe(canvas);

// ---- the words around it
function legend() {
  const items = [["dot", "write", "write of the store"], ["", "write", "writing request"], ["", "read", "reading request"], ["", "failed", "refused or unheard"], ["tick", "shown", "watch event shown"], ["tick", "runtime", "container"], ["", "said", "says"],
    ["", "unscheduled", "pod unscheduled"], ["", "pending", "pending"], ["", "running", "running"], ["", "ready", "ready"], ["", "terminating", "terminating"], ["", "fault", "fault"], ["", "down", "down"], ["", "paused", "stands still"], ["", "chain", "causal chain"]];
  $("legend").replaceChildren(...items.map(([form, colour, name]) => { const one = document.createElement("span"), dot = document.createElement("i"); dot.className = form; dot.style.background = palette[colour]; one.append(dot, name); return one; }));
}
function tell() {
  $("verdict").textContent = data.verdict; $("verdict").classList.toggle("held", data.held); $("name").textContent = data.title; $("facts").textContent = data.facts;
  $("finding").replaceChildren(...data.finding.map(line => { const p = document.createElement("p"); p.textContent = line; return p; }));
  $("storyhead").textContent = data.chain.length ? data.storyHead : ""; $("tochain").hidden = !chainMarks.length; $("telling").hidden = !data.chain.length;
  $("story").replaceChildren(...data.chain.map(step => {
    const li = document.createElement("li"), when = document.createElement("span"); when.className = "at"; when.textContent = step.at === null ? "" : exact(step.at);
    li.append(when, step.line); if (step.mark < 0) li.className = "plain"; else { li.dataset.mark = step.mark; li.tabIndex = 0; li.onclick = () => select({ mark: step.mark }, true); li.onkeydown = event => { if (event.key === "Enter") li.onclick(); }; }
    step.notes.forEach(note => { const span = document.createElement("span"); span.className = "note"; span.textContent = note; li.append(span); });
    return li;
  }));
}
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
if (groups.length > 14) { const touched = new Set(chainMarks.map(step => data.lanes[M.lane[step.mark]].group)); groups.forEach(group => { if (group.name && group.name !== "control-plane" && !touched.has(group.name)) folded.add(group.name); }); }
colours(); legend(); tell(); details(); arrange(); resize(); toChain(); frame();
