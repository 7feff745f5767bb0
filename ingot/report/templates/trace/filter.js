// What is looked at: events that match keep their colour, and figures are of them alone.
const filter = { hidden: new Set(), stage: -1, request: -1, text: "" };
const matches = new Uint8Array(events.count).fill(1);
let matching = events.count;
// Of each row, how many events before a place match: whether one of a range does is then known at once.
let matchesBefore = [];
const texts = {
  stages: stages.map(([, name]) => name.toLowerCase()),
  requests: requests.map((name) => name.toLowerCase()),
  arguments: raw.arguments.map((args) => JSON.stringify(args).toLowerCase()),
};
const isFiltered = () => filter.hidden.size > 0 || filter.stage >= 0 || filter.request >= 0 || filter.text !== "";

function matchesFilter(stage, request, args) {
  return (filter.stage < 0 || stage === filter.stage)
    && (filter.request < 0 || request === filter.request)
    && !filter.hidden.has(stages[stage][0])
    && (filter.text === "" || texts.stages[stage].includes(filter.text)
      || (request >= 0 && texts.requests[request].includes(filter.text))
      || texts.arguments[args].includes(filter.text));
}
function applyFilter() {
  matching = 0;
  for (let i = 0; i < events.count; i++) {
    matches[i] = matchesFilter(events.stage[i], events.request[i], events.args[i]) ? 1 : 0;
    matching += matches[i];
  }
  matchesBefore = rows.map((lane) => lane.map((row) => {
    const before = new Int32Array(row.length + 1);
    for (let place = 0; place < row.length; place++) before[place + 1] = before[place] + matches[row[place]];
    return before;
  }));
}
applyFilter();
