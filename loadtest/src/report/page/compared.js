// All sides next to each other, with what each promises right below: a figure alone says little.

const quantileOf = (key, ...measures) => ({ streams }) => {
  const found = measures.flatMap((measure) => latenciesOf(streams, measure));
  return figure(found.map((one) => one.summary[key]), time);
};
const costOf = (key, format) => ({ phases }) =>
  figure(phases.map((phase) => phase.usage[key]), format);

/** Title and how to write it; the figures of a stream, then those of a phase, which stand once. */
const OF_STREAM = [
  ["Ack p50", quantileOf("p50", "ack")],
  ["Ack p99", quantileOf("p99", "ack")],
  // A page of history has a last part instead of a last receiver.
  ["Last receiver p50", quantileOf("p50", "last", "page")],
  ["Last receiver p99", quantileOf("p99", "last", "page")],
];
const OF_PHASE = [
  ["CPU per delivery", costOf("server_us_per_delivery", time)],
  ["RSS per connection", ({ side }) => bytes(rss(side, 1))],
  ["Bytes per delivery", costOf("bytes_per_delivery", bytes)],
];
const RATIOS = [
  ["CPU ratio", ({ ratio }) =>
    el("b", ratio ? ranged(times(ratio.ratio), ratio.spread, times) : NONE)],
  ["RSS ratio", ({ first, side }) => el("b", times((rss(first, 1) ?? NaN) / rss(side, 1)))],
];

const promises = (sides) => facts(sides.map((side) => [named(side.name), side.guarantees]));

function comparison({ sides, ratios }) {
  const [first] = sides;
  const once = (side) => (side === first ? OF_PHASE : [...OF_PHASE, ...RATIOS]);
  const cell = (what, n, content) => el(n ? what : `${what}.first`, content);
  const head = titles("", ...sides.flatMap((side) =>
    [...OF_STREAM, ...once(side)].map(([title], n) => cell("th", n, title))));
  head.prepend(el("tr", el("th"), sides.map((side) =>
    over(OF_STREAM.length + once(side).length, el("th.side.first", named(side.name))))));

  const group = (phase) => {
    const runs = sides.map((side) => instances(side, phase));
    const streams = streamNames(runs.flat());
    // A phase without traffic has its costs.
    const names = streams.length ? streams : [null];
    const cells = (name, line) => sides.flatMap((side, n) => {
      const ratio = ratios.find((one) => one.phase === phase && one.by === side.name);
      const about = { first, side, ratio, phases: runs[n], streams: streamsOf(runs[n], name) };
      return [
        OF_STREAM.map(([, write], n) => cell("td", n, write(about))),
        line ? [] : once(side).map(([, write]) =>
          Object.assign(el("td", write(about)), { rowSpan: names.length })),
      ];
    });
    return el("tbody", names.map((name, line) => {
      const pages = streamsOf(runs.flat(), name).some((stream) => stream.op === "history");
      const title = el("th", line ? "" : named(phase),
        name !== null && el("small.range", named(name), pages && ": pages, last part"));
      return row(title, cells(name, line).flat());
    }));
  };
  const groups = phaseNames(sides).map(group);

  const repeats = Math.max(...sides.flatMap((side) => side.phases.map((phase) => phase.repeat)));
  const name = named(first.name);
  const note = `RSS with everyone connected; a ratio below 1: ${name} takes less`;
  return card("Compared",
    repeats > 1 ? `medians of ${repeats} repeats, range below; ${note}` : note,
    table("table.compared", head, groups), promises(sides));
}
