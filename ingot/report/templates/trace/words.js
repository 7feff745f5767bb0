// Numbers and colours as a reader wants them.
function duration(ns) {
  const size = Math.abs(ns);
  for (const [unit, factor] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (size >= 0.9995 * factor) return `${threeDigits(ns / factor)}\u202f${unit}`;
  }
  return `${Math.round(ns)}\u202fns`;
}
function threeDigits(value) {
  const size = Math.abs(value);
  return value.toLocaleString("en", {
    minimumFractionDigits: size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2,
    maximumFractionDigits: size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2,
  });
}
// A moment, as exactly as the step between two ticks needs.
function moment(ns, step, largest = Math.abs(ns)) {
  const [unit, by] = largest >= 1e9 && step >= 1e6 ? ["s", 1e9] : largest >= 1e6 ? ["ms", 1e6] : largest >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const digits = Math.max(0, Math.log10(by) - Math.floor(Math.log10(Math.max(step, 1)) + 1e-9));
  const shown = Math.abs(ns) < step / 1e3 ? 0 : ns / by; // never -0
  return `${shown.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u202f${unit}`;
}
const percent = (share) => `${(100 * share).toFixed(share >= 0.1 ? 0 : 1)}\u202f%`;
const whole_number = (value) => value.toLocaleString("en");
const counted = (count, noun) => `${whole_number(count)} ${noun}${count === 1 ? "" : "s"}`;

// Stages come with the most self time first: neighbours get hues that are far apart.
const hues = stages.map((_, rank) => (47 + rank * 137.508) % 360);
let style, bars;
function readStyle() {
  const computed = getComputedStyle(document.documentElement);
  const value = (name) => computed.getPropertyValue(name).trim();
  style = {};
  for (const name of ["card", "paper", "ink", "muted", "line", "grid", "ember", "bar-ink", "faded", "window", "flow"]) style[name] = value(`--${name}`);
  const lightness = +value("--bar-l"), chroma = +value("--bar-c");
  bars = hues.map((hue, rank) => `oklch(${(lightness - 0.035 * (rank % 3)).toFixed(3)} ${chroma} ${hue.toFixed(1)})`);
}
readStyle();

// An element; text is never markup.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role" || name.startsWith("data-") || name === "scope") element.setAttribute(name, value);
    else if (name === "style") Object.assign(element.style, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}
function facts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}
function argumentPairs(args) {
  return Object.entries(raw.arguments[args]).map(([name, value]) => [
    name, typeof value === "number" ? value.toLocaleString("en") : typeof value === "string" ? value : JSON.stringify(value),
  ]);
}
