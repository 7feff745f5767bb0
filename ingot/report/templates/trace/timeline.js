// Lanes of threads, rows of events in each; above them the counters.
const ROW = 20, BAR = 18, MARKS = 14, COUNTER = 46, PADDING = 5, COLLAPSED = 22;
const tracks = document.getElementById("tracks"), content = document.getElementById("content");
const canvas = document.getElementById("canvas"), gutter = document.getElementById("gutter");
const collapsed = new Set();
let layout = { counters: [], lanes: [], height: 0 };
let selected = -1, hovered = -1;

function arrange() {
  let top = 0;
  layout = { counters: [], lanes: [], height: 0 };
  gutter.replaceChildren();
  for (const counter of counters) {
    layout.counters.push({ counter, top });
    let most = -Infinity, least = Infinity;
    for (const value of counter.values) { most = Math.max(most, value); least = Math.min(least, value); }
    Object.assign(counter, { least: Math.min(0, least), most: Math.max(0, most) });
    gutter.append(make("div", { title: counter.name, style: { top: `${top}px`, height: `${COUNTER}px` } },
      make("span", {}, counter.name), make("small", {}, `up to ${counter.most.toLocaleString("en", { maximumSignificantDigits: 4 })}`)));
    top += COUNTER;
  }
  lanes.forEach((lane, index) => {
    const open = !collapsed.has(index);
    const marked = laneMarks[index].length ? MARKS : 0;
    const height = open ? Math.max(2 * PADDING + marked + lane.rows * ROW, COLLAPSED + 4) : COLLAPSED;
    layout.lanes.push({ top, height, open, marks: top + PADDING, rows: top + (open ? PADDING + marked : 0) });
    const button = make("button", {
      type: "button", title: lane.name, "aria-expanded": open, style: { top: `${top}px`, height: `${height}px` },
      onclick: () => { if (!collapsed.delete(index)) collapsed.add(index); arrange(); changed(); gutter.querySelectorAll("button")[index].focus(); },
    }, make("span", {}, lane.name));
    gutter.append(button);
    top += height;
  });
  layout.height = Math.max(top, 40);
  content.style.height = `${layout.height}px`;
}

function drawTimeline() {
  const tall = Math.min(layout.height, tracks.clientHeight || layout.height);
  const [context, width] = prepared(canvas, tall);
  const offset = tracks.scrollTop;
  context.translate(0, -offset);
  const [times] = ticks(width);
  context.fillStyle = style.grid;
  context.globalAlpha = 0.55;
  for (const time of times) context.fillRect(Math.round(toX(time, width)), offset, 1, tall);
  context.globalAlpha = 1;
  context.fillStyle = style.line;
  for (const { top } of [...layout.counters, ...layout.lanes].slice(1)) context.fillRect(0, top, width, 1);
  for (const track of layout.counters) if (seen(track.top, COUNTER, offset, tall)) drawCounter(context, track, width);
  layout.lanes.forEach((lane, index) => {
    if (!seen(lane.top, lane.height, offset, tall)) return;
    if (lane.open) {
      rows[index].forEach((row, depth) => drawRow(context, row, matchesBefore[index][depth], lane.rows + depth * ROW, BAR, width, true));
      drawMarks(context, laneMarks[index], lane.marks, width);
    } else if (rows[index].length) {
      drawRow(context, rows[index][0], matchesBefore[index][0], lane.top + 7, 9, width, false);
    }
  });
  drawFlow(context, width);
  outline(context, hovered, width, style.muted, 1);
  outline(context, selected, width, style.ink, 2);
}
const seen = (top, height, offset, tall) => top < offset + tall && top + height > offset;

// Bars narrower than a pixel are drawn as one: what it costs goes with pixels, not with events.
function drawRow(context, row, before, top, height, width, named) {
  const scale = width / (view.end - view.begin);
  let place = firstWhere(row.length, (i) => events.end[row[i]] >= view.begin);
  while (place < row.length) {
    const event = row[place];
    if (events.start[event] > view.end) break;
    const left = Math.max((events.start[event] - view.begin) * scale, -2);
    const right = Math.min((events.end[event] - view.begin) * scale, width + 2);
    if (right - left >= 1.5) {
      context.fillStyle = matches[event] ? bars[events.stage[event]] : style.faded;
      const drawn = Math.max(right - left - (right - left > 4 ? 1 : 0), 1);
      if (drawn > 6 && height > 10) roundedBar(context, left, top, drawn, height);
      else context.fillRect(left, top, drawn, height);
      if (isEstimate(event) && drawn > 6) hatch(context, left, top, drawn, height);
      if (named && drawn > 26) label(context, event, left, top, drawn, height);
      place += 1;
      continue;
    }
    const pixel = Math.floor(left) + 1.5;
    const until = view.begin + pixel / scale;
    const next = Math.max(place + 1, place + firstWhere(row.length - place, (i) => events.start[row[place + i]] >= until));
    const any = before[next] > before[place];
    context.fillStyle = any ? bars[events.stage[firstMatch(row, before, place, next)]] : style.faded;
    context.fillRect(Math.floor(left), top, Math.max(1, Math.min(right - left, 1.5)), height);
    place = next;
  }
}
function firstMatch(row, before, from, to) {
  return row[from + firstWhere(to - from - 1, (i) => before[from + i + 1] > before[from])];
}
function roundedBar(context, left, top, width, height) {
  context.beginPath();
  context.roundRect(left, top, width, height, 3);
  context.fill();
}
function hatch(context, left, top, width, height) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.strokeStyle = style.card;
  context.globalAlpha = 0.5;
  context.lineWidth = 2;
  context.beginPath();
  for (let x = Math.max(left, 0) - height - (Math.max(left, 0) % 8); x < Math.min(left + width, 10000); x += 8) { context.moveTo(x, top + height); context.lineTo(x + height, top); }
  context.stroke();
  context.restore();
}
const widths = new Map();
function label(context, event, left, top, width, height) {
  const from = Math.max(left, 0) + 6;
  const room = left + width - from - 5;
  if (room < 14) return;
  let name = stages[events.stage[event]][1];
  if (!widths.has(name)) widths.set(name, context.measureText(name).width);
  const length = widths.get(name);
  if (length > room) {
    const fits = Math.floor((name.length * (room - 8)) / length);
    if (fits < 2) return;
    name = `${name.slice(0, fits)}…`;
  }
  context.fillStyle = matches[event] ? style["bar-ink"] : style.muted;
  context.fillText(name, from, top + height / 2 + 0.5);
  const more = room - Math.min(length, room);
  if (more > 62 && matches[event]) {
    context.globalAlpha = 0.62;
    context.fillText(duration(events.end[event] - events.start[event]), from + length + 8, top + height / 2 + 0.5);
    context.globalAlpha = 1;
  }
}
function drawMarks(context, found, top, width) {
  let last = -Infinity;
  for (let place = firstWhere(found.length, (i) => found[i].time >= view.begin); place < found.length && found[place].time <= view.end; place++) {
    const mark = found[place], x = toX(mark.time, width);
    if (x - last < 2) continue;
    last = x;
    context.fillStyle = matchesFilter(mark.stage, mark.request, mark.args) ? style.ember : style.faded;
    context.beginPath();
    context.moveTo(x - 4, top);
    context.lineTo(x + 4, top);
    context.lineTo(x, top + 8);
    context.fill();
  }
}
function drawCounter(context, { counter, top }, width) {
  const { times, values, least, most } = counter, height = COUNTER - 12;
  const y = (value) => top + 6 + height * (1 - (value - least) / (most - least || 1));
  let place = Math.max(0, firstWhere(times.length, (i) => times[i] > view.begin) - 1);
  if (place >= times.length) return;
  context.beginPath();
  let x = toX(times[place], width), at = y(values[place]);
  context.moveTo(x, y(0));
  context.lineTo(x, at);
  for (place += 1; place < times.length; place++) {
    const next = toX(times[place], width);
    // Of those within a pixel the highest is shown.
    let value = values[place];
    while (place + 1 < times.length && toX(times[place + 1], width) - next < 1) { place += 1; value = Math.max(value, values[place]); }
    context.lineTo(next, at);
    at = y(value);
    context.lineTo(next, at);
    x = next;
    if (next > width) break;
  }
  context.lineTo(Math.max(x, width), at);
  context.lineTo(Math.max(x, width), y(0));
  context.globalAlpha = 0.22;
  context.fillStyle = style.ember;
  context.fill();
  context.globalAlpha = 0.9;
  context.strokeStyle = style.ember;
  context.lineWidth = 1.2;
  context.stroke();
  context.globalAlpha = 1;
}
// A request's way from thread to thread.
function drawFlow(context, width) {
  const request = selected >= 0 && events.request[selected] >= 0 ? events.request[selected] : filter.request;
  const points = request >= 0 ? flows[requests[request]] : undefined;
  if (!points || points.length < 2) return;
  context.strokeStyle = context.fillStyle = style.flow;
  context.lineWidth = 1.6;
  const places = points.map(([lane, time]) => [toX(time, width), layout.lanes[lane].rows + (layout.lanes[lane].open ? deepest(lane, time) * ROW + BAR / 2 : COLLAPSED / 2)]);
  for (let i = 1; i < places.length; i++) {
    const [x0, middle] = places[i - 1], [x1, y1] = places[i];
    const y0 = middle + Math.sign(y1 - middle) * (BAR / 2); // from its edge, so that its name can be read
    // Along the row that it comes from, and down or up only where it arrives.
    const turn = Math.max(x0, x1 - 70), bend = Math.max(18, (x1 - turn) / 2);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(turn, y0);
    context.bezierCurveTo(turn + bend, y0, x1 - bend, y1, x1 - 3, y1);
    context.stroke();
    context.beginPath();
    context.moveTo(x1 + 1, y1);
    context.lineTo(x1 - 6, y1 - 4);
    context.lineTo(x1 - 6, y1 + 4);
    context.fill();
  }
}
function deepest(lane, time) {
  for (let depth = rows[lane].length - 1; depth > 0; depth--) if (eventAt(lane, depth, time, 0) >= 0) return depth;
  return 0;
}
function outline(context, event, width, colour, thick) {
  if (event < 0) return;
  const lane = layout.lanes[events.lane[event]];
  if (!lane.open) return;
  const left = Math.max(toX(events.start[event], width), -4), right = Math.min(toX(events.end[event], width), width + 4);
  if (right < 0 || left > width) return;
  context.strokeStyle = colour;
  context.lineWidth = thick;
  context.strokeRect(left - 0.5, lane.rows + events.row[event] * ROW - 0.5, Math.max(right - left, 2), BAR + 1);
}

// What is at a place of the canvas: an event, a mark or a counter's value.
function eventAt(lane, depth, time, slack) {
  const row = rows[lane][depth];
  if (!row) return -1;
  const place = firstWhere(row.length, (i) => events.end[row[i]] >= time - slack);
  return place < row.length && events.start[row[place]] <= time + slack ? row[place] : -1;
}
function hit(x, y) {
  const width = canvas.clientWidth, at = y + tracks.scrollTop, time = toTime(x, width);
  const slack = ((view.end - view.begin) / width) * 2;
  for (const { counter, top } of layout.counters) {
    if (at < top || at >= top + COUNTER) continue;
    const place = firstWhere(counter.times.length, (i) => counter.times[i] > time) - 1;
    return place >= 0 ? { counter, place } : null;
  }
  const lane = layout.lanes.findIndex(({ top, height }) => at >= top && at < top + height);
  if (lane < 0) return null;
  const found = layout.lanes[lane];
  if (found.open && laneMarks[lane].length && at >= found.marks - 2 && at < found.rows) {
    const near = laneMarks[lane][firstWhere(laneMarks[lane].length, (i) => laneMarks[lane][i].time >= time - 3 * slack)];
    return near && near.time <= time + 3 * slack ? { mark: near } : null;
  }
  const event = eventAt(lane, found.open ? Math.floor((at - found.rows) / ROW) : 0, time, slack);
  return event >= 0 ? { event } : null;
}
function drawRuler() {
  const [context, width, tall] = prepared(document.getElementById("ruler"));
  const [times, step] = ticks(width), largest = Math.max(Math.abs(view.begin), Math.abs(view.end));
  for (const time of times) {
    const x = Math.round(toX(time, width));
    context.fillStyle = style.line;
    context.fillRect(x, tall - 7, 1, 7);
    context.fillStyle = style.muted;
    context.fillText(moment(time, step, largest), x + 5, tall / 2);
  }
  document.getElementById("range").textContent = isWhole()
    ? `the whole trace, ${duration(whole.end - whole.begin)}`
    : `${duration(view.end - view.begin)} in view, from ${moment(view.begin, step / 10, largest)} to ${moment(view.end, step / 10, largest)}`;
}
