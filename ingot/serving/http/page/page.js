"use strict";

// Most elements that the form fills in by itself.
const FILLED = 4096;
const REFRESH = 1000;

const metadata = new Map();
let before = null;

const element = (id) => document.getElementById(id);

async function ask(path, options = {}) {
  const token = element("token").value;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    element("token").hidden = element("token-label").hidden = false;
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function row(table, cells) {
  const line = table.insertRow();
  for (const [text, kind] of cells) {
    const cell = line.insertCell();
    cell.textContent = text;
    if (kind) cell.className = kind;
  }
}

const described = (tensors) =>
  tensors.map((t) => `${t.name}: ${t.datatype}[${t.shape.map((s) => (s < 0 ? "·" : s)).join(", ")}]`).join("\n");

async function showModels() {
  const index = await ask("v2/repository/index", { method: "POST" });
  const table = element("models");
  const chooser = element("model");
  const chosen = chooser.value;
  table.replaceChildren();
  chooser.replaceChildren();
  for (const entry of index) {
    const key = `${entry.name}/versions/${entry.version}`;
    const ready = entry.state === "READY";
    if (ready && !metadata.has(key)) metadata.set(key, await ask(`v2/models/${key}`));
    const known = ready ? metadata.get(key) : null;
    row(table, [
      [entry.name], [entry.version], [ready ? "ready" : `${entry.state.toLowerCase()}: ${entry.reason}`],
      [known ? described(known.inputs) : ""], [known ? described(known.outputs) : ""],
    ]);
    if (ready) chooser.add(new Option(`${entry.name} (${entry.version})`, key));
  }
  if ([...chooser.options].some((option) => option.value === chosen)) chooser.value = chosen;
  if (chooser.value !== chosen) fill();
}

const mean = (duration) => (duration.count ? (duration.ns / duration.count / 1e6).toFixed(2) : "");

async function showFigures() {
  const statistics = (await ask("v2/models/stats")).model_stats;
  const now = { time: performance.now(), counts: new Map() };
  const table = element("figures");
  table.replaceChildren();
  for (const model of statistics) {
    const { success, fail, queue } = model.inference_stats;
    const key = `${model.name}/${model.version}`;
    now.counts.set(key, success.count);
    const seconds = before ? (now.time - before.time) / 1000 : 0;
    const rate = before && before.counts.has(key) ? (success.count - before.counts.get(key)) / seconds : 0;
    const rows = model.execution_count ? model.inference_count / model.execution_count : 0;
    row(table, [
      [model.name], [model.version], [success.count, "number"], [fail.count, "number"],
      [rate.toFixed(1), "number"], [rows ? rows.toFixed(1) : "", "number"],
      [mean(queue), "number"], [mean(success), "number"],
    ]);
  }
  before = now;
}

function fill() {
  const known = metadata.get(element("model").value);
  if (!known) return;
  const inputs = known.inputs.map((tensor) => {
    const shape = tensor.shape.map((size) => (size < 0 ? 1 : size));
    const count = shape.reduce((product, size) => product * size, 1);
    const zero = tensor.datatype === "BYTES" ? "" : tensor.datatype === "BOOL" ? false : 0;
    return { name: tensor.name, shape, datatype: tensor.datatype, data: count <= FILLED ? Array(count).fill(zero) : [] };
  });
  element("request").value = JSON.stringify({ inputs });
}

async function submit(event) {
  event.preventDefault();
  const answer = element("answer");
  answer.hidden = false;
  try {
    const begin = performance.now();
    const body = element("request").value;
    const got = await ask(`v2/models/${element("model").value}/infer`, { method: "POST", body });
    answer.className = "";
    answer.textContent = `${(performance.now() - begin).toFixed(1)} ms\n${JSON.stringify(got, null, 1)}`;
  } catch (error) {
    answer.className = "error";
    answer.textContent = error.message;
  }
}

async function refresh() {
  const problem = element("problem");
  try {
    await showModels();
    await showFigures();
    problem.hidden = true;
  } catch (error) {
    problem.hidden = false;
    problem.textContent = error.message;
  }
  setTimeout(refresh, REFRESH);
}

element("form").addEventListener("submit", submit);
element("model").addEventListener("change", fill);
fetch("v2/health/live").then(refresh);
ask("v2").then((server) => { element("version").textContent = server.version; }).catch(() => {});
