// The event that is chosen, and what is under the pointer.
const tip = document.getElementById("tip"), details = document.getElementById("details");
function showTip(event, title, pairs) {
  tip.replaceChildren(make("b", {}, title), facts(pairs));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? Math.max(4, event.clientY - height - 12) : event.clientY + 18}px`;
}
function hideTip() { tip.hidden = true; }
function describe(found, pointer) {
  if (found.event !== undefined) {
    const i = found.event, pairs = [["duration", duration(events.end[i] - events.start[i])]];
    if (isEstimate(i)) pairs[0][0] = "estimated duration";
    else if (events.own[i] !== events.end[i] - events.start[i]) pairs.push(["self", duration(events.own[i])]);
    pairs.push(["from", moment(events.start[i], 1e3)]);
    if (events.request[i] >= 0) pairs.push(["request", requests[events.request[i]]]);
    pairs.push(...argumentPairs(events.args[i]).slice(0, 8));
    showTip(pointer, stages[events.stage[i]][1], pairs);
  } else if (found.mark) {
    const pairs = [["at", moment(found.mark.time, 1e3)]];
    if (found.mark.request >= 0) pairs.push(["request", requests[found.mark.request]]);
    showTip(pointer, stages[found.mark.stage][1], [...pairs, ...argumentPairs(found.mark.args).slice(0, 8)]);
  } else {
    showTip(pointer, found.counter.name, [["value", found.counter.values[found.place].toLocaleString("en", { maximumSignificantDigits: 6 })], ["since", moment(found.counter.times[found.place], 1e3)]]);
  }
}
function choose(event, bring = false) {
  selected = event;
  if (event >= 0 && bring) bringIntoView(event);
  drawDetails();
  changed();
}
function bringIntoView(event) {
  const length = view.end - view.begin, { start, end } = events;
  if (end[event] - start[event] > length) fill(start[event], end[event]);
  else if (start[event] < view.begin || end[event] > view.end) show((start[event] + end[event] - length) / 2, (start[event] + end[event] + length) / 2);
  if (collapsed.delete(events.lane[event])) arrange();
  const y = layout.lanes[events.lane[event]].rows + events.row[event] * ROW;
  if (y < tracks.scrollTop || y + ROW > tracks.scrollTop + tracks.clientHeight) tracks.scrollTop = y - tracks.clientHeight / 2;
}
function drawDetails() {
  if (selected < 0) { details.replaceChildren(); return; }
  const i = selected, [source, name] = stages[events.stage[i]];
  const times = [
    [isEstimate(i) ? "estimated duration" : "duration", duration(events.end[i] - events.start[i])],
    ["self", duration(events.own[i])],
    ["from", moment(events.start[i], 1)], ["to", moment(events.end[i], 1)],
  ];
  const where = [["source", source || "–"], ["thread", lanes[events.lane[i]].name]];
  if (events.request[i] >= 0) where.push(["request", requests[events.request[i]]]);
  if (events.parent[i] >= 0) where.push(["within", stages[events.stage[events.parent[i]]][1]]);
  const actions = [
    make("button", { type: "button", onclick: () => fill(events.start[i], events.end[i]) }, "Fill the view"),
    make("button", { type: "button", onclick: () => chooseStage(events.stage[i]) }, "This stage alone"),
  ];
  if (events.request[i] >= 0) actions.push(make("button", { type: "button", onclick: () => chooseRequest(events.request[i]) }, "This request alone"));
  const args = argumentPairs(events.args[i]);
  details.replaceChildren(
    make("h3", {}, make("i", { style: { background: bars[events.stage[i]] }, "aria-hidden": "true" }), name || "(no name)"),
    make("div", { className: "columns" }, facts(times), facts(where), ...(args.length ? [facts(args)] : [])),
    make("div", { className: "actions" }, ...actions));
}
