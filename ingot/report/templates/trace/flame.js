// What lies within what, summed up by name over the time in view.
const flame = document.getElementById("flame"), flameOut = document.getElementById("flame-out");
const CELL = 22, NARROWEST = 0.0015, MOST_CELLS = 1200;
let flamePath = []; // stages from the top to the one that fills the width

function flameTree() {
  const root = { stage: -1, total: 0, own: 0, count: 0, parts: new Map() };
  const nodes = new Array(events.count);
  for (let i = 0; i < events.count; i++) {
    const around = events.parent[i] >= 0 ? nodes[events.parent[i]] ?? root : root;
    const length = Math.min(events.end[i], view.end) - Math.max(events.start[i], view.begin);
    if (!matches[i] || length < 0 || isEstimate(i)) { nodes[i] = around; continue; }
    let node = around.parts.get(events.stage[i]);
    if (!node) around.parts.set(events.stage[i], (node = { stage: events.stage[i], total: 0, own: 0, count: 0, parts: new Map(), around }));
    node.total += length;
    node.own += length;
    node.count += 1;
    if (around !== root) around.own -= length;
    else root.total += length;
    nodes[i] = node;
  }
  return root;
}
function drawFlame() {
  const root = flameTree();
  let top = root;
  const chain = [];
  for (const stage of flamePath) {
    const next = top.parts.get(stage);
    if (!next) break;
    chain.push((top = next));
  }
  flamePath = chain.map((node) => node.stage);
  flameOut.hidden = flamePath.length === 0;
  const cells = [];
  let depth = 0;
  for (const node of chain) cells.push(flameCell(node, root, 0, 1, depth++, node !== top));
  const place = (node, left, scale, level) => {
    if (node.parts.size) depth = Math.max(depth, level + 1);
    const parts = [...node.parts.values()].sort((a, b) => b.total - a.total);
    let x = left;
    for (let place_ = 0; place_ < parts.length; place_++) {
      const part = parts[place_], width = part.total * scale;
      if (width < NARROWEST || cells.length >= MOST_CELLS) {
        const rest = parts.slice(place_), total = rest.reduce((sum, each) => sum + each.total, 0);
        if (total * scale >= NARROWEST) cells.push(restCell(rest.length, total, root, x, total * scale, level));
        break;
      }
      cells.push(flameCell(part, root, x, width, level, false));
      place(part, x, scale, level + 1);
      x += width;
    }
  };
  if (top.total > 0) place(top, 0, 1 / top.total, depth);
  flame.style.height = cells.length ? `${depth * CELL}px` : "auto";
  flame.replaceChildren(...(cells.length ? cells : [make("p", {}, "No event that matches is in view.")]));
}
function flameCell(node, root, left, width, depth, around) {
  const [, name] = stages[node.stage];
  const path = [];
  for (let each = node; each && each.stage >= 0; each = each.around) path.unshift(each.stage);
  const words = `${name}, ${duration(node.total)}, ${percent(node.total / root.total)}`;
  return make("button", {
    type: "button", className: around ? "around" : "", "aria-label": words,
    style: { left: `${100 * left}%`, width: `${100 * width}%`, top: `${depth * CELL}px`, background: bars[node.stage] },
    onclick: () => { flamePath = path; hideTip(); drawFlame(); },
    onpointermove: (event) => showTip(event, name, [
      ["total", duration(node.total)], ["self", duration(Math.max(0, node.own))], ["of what is in view", percent(node.total / root.total)], ["events", whole_number(node.count)],
    ]),
    onpointerleave: hideTip,
  }, name);
}
// What is too narrow to be drawn one by one.
function restCell(count, total, root, left, width, depth) {
  return make("div", {
    className: "rest", style: { left: `${100 * left}%`, width: `${100 * width}%`, top: `${depth * CELL}px` },
    onpointermove: (event) => showTip(event, counted(count, "short stage"), [["total", duration(total)], ["of what is in view", percent(total / root.total)]]),
    onpointerleave: hideTip,
  }, `${whole_number(count)} more`);
}
flameOut.onclick = () => { flamePath = []; drawFlame(); };
afterwards.push(drawFlame);
