// The events, as columns of numbers. An event is its index in them.
const raw = JSON.parse(document.getElementById("trace-data").textContent);
const { lanes, stages, requests, counters, flows } = raw;
const events = (() => {
  const given = raw.events;
  const count = given.stage.length;
  const start = new Float64Array(count), end = new Float64Array(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    at += given.start[i];
    start[i] = at;
    end[i] = at + given.duration[i];
  }
  return {
    count, start, end,
    own: Float64Array.from(given.own),
    lane: Int32Array.from(given.lane),
    row: Int32Array.from(given.row),
    stage: Int32Array.from(given.stage),
    parent: Int32Array.from(given.parent, (back, i) => (back ? i - back : -1)),
    request: Int32Array.from(given.request),
    args: Int32Array.from(given.args),
  };
})();
const marks = raw.marks.map(([lane, stage, time, request, args]) => ({ lane, stage, time, request, args }));

// Of each lane, the rows that it is drawn in: events in the order of time, none of which overlap.
const rows = lanes.map((lane) => Array.from({ length: lane.rows }, () => []));
for (let i = 0; i < events.count; i++) rows[events.lane[i]][events.row[i]].push(i);
for (const lane of rows) lane.forEach((row, depth) => (lane[depth] = Int32Array.from(row)));
const laneMarks = lanes.map((_, lane) => marks.filter((mark) => mark.lane === lane));

const sourceNames = [...new Set(stages.map(([source]) => source))].sort();
const whole = { begin: raw.span[0], end: Math.max(raw.span[1], raw.span[0] + 1) };

// The first place of a sorted list from which on `reached` holds.
function firstWhere(length, reached) {
  let low = 0, high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (reached(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
const isEstimate = (event) => lanes[events.lane[event]].estimate;
