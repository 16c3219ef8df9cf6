// What is read when something is odd: correctness, connecting, fine print.

function countBox(title, n) {
  const box = el("div", el("dt", title), el("dd", count(n)));
  box.dataset.tone = n ? "bad" : "good";
  return box;
}

function verdictCard(side, alone) {
  const { lost, duplicated, reordered, corrupted, witnesses, laws, checker } = side.verdict;
  const { passed, channels_read, rows_read } = side.verdict;
  const kinds = Object.entries({ lost, duplicated, reordered, corrupted });
  const words = el("details", el("summary", "What the history checker says"), el("pre", checker));
  words.open = !passed;
  return card(
    [
      alone ? "" : named(side.name),
      passed ? el("span.good", "✓ nothing is wrong") : el("span.bad", "✕ something is wrong"),
    ],
    `${plural(channels_read, "channel")} and ${plural(rows_read, "row")} read back from history`,
    el("dl.counts", kinds.map((one) => countBox(...one))),
    textTable(
      ["Wrong", "Channel", el("th.number", "Position"), "Message", "Connection"],
      witnesses.map(({ wrong, channel, seq, message, connection }) =>
        row(el("th.bad", wrong), channel, el("td.number", count(seq)), message, connection))),
    textTable(
      ["Broken law", el("th.number", "Times")],
      Object.entries(laws).map(([law, n]) => row(el("th.bad", law), el("td.number", count(n))))),
    checker && words);
}

function correctness({ sides }) {
  const cards = sides.map((side) => verdictCard(side, sides.length === 1));
  fill("verdicts", cards.length ? cards : empty("No target was reached, so nothing was checked."));
}

const quantilesOf = (summary) => (key) => time(summary.count ? summary[key] : null);

function rampCard(sides) {
  const latencies = (title, hint, key) =>
    row(hinted(title, hint), sides.flatMap((side) => quantileCells(quantilesOf(side.ramp[key]))));
  const loginUs = ({ ramp: { server: [before, now], connections } }) =>
    before && now && connections ? (now.cpu_ns - before.cpu_ns) / 1e3 / connections : null;
  const figures = (title, hint, read) => wideRow(hinted(title, hint), sides.map(read));
  return card("Getting everyone in", "", quantileTable(sides, el("tbody",
    latencies("TLS handshake", "", "handshake"),
    latencies("Live", "logged in and resumed", "login"),
    figures("Connections", "", (side) => count(side.ramp.connections)),
    figures("Server CPU per login", "", (side) => time(loginUs(side))),
    figures("Worker processes", "of the harness", (side) => count(side.workers)),
    figures("Connecting took", "", (side) => seconds(side.ramp.seconds)),
    figures("Making the channels took", "", (side) => seconds(side.ramp.set_up_seconds)),
    figures("Listen queue overflows", "", (side) => count(side.ramp.listen_overflows)))));
}

function repeatName(side, { name, repeat }) {
  return named(name) + (instances(side, name).length > 1 ? `, repeat ${repeat}` : "");
}

/** A card with the phases for which there is something to say; nothing if there are none. */
function phaseRows(sides, title, note, head, shown, cells) {
  const rows = sides.flatMap((side) => side.phases.filter(shown).map((phase) => {
    const name = repeatName(side, phase);
    return row(sides.length > 1 ? `${named(side.name)}: ${name}` : name, cells(phase));
  }));
  return rows.length && card(title, note, table("table", titles("", ...head), el("tbody", rows)));
}

function connecting({ sides }) {
  if (!sides.length) {
    fill("connections", empty("Nobody connected."));
    return;
  }
  fill("connections", rampCard(sides),
    phaseRows(sides, "Resets", "cut by the scenario; timed until everything missed is here",
      ["Resets", "Resumed p50", "p99", "p99.9", "max"],
      (phase) => phase.resets,
      (phase) => [
        count(phase.resets),
        ...QUANTILES.map(([key]) => quantilesOf(phase.resume)(key)),
      ]),
    phaseRows(sides, "Storms", "from the beginning of a storm until so many of its connections " +
      "were live again; resets outside of one are not in it",
      ["Half live", "95 %", "99 %", "All"],
      (phase) => phase.live_again_seconds.some((s) => s > 0),
      (phase) => phase.live_again_seconds.map((s) => (s > 0 ? seconds(s) : NONE))),
    phaseRows(sides, "Slow readers", "connections that read slowly by scenario",
      ["Slow", "Cut by the server", "Delivered to them"],
      (phase) => phase.slow,
      ({ slow, slow_cut, streams }) =>
        [slow, slow_cut, sum(streams.map((one) => one.counts.delivered_slowly))].map(count)),
    phaseRows(sides, "Lost connections", "closed or broken without being asked to",
      ["Lost", "What the first few said"],
      (phase) => phase.lost,
      (phase) => [el("td.bad", count(phase.lost)), phase.closings.join("; ") || NONE]));
}

const facts = (pairs) =>
  el("dl.facts", pairs.map(([name, value]) => [el("dt", name), el("dd", value || NONE)]));

function finePrint({ host, sides, harness, run, version, configuration }) {
  const machine = facts([
    ["System", host.system],
    ["Processor", host.processor],
    ["Cores", count(host.cores)],
    ["Memory", bytes(host.memory_bytes)],
    ["Harness", `damso-loadtest ${harness}`],
    ["Run", String(run)],
    ["Report version", String(version)],
  ]);
  const json = el("pre", JSON.stringify(configuration, null, 2));
  const chosen = el("details", el("summary", "Configuration, as it was run"), json);
  fill("small",
    sides.length === 1 && card("What the target promises", "", promises(sides)),
    card("Where it ran", "", machine, chosen));
}
