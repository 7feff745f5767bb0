// Mouse, keys and the toolbar.
const searchBox = document.getElementById("search"), foundOutput = document.getElementById("found");
const stageChoice = document.getElementById("stage"), requestChoice = document.getElementById("request"), clearButton = document.getElementById("clear");

function filterChanged() {
  applyFilter();
  busy = null;
  clearButton.hidden = !isFiltered();
  foundOutput.textContent = filter.text === "" ? "" : matching ? counted(matching, "event") : "nothing found";
  changed(true);
}
function chooseStage(stage) { filter.stage = stage; stageChoice.value = stage; filterChanged(); }
function chooseRequest(request) { filter.request = request; requestChoice.value = request; filterChanged(); }
function clearFilters() {
  Object.assign(filter, { stage: -1, request: -1, text: "" });
  filter.hidden.clear();
  searchBox.value = "";
  stageChoice.value = requestChoice.value = -1;
  document.querySelectorAll("#sources input").forEach((box) => (box.checked = true));
  filterChanged();
}
{
  const perSource = new Map(sourceNames.map((name) => [name, 0]));
  for (let i = 0; i < events.count; i++) { const source = stages[events.stage[i]][0]; perSource.set(source, perSource.get(source) + 1); }
  for (const mark of marks) { const source = stages[mark.stage][0]; perSource.set(source, perSource.get(source) + 1); }
  for (const [name, count] of perSource) {
    const box = make("input", { type: "checkbox", checked: true, onchange: () => { if (box.checked) filter.hidden.delete(name); else filter.hidden.add(name); filterChanged(); } });
    document.getElementById("sources").append(make("label", {}, box, name || "(none)", make("small", {}, whole_number(count))));
  }
  stages.map(([source, name], stage) => [`${name}${source ? ` (${source})` : ""}`, stage]).sort((a, b) => a[0].localeCompare(b[0]))
    .forEach(([text, stage]) => stageChoice.append(make("option", { value: stage }, text)));
  requests.slice(0, 5000).forEach((name, request) => requestChoice.append(make("option", { value: request }, name)));
  requestChoice.parentElement.hidden = requests.length === 0;
  stageChoice.onchange = () => chooseStage(+stageChoice.value);
  requestChoice.onchange = () => chooseRequest(+requestChoice.value);
  clearButton.onclick = clearFilters;
}
let typing = 0;
searchBox.oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(() => { filter.text = searchBox.value.trim().toLowerCase(); filterChanged(); }, 80);
};
searchBox.onkeydown = (event) => {
  if (event.key === "Escape") { searchBox.value = ""; filter.text = ""; filterChanged(); canvas.focus(); event.stopPropagation(); }
  if (event.key !== "Enter") return;
  filter.text = searchBox.value.trim().toLowerCase();
  filterChanged();
  const next = nextMatch(event.shiftKey ? -1 : 1);
  if (next >= 0) {
    choose(next, true);
    foundOutput.textContent = `${counted(matching, "event")}; ${stages[events.stage[next]][1]} at ${moment(events.start[next], 1e3)}`;
  }
};
// In the order of the trace: by thread, then time.
function nextMatch(step) {
  for (let tried = 0, i = selected; tried < events.count; tried++) {
    i = i < 0 && step < 0 ? events.count - 1 : (i + step + events.count) % events.count;
    if (matches[i]) return i;
  }
  return -1;
}

document.getElementById("zoom-in").onclick = () => zoom(0.5);
document.getElementById("zoom-out").onclick = () => zoom(2);
document.getElementById("whole").onclick = () => show(bounds.begin, bounds.end);
document.getElementById("keys").onclick = () => document.getElementById("help").showModal();

{
  let drag = null;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, y: event.clientY, begin: view.begin, end: view.end, scroll: tracks.scrollTop, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (drag) {
      drag.moved ||= Math.abs(event.clientX - drag.x) + Math.abs(event.clientY - drag.y) > 4;
      if (!drag.moved) return;
      hideTip();
      const shift = ((drag.x - event.clientX) / canvas.clientWidth) * (drag.end - drag.begin);
      if (event.pointerType === "mouse") tracks.scrollTop = drag.scroll + drag.y - event.clientY;
      show(drag.begin + shift, drag.end + shift);
      return;
    }
    const found = hit(x, y);
    const event_ = found?.event ?? -1;
    if (event_ !== hovered) { hovered = event_; canvas.classList.toggle("over", event_ >= 0); changed(); }
    if (found) describe(found, event);
    else hideTip();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) choose(hit(...place(event))?.event ?? -1);
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => { hovered = -1; hideTip(); changed(); });
  canvas.addEventListener("dblclick", (event) => {
    const found = hit(...place(event));
    if (found?.event !== undefined) fill(events.start[found.event], events.end[found.event]);
    else show(bounds.begin, bounds.end);
  });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.01), toTime(place(event)[0], canvas.clientWidth));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan((event.deltaX || event.deltaY) / canvas.clientWidth);
    }
  }, { passive: false });
  tracks.addEventListener("scroll", () => { if (!frame) changed(); });
}

// The nearest event of the same row that matches.
function neighbour(step) {
  if (selected < 0) {
    let first = -1;
    for (let i = 0; i < events.count; i++) if (matches[i] && events.end[i] >= view.begin && events.start[i] <= view.end && (first < 0 || events.start[i] < events.start[first])) first = i;
    return first;
  }
  const row = rows[events.lane[selected]][events.row[selected]];
  let at = row.indexOf(selected) + step;
  while (at >= 0 && at < row.length && !matches[row[at]]) at += step;
  return row[at] ?? selected;
}
function firstWithin() {
  for (let i = selected + 1; i < events.count && events.start[i] <= events.end[selected]; i++) if (events.parent[i] === selected) return i;
  return selected;
}
const keys = {
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), a: () => pan(-0.15), d: () => pan(0.15),
  "+": () => zoom(0.6), "=": () => zoom(0.6), w: () => zoom(0.6), "-": () => zoom(1 / 0.6), s: () => zoom(1 / 0.6),
  0: () => show(bounds.begin, bounds.end),
  n: () => choose(neighbour(1), true), p: () => choose(neighbour(-1), true),
  ArrowUp: () => choose(selected < 0 ? neighbour(1) : events.parent[selected] >= 0 ? events.parent[selected] : selected, true),
  ArrowDown: () => choose(selected < 0 ? neighbour(1) : firstWithin(), true),
  f: () => { if (selected >= 0) fill(events.start[selected], events.end[selected]); },
  "/": () => { searchBox.focus(); searchBox.select(); },
  "?": () => document.getElementById("help").showModal(),
  Escape: () => { if (selected >= 0) choose(-1); else clearFilters(); },
};
// Arrows scroll the page unless the timeline has the focus.
const ON_CANVAS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(keys, key) || (ON_CANVAS.has(key) && event.target !== canvas)) return;
  event.preventDefault();
  keys[key]();
});

arrange();
drawings.push(drawTimeline, drawRuler, drawOverview);
new ResizeObserver(() => changed()).observe(tracks);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readStyle(); drawDetails(); changed(true); });
changed(true);
