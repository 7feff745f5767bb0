// The table of stages: events that match and begin in the time in view.
const tableRows = document.getElementById("rows"), allRows = document.getElementById("all-rows");
const FEWEST_FOR_P99 = 100, FIRST_ROWS = 25;
const order = { key: "own", down: true };
let everyRow = false;

function stageFigures() {
  const lengths = stages.map(() => []), own = new Float64Array(stages.length);
  for (let i = 0; i < events.count; i++) {
    if (!matches[i] || events.start[i] < view.begin || events.start[i] > view.end || isEstimate(i)) continue;
    lengths[events.stage[i]].push(events.end[i] - events.start[i]);
    own[events.stage[i]] += events.own[i];
  }
  const all = own.reduce((a, b) => a + b, 0);
  const found = [];
  lengths.forEach((list, stage) => {
    if (!list.length) return;
    const sorted = Float64Array.from(list).sort();
    const total = sorted.reduce((a, b) => a + b, 0);
    found.push({
      stage, source: stages[stage][0], name: stages[stage][1], count: list.length, mean: total / list.length,
      p50: quantile(sorted, 0.5), p99: list.length >= FEWEST_FOR_P99 ? quantile(sorted, 0.99) : NaN,
      total, own: own[stage], share: all ? own[stage] / all : 0,
    });
  });
  return found;
}
function quantile(sorted, q) {
  const at = q * (sorted.length - 1), below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}
function drawFigures() {
  const found = stageFigures();
  const sign = order.down ? -1 : 1;
  const value = (row) => (Number.isNaN(row[order.key]) ? -1 : row[order.key]);
  found.sort((a, b) => sign * (typeof a[order.key] === "string" ? a[order.key].localeCompare(b[order.key]) : value(a) - value(b)) || a.stage - b.stage);
  const shown = everyRow ? found : found.slice(0, FIRST_ROWS);
  tableRows.replaceChildren(...shown.map((row) => make("tr", { className: filter.stage === row.stage ? "chosen" : "" },
    make("th", { scope: "row" }, make("i", { className: "swatch", style: { background: bars[row.stage] }, "aria-hidden": "true" }),
      make("button", { type: "button", title: "Show this stage alone", "aria-pressed": filter.stage === row.stage, onclick: () => chooseStage(filter.stage === row.stage ? -1 : row.stage) }, row.name || "(no name)")),
    make("td", { className: "text" }, row.source),
    ...[whole_number(row.count), duration(row.mean), duration(row.p50), Number.isNaN(row.p99) ? "–" : duration(row.p99), duration(row.total), duration(row.own)].map((text) => make("td", {}, text)),
    make("td", { className: "share" }, make("span", { className: "track" }, make("span", { className: "run", style: { width: `${100 * row.share}%`, background: bars[row.stage] } })), percent(row.share)))));
  allRows.hidden = everyRow || found.length <= FIRST_ROWS;
  allRows.textContent = `Show all ${found.length} stages`;
  const events_ = found.reduce((sum, row) => sum + row.count, 0);
  document.getElementById("figures-range").textContent = `${counted(events_, "event")}${isFiltered() ? " that match" : ""}${isWhole() ? "" : ", begun in the time in view"}`;
}
allRows.onclick = () => { everyRow = true; drawFigures(); };
for (const heading of document.querySelectorAll("th[data-key]")) {
  heading.querySelector("button").onclick = () => {
    const key = heading.dataset.key, text = key === "name" || key === "source";
    order.down = order.key === key ? !order.down : !text;
    order.key = key;
    document.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    drawFigures();
  };
}
afterwards.push(drawFigures);
