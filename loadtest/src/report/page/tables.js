// What is read first: the verdict, the tiles, and the key figures of each phase.

const QUANTILES = [["p50", "p50"], ["p99", "p99"], ["p999", "p99.9"], ["max", "max"]];

const over = (columns, cell) => Object.assign(cell, { colSpan: columns });
const inCell = (tag, one) => (one instanceof HTMLTableCellElement ? one : el(tag, one));
const row = (title, ...cells) =>
  el("tr", inCell("th", title), cells.flat().map((one) => inCell("td", one)));
const titles = (...all) => el("thead", el("tr", all.map((title) => inCell("th", title))));

/** A table that scrolls in its card, by keyboard too. */
function table(what, ...parts) {
  const node = el("div.scroll", el(what, parts));
  node.tabIndex = 0;
  return node;
}
const textTable = (head, rows) =>
  rows.length && table("table.text", titles(...head), el("tbody", rows));

/** A title, and for each side one figure as wide as its quantiles. */
const wideRow = (title, figures) =>
  row(el("th", title), figures.map((one) => over(QUANTILES.length, el("td.first.wide", one))));
const groupRow = (title, sides) =>
  el("tr", over(1 + QUANTILES.length * sides.length, el("th.group", title)));

/** One column for each quantile of each side. */
function quantileTable(sides, ...bodies) {
  const name = (side) => over(QUANTILES.length, el("th.side.first", named(side.name)));
  const quantiles = QUANTILES.map(([, title], n) => (n ? title : el("th.first", title)));
  const names = sides.length > 1 && el("tr", el("th"), sides.map(name));
  const repeated = sides.flatMap(() => quantiles.map((one) => inCell("th", one).cloneNode(true)));
  const head = titles("", ...repeated);
  head.prepend(...some([names]));
  return table("table", head, bodies);
}
const quantileCells = (write) =>
  QUANTILES.map(([key], n) => el(n ? "td" : "td.first", write(key)));

/** Rows of one figure for each side. */
function sideTable(sides, rows) {
  const names = sides.map((side) => el("th.side", named(side.name)));
  const body = el("tbody", rows.map(([name, read]) => row(name, sides.map(read))));
  return table("table.slim", sides.length > 1 && titles("", ...names), body);
}

const instances = (side, phase) => side.phases.filter((one) => one.name === phase);
const namesOf = (all) => unique(all.map((one) => one.name));
const phaseNames = (sides) => namesOf(sides.flatMap((side) => side.phases));
const streamNames = (phases) => namesOf(phases.flatMap((phase) => phase.streams));
const streamsOf = (phases, name) =>
  phases.flatMap((phase) => phase.streams.filter((one) => one.name === name));
const latenciesOf = (streams, measure) =>
  streams.flatMap((stream) => stream.latencies)
    .filter((one) => one.summary.count && (!measure || one.measure === measure));

function header({ scenario, about, run, sides, host, outcome, reasons, objectives }) {
  document.title = `${named(scenario)} – damso-loadtest`;
  fill("scenario", named(scenario));
  fill("about", about);
  const began = new Date(run);
  const minute = Number.isNaN(+began) ? NONE : began.toISOString().slice(0, 16).replace("T", " ");
  const traffic = sum(sides.flatMap((side) => side.phases.map((phase) => phase.seconds)));
  const people = Math.max(0, ...sides.map((side) => side.ramp.connections));
  const facts = [
    [minute, "UTC"],
    [seconds(traffic), "of traffic"],
    [plural(people, "connection")],
    [plural(host.cores, "core"), host.processor],
  ];
  fill("meta", facts.map(([figure, words]) => el("li", el("b", figure), words && ` ${words}`)));

  const [tone, sign, title, meaning] = OUTCOMES[outcome] || ["void", "?", outcome, ""];
  const kept = outcome === "ok" && objectives.length ? " Every objective was kept." : "";
  const why = reasons.length && el("ul", reasons.map((reason) => el("li", reason)));
  const mark = el("span.sign", sign);
  mark.ariaHidden = "true";
  const words = el("div", el("strong", title), el("p", meaning, kept), why);
  fill("verdict", mark, words).dataset.tone = tone;

  const promised = textTable(
    ["", "Objective", "Phase", "Stream", el("th.number", "Found")],
    objectives.map((one) => row(
      one.kept ? el("td.good", "✓ kept") : el("td.bad", "✕ broken"),
      one.text, named(one.phase), named(one.stream), el("td.number", time(one.found)))));
  fill("objectives", promised && el("div.card", promised));
}

const most = (all) =>
  all.filter((one) => known(one.value)).reduce((a, b) => (a?.value >= b.value ? a : b), null);

/** The greatest of what `read` finds in the phases of a side, and where. */
function worst(side, read) {
  const found = (phase) => read(phase).map((value) => ({ value, phase: phase.name }));
  return most(side.phases.flatMap(found));
}
const p99 = (measure) => (phase) =>
  latenciesOf(phase.streams, measure).map((one) => one.summary.p99);

/** Server memory that came since nobody was connected, for each connection. */
function rss({ ramp: { server, connections } }, when) {
  if (!server[0] || !server[when] || !connections) return null;
  return (server[when].resident_bytes - server[0].resident_bytes) / connections;
}

/** What most want to know, of all phases or of the load that held. */
function tiles({ sides: [first, ...others] }) {
  if (!first) return;
  const repeated = phaseNames([first]).length > 1;
  const where = (found) => repeated && found && `worst: ${named(found.phase)}`;
  const beside = (write) =>
    others.map((side) => el("p.beside", el("span", named(side.name)), write(side)));
  const line = (note) => (note instanceof Node ? note : el("p", note));
  const tile = (title, value, ...notes) =>
    el("dl.tile", el("dt", title), el("dd", value), some(notes).map(line));
  const worstTile = (title, read) => {
    const found = worst(first, read);
    const besides = beside((side) => time(worst(side, read)?.value));
    return tile(title, time(found?.value), where(found), besides);
  };
  const counts = first.phases.flatMap((phase) => phase.streams.map((stream) => stream.counts));
  const came = sum(counts.map((one) => one.delivered + one.caught_up));
  const expected = sum(counts.map((one) => one.expected));
  const both = `${count(came)} of ${count(expected)}`;
  const delivered = tile("Delivered", wholeShare(came, expected), both);
  if (came < expected) delivered.dataset.tone = "bad";
  fill("tiles",
    worstTile("Last receiver, p99", p99("last")),
    worstTile("Ack, p99", p99("ack")),
    delivered,
    worstTile("CPU per delivery", (phase) => [phase.usage.server_us_per_delivery]),
    tile("RSS per connection", bytes(rss(first, 1)), beside((side) => bytes(rss(side, 1)))));
}

/** Codes and how often, of some repeats of a stream. */
function refusals(streams) {
  const codes = streams.flatMap((stream) => Object.entries(stream.counts.refused));
  const times = (code) => sum(codes.filter(([one]) => one === code).map(([, n]) => n));
  const each = unique(codes.map(([code]) => code));
  return each.map((code) => `${count(times(code))} with code ${code}`).join(", ");
}

/** One stream of one phase: its traffic, its deliveries, then its latencies. */
function streamRows(name, runs) {
  const mine = runs.map((phases) => streamsOf(phases, name));
  const all = mine.flat();
  const total = (streams, key) => count(sum(streams.map((stream) => stream.counts[key])));
  const wide = (title, hint, read) =>
    wideRow(hinted(title, hint), mine.map((streams) => (streams.length && read(streams)) || NONE));
  const counted = (key, title, hint, read = (streams) => total(streams, key)) =>
    all.some((stream) => stream.counts[key]) && wide(title, hint, read);
  const rateOf = (streams, key, format) => typical(streams.map((one) => one[key]), format);
  const op = unique(all.map((stream) => stream.op)).join(", ");
  return el("tbody",
    groupRow([named(name), el("span.note", ` ${op}`)], runs),
    wide("Answered of asked", "", (streams) =>
      `${rateOf(streams, "achieved", short)} of ${rateOf(streams, "asked", rate)}`),
    counted("expected", "Delivered of expected", "", (streams) =>
      `${total(streams, "delivered")} of ${total(streams, "expected")}`),
    counted("complete", "Messages that everyone got", ""),
    counted("caught_up", "Came later", "from history or after a reconnect"),
    counted("rows", "Rows read from history", ""),
    counted("unsent", "Not sent", "nobody of the channel was connected"),
    counted("delivered_slowly", "To slow readers", "by scenario; in no latency"),
    refusals(all) && wide("Refused", "", refusals),
    Object.keys(MEASURES).map((measure) => latencyRow(measure, mine)));
}

/** One measure of all sides; nothing if no side has it. */
function latencyRow(measure, mine) {
  if (!latenciesOf(mine.flat(), measure).length) return null;
  const swatch = el("span.swatch");
  swatch.style.background = `var(--${measure})`;
  return row([swatch, hinted(...MEASURES[measure])], mine.map((streams) => quantileCells((key) =>
    figure(latenciesOf(streams, measure).map((one) => one.summary[key]), time))).flat());
}

function costRows(runs) {
  const all = [
    ["Server CPU per delivery", "", (usage) => usage.server_us_per_delivery, time],
    ["Server CPU", "share of one core", (usage) => usage.server_busy, share],
    ["Server memory", "at the end", (usage) => usage.server?.resident_bytes, bytes],
    ["Server descriptors", "at the end", (usage) => usage.server?.descriptors, count],
    ["Bytes per delivery", "on the wire", (usage) => usage.bytes_per_delivery, bytes],
    ["Harness CPU per delivery", "", (usage) => usage.own_us_per_delivery, time],
    ["Busiest worker", "share of one core", (usage) => usage.own_busiest, share],
    ["Machine busy", "", (usage) => usage.machine_busy, share],
    ["Steal", "taken by other machines", (usage) => usage.steal, share],
  ];
  const cost = (phases, read, format) => figure(phases.map((phase) => read(phase.usage)), format);
  return el("tbody", groupRow("Cost", runs), all.map(([title, hint, read, format]) =>
    wideRow(hinted(title, hint), runs.map((phases) => cost(phases, read, format)))));
}

function phaseCard(sides, name) {
  const runs = sides.map((side) => instances(side, name));
  const repeats = Math.max(...runs.map((phases) => phases.length));
  const lengths = runs.flat().map((phase) => phase.seconds);
  const length = span(Math.min(...lengths), Math.max(...lengths), seconds);
  const many = `${repeats} repeats of ${length}: median, range below, counts added up`;
  const streams = streamNames(runs.flat()).map((stream) => streamRows(stream, runs));
  const figures = quantileTable(sides, streams, costRows(runs));
  return card(named(name), repeats > 1 ? many : length, figures);
}

function keyFigures(report) {
  const { sides, saturation } = report;
  const names = phaseNames(sides);
  const narrow = sides.length === 1 && names.length > 1 ? ".narrow" : "";
  const cards = el(`div.phases${narrow}`, names.map((name) => phaseCard(sides, name)));
  const folded = saturation && el("details", el("summary", "All figures of each load"), cards);
  fill("phases",
    sides.length > 1 && names.length && comparison(report),
    names.length ? folded || cards : empty("No phase was run."));
  if (!sides.length) return;
  const own = ({ ramp: { own_bytes: [before, now], connections } }) =>
    connections ? (now - before) / connections : null;
  const memory = sideTable(sides, [
    ["Server memory per connection, connected", (side) => bytes(rss(side, 1))],
    ["… with all channels made", (side) => bytes(rss(side, 2))],
    ["… after all phases", (side) => bytes(rss(side, 3))],
    ["Server descriptors, connected", (side) => count(side.ramp.server[1]?.descriptors)],
    ["Harness memory per connection", (side) => bytes(own(side))],
  ]);
  fill("whole", card("Memory and descriptors", "", memory));
}
