// The time in view, and who has to draw again when it changes.
const margin = (whole.end - whole.begin) * 0.01;
const bounds = { begin: whole.begin - margin, end: whole.end + margin };
const SHORTEST = 50; // nanoseconds
const view = { ...bounds };
const drawings = []; // drawn in the next frame
const afterwards = []; // figures, when the view has come to rest
let frame = 0, rest = 0;

function changed(at_once = false) {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; drawings.forEach((draw) => draw()); });
  clearTimeout(rest);
  rest = setTimeout(() => afterwards.forEach((update) => update()), at_once ? 0 : 120);
}
function show(begin, end) {
  const length = Math.min(Math.max(end - begin, SHORTEST), bounds.end - bounds.begin);
  const middle = (begin + end) / 2;
  view.begin = Math.min(Math.max(middle - length / 2, bounds.begin), bounds.end - length);
  view.end = view.begin + length;
  changed();
}
function zoom(factor, at = (view.begin + view.end) / 2) {
  const length = Math.min(Math.max((view.end - view.begin) * factor, SHORTEST), bounds.end - bounds.begin);
  const share = (at - view.begin) / (view.end - view.begin);
  show(at - share * length, at + (1 - share) * length);
}
const pan = (share) => {
  const step = share * (view.end - view.begin);
  show(view.begin + step, view.end + step);
};
const isWhole = () => view.end - view.begin > 0.999 * (bounds.end - bounds.begin);
function fill(begin, end) {
  const around = Math.max((end - begin) * 0.08, SHORTEST / 2);
  show(begin - around, end + around);
}
// A canvas sized to its element, in the pixels of the screen; draws in those of the page.
function prepared(canvas, height) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  if (height !== undefined) canvas.style.height = `${height}px`;
  const tall = height ?? canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(tall * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(tall * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, tall);
  context.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  context.textBaseline = "middle";
  return [context, width, tall];
}
const toX = (time, width) => ((time - view.begin) / (view.end - view.begin)) * width;
const toTime = (x, width) => view.begin + (x / width) * (view.end - view.begin);
function ticks(width) {
  const least = ((view.end - view.begin) / width) * 95;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = Math.max(1, [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least));
  const found = [];
  for (let at = Math.ceil(view.begin / step) * step; at <= view.end; at += step) found.push(at);
  return [found, step];
}
