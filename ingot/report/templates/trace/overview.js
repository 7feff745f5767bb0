// The whole trace in a strip: how busy the threads are, and which part is in view.
const overview = document.getElementById("overview");
const BUCKETS = 1200;
let busy = null;
function measureBusy() {
  const found = new Float64Array(BUCKETS), size = (bounds.end - bounds.begin) / BUCKETS;
  for (let i = 0; i < events.count; i++) {
    if (!matches[i] || isEstimate(i)) continue;
    // Self times, so that nothing is counted with what lies within it.
    const length = events.end[i] - events.start[i];
    if (!length || !events.own[i]) continue;
    const share = events.own[i] / length;
    const first = Math.max(0, Math.floor((events.start[i] - bounds.begin) / size));
    const last = Math.min(BUCKETS - 1, Math.floor((events.end[i] - bounds.begin) / size));
    for (let bucket = first; bucket <= last; bucket++) {
      const begin = bounds.begin + bucket * size;
      found[bucket] += share * Math.max(0, Math.min(events.end[i], begin + size) - Math.max(events.start[i], begin));
    }
  }
  const most = found.reduce((a, b) => Math.max(a, b), 0) || 1;
  busy = found.map((value) => value / most);
}
function drawOverview() {
  if (!busy) measureBusy();
  const [context, width, tall] = prepared(overview);
  const step = width / BUCKETS;
  context.fillStyle = style["muted"];
  context.globalAlpha = 0.5;
  context.beginPath();
  context.moveTo(0, tall - 1);
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const y = tall - 1 - busy[bucket] * (tall - 8);
    context.lineTo(bucket * step, y);
    context.lineTo((bucket + 1) * step, y);
  }
  context.lineTo(width, tall - 1);
  context.fill();
  context.globalAlpha = 1;
  const length = bounds.end - bounds.begin;
  const left = ((view.begin - bounds.begin) / length) * width, right = ((view.end - bounds.begin) / length) * width;
  if (isWhole()) return;
  context.fillStyle = style.window;
  context.fillRect(left, 0, Math.max(right - left, 2), tall);
  context.fillStyle = style.ember;
  context.fillRect(left - 1, 0, 2, tall);
  context.fillRect(Math.max(right - 1, left + 1), 0, 2, tall);
}
{
  let from = null;
  const time = (event) => bounds.begin + (event.offsetX / overview.clientWidth) * (bounds.end - bounds.begin);
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    const at = time(event), inside = !isWhole() && at > view.begin && at < view.end;
    from = { at, inside, begin: view.begin, end: view.end, x: event.offsetX };
  });
  overview.addEventListener("pointermove", (event) => {
    if (!from) return;
    const at = time(event);
    if (from.inside) show(from.begin + at - from.at, from.end + at - from.at);
    else if (Math.abs(event.offsetX - from.x) > 3) show(Math.min(at, from.at), Math.max(at, from.at));
  });
  overview.addEventListener("pointerup", (event) => {
    if (from && Math.abs(event.offsetX - from.x) <= 3 && !from.inside) {
      const half = (view.end - view.begin) / 2;
      show(from.at - half, from.at + half);
    }
    from = null;
  });
  overview.addEventListener("dblclick", () => show(bounds.begin, bounds.end));
}
