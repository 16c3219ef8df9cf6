// Percentile curves and panels over time, drawn by uPlot.

const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const MARKERS = ["solid", "dashed", "dotted", "dashed"];
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];

/** The value of a colour variable now; canvases cannot take variables. */
function colour(name) {
  const probe = document.body.appendChild(el("i.probe"));
  probe.style.color = `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const powerBelow = (n) => 10 ** Math.floor(Math.log10(n) + 1e-9);

/** The next of 1, 2, 5, 10, ... at or below `n`, or at or above it. */
function stepBelow(n) {
  const power = powerBelow(n);
  return power * (n >= 5 * power ? 5 : n >= 2 * power ? 2 : 1);
}

function stepAbove(n) {
  const below = stepBelow(n);
  return n <= below ? below : stepBelow(below * 2.5);
}

/** Marks of a log axis: `steps` of each power of ten. */
function logMarks(low, high, steps) {
  const marks = [];
  for (let power = powerBelow(low); power <= high; power *= 10) {
    marks.push(...steps.map((step) => step * power));
  }
  return marks.filter((mark) => mark >= low * 0.999 && mark <= high * 1.001);
}

/** How a value axis is scaled and written. */
const LATENCY = {
  format: time,
  scale: {
    distr: 3,
    range: (_, low, high) => {
      const bottom = stepBelow(Math.max(1, low ?? 1));
      const top = stepAbove(Math.max(1, high ?? 10));
      return [bottom, top > bottom ? top : stepAbove(bottom * 2)];
    },
  },
  axis: {
    splits: (_, __, low, high) => logMarks(low, high, high / low > 2000 ? [1] : [1, 2, 5]),
    filter: (_, marks) => marks,
  },
};
const linear = (format, axis) => ({
  format,
  scale: { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 1] },
  axis,
});
const RATE = linear(rate);
const COUNT = linear(count);
const SHARE = linear(share);
const BYTES = linear(bytes, { incrs: Array.from({ length: 50 }, (_, n) => 2 ** n) });

/** A mark on a value axis: what its unit leaves of zeros is noise there. */
const mark = (format) => (n) => (n == null ? "" : format(n).replace(/\.0+(?= )/, ""));

/** Draws into `host` and follows its width. `x`: scale, axis, title and how to write a value. */
function chart(host, { x, y, lines, data, height, sync, hooks, rest }) {
  const axis = (more) => ({
    stroke: colour("muted"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { show: false },
    ...more,
  });
  // Where no pointer is, the values at `rest` are shown, or none.
  const write = (format) => (plot, value, n, index) => {
    const at = index ?? rest;
    return at == null ? "" : format(plot.data[n][at], at);
  };
  const series = (line) => ({
    label: line.label,
    stroke: colour(line.colour),
    width: line.width,
    dash: DASHES[line.side % DASHES.length],
    // A point is seen only where no line leads to it.
    points: { show: line.dots ?? line.values.filter(known).length < 8, size: 5 },
    value: write(y.format),
  });
  const options = {
    width: Math.max(200, host.clientWidth),
    height,
    padding: [10, 18, 0, 0],
    cursor: { sync, y: false, drag: { x: false, y: false }, points: { size: 7 } },
    legend: {
      markers: { width: 2.5, dash: (_, n) => MARKERS[lines[n - 1]?.side % MARKERS.length] },
    },
    scales: { x: { time: false, ...x.scale }, y: y.scale },
    axes: [
      axis({ gap: 9, size: 34, ...x.axis }),
      axis({ gap: 8, size: 66, values: (_, marks) => marks.map(mark(y.format)), ...y.axis }),
    ],
    series: [{ label: x.title, value: write(x.format) }, ...lines.map(series)],
    hooks,
  };
  const plot = new uPlot(options, [data, ...lines.map((line) => line.values)], host);
  plot.setLegend({ idx: null }, false);
  const observer = new ResizeObserver(() => {
    const width = host.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height });
  });
  observer.observe(host);
  return () => {
    observer.disconnect();
    plot.destroy();
  };
}

/** A labelled select; `options` are [text, value] pairs, and `first` is the value to begin with. */
function choice(label, options, onChange, first) {
  const select = el("select", options.map(([text], n) => new Option(text, n)));
  select.selectedIndex = Math.max(0, options.findIndex(([, value]) => value === first));
  select.addEventListener("change", onChange);
  return { node: el("label", label, select), value: () => options[select.value]?.[1] };
}

/** [1 in how many is beyond it, microseconds] from the median on. */
function curvePoints({ curve, summary }) {
  const points = curve
    .filter(([share]) => share >= 0.5 && share < 1)
    .map(([share, us]) => [Number((1 / (1 - share)).toPrecision(6)), Math.max(1, us)]);
  // The longest has no percentile; it stands where 1 of all stands.
  const end = Math.max(summary.count, points.length ? points[points.length - 1][0] : 2);
  return [...points, [end, Math.max(1, summary.max)]];
}

/** The curve's height at `x`, between its points on the log axis; null beyond its ends. */
function heightAt(points, x) {
  const next = points.findIndex(([at]) => at >= x);
  if (next < 0 || (next === 0 && points[0][0] > x)) return null;
  const [right, above] = points[next];
  if (right === x || next === 0) return above;
  const [left, below] = points[next - 1];
  return below + (above - below) * (Math.log(x / left) / Math.log(right / left));
}

const percentile = (x) => `${Number((100 - 100 / x).toFixed(Math.log10(x) + 1e-9))} %`;

const PERCENTILE_AXIS = {
  title: "At",
  format: percentile,
  scale: { distr: 3, range: (_, __, high) => [2, Math.max(10, high ?? 10)] },
  axis: {
    splits: (_, __, low, high) => [low, ...logMarks(10, high, [1])],
    filter: (plot, marks) => {
      const room = plot.bbox.width / uPlot.pxRatio / marks.length;
      return marks.map((mark, n) => (room > 62 || n % 2 === 0 ? mark : null));
    },
    values: (_, marks) => marks.map((mark) => (mark == null ? "" : percentile(mark))),
  },
};

/** The curves of one stream in one repeat of a phase, of all sides. */
function curvesOf(sides, phase, streamName) {
  const measures = Object.keys(MEASURES);
  const lines = sides.flatMap((side, number) => {
    const run = side.phases.find((one) => one.name === phase?.name && one.repeat === phase.repeat);
    const streams = run ? run.streams.filter((one) => one.name === streamName) : [];
    return latenciesOf(streams).map((one) => ({
      label: MEASURES[one.measure][0] + (sides.length > 1 ? `, ${named(side.name)}` : ""),
      colour: one.measure,
      width: one.measure === "last" ? 2.5 : 1.75,
      side: number,
      points: curvePoints(one),
    }));
  });
  const rank = (line) => measures.indexOf(line.colour) * sides.length + line.side;
  return lines.sort((a, b) => rank(a) - rank(b));
}

function drawCurves({ sides }, phase, streamName) {
  const host = fill("curves", el("div")).firstChild;
  const curves = curvesOf(sides, phase, streamName);
  if (!curves.length) {
    host.append(el("p.empty", "Nothing was measured here."));
    return [];
  }
  const measured = curves.flatMap((curve) => curve.points.map(([x]) => x));
  const round = logMarks(10, Math.max(10, ...measured), [1]);
  const data = unique([...round, ...measured]).sort((a, b) => a - b);
  const values = (curve) => data.map((x) => heightAt(curve.points, x));
  const lines = curves.map((curve) => ({ ...curve, values: values(curve) }));
  const rest = data.findLastIndex((x) => x <= 100);
  return [chart(host, { x: PERCENTILE_AXIS, y: LATENCY, lines, data, height: 380, rest })];
}

const heard = (key, quantile) => (second) =>
  second[key].count ? Math.max(1, second[key][quantile]) : null;
const latencies = (key) => [
  ["p50", "low", heard(key, "p50")],
  ["p99", "response", heard(key, "p99")],
  ["max", "peak", heard(key, "max")],
];

/** Title, value axis, lines (label, colour, value of a second), and how it stands among others. */
const PANELS = [
  ["Latency to the last receiver", LATENCY, latencies("last"), { together: true }],
  ["Latency to the ack", LATENCY, latencies("ack"), { together: true }],
  ["Messages", RATE, [
    ["offered", "lateness", (second) => second.offered],
    ["sent", "response", (second) => second.sent],
    ["acked", "ack", (second) => second.acked],
  ]],
  ["Deliveries", RATE, [["delivered", "last", (second) => second.delivered]]],
  ["Connections", COUNT, [["live", "response", (second) => second.live]], { third: true }],
  ["CPU, share of one core", SHARE, [
    ["server", "last", (second) => second.server_busy],
    ["harness", "lateness", (second) => second.own_busy],
  ], { third: true }],
  ["Server memory", BYTES, [
    ["resident", "last", (second) => second.server_bytes],
  ], { third: true }],
  ["Harness lateness", LATENCY, [["p99", "response", heard("lateness", "p99")]]],
  ["Steal, share of the machine", SHARE, [["steal", "peak", (second) => second.steal]]],
];

/** The seconds of all repeats one after the other, with a hole between two. */
function timeline(side, phase) {
  const line = { at: [], seconds: [], begins: [], names: [] };
  let base = 0;
  for (const run of side ? instances(side, phase) : []) {
    if (!run.series.length) continue;
    if (line.at.length) {
      line.at.push(base + 0.5);
      line.seconds.push(null);
      line.names.push(NONE);
    }
    line.begins.push([base, `repeat ${run.repeat}`]);
    for (const second of run.series) {
      line.at.push(base + second.at);
      line.seconds.push(second);
      line.names.push(second.at);
    }
    base += run.series[run.series.length - 1].at;
  }
  return line;
}

/** Thin lines with a word each: [where, word]. */
const uprights = (all) => ({ ctx, bbox, valToPos }) => {
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("muted");
  ctx.font = `${10.5 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  for (const [at, name] of all) {
    const left = Math.round(valToPos(at, "x", true));
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    // The axis is a line already.
    if (left > bbox.left) ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    // Where a word would leave the chart it stands on the other side.
    const end = left - bbox.left > bbox.width * 0.7;
    ctx.textAlign = end ? "right" : "left";
    ctx.fillText(name, left + (end ? -4 : 4) * ratio, bbox.top);
  }
  ctx.restore();
};

const clock = (s) =>
  s < 120 ? `${short(s)} s` : `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;

const timeAxis = ({ at, names }) => ({
  title: "Second",
  format: (_, index) => (known(names[index]) ? `${names[index]} s` : ""),
  scale: { range: () => [0, Math.max(1, ...at.slice(-1))] },
  axis: { incrs: SECONDS, space: 56, values: (_, marks) => marks.map(clock) },
});

function drawPanels(side, phase) {
  const host = fill("panels");
  const line = timeline(side, phase);
  const valuesOf = ([, , read]) => line.seconds.map((second) => (second ? read(second) : null));
  const together = PANELS.filter(([, , , more]) => more?.together);
  const heights = together.flatMap(([, , lines]) => lines.flatMap(valuesOf)).filter(known);
  heights.sort((a, b) => a - b);
  // Both latencies on one scale, so that eyes can compare them.
  const range = LATENCY.scale.range(null, heights[0], heights.at(-1));
  const shared = { ...LATENCY, scale: { distr: 3, range } };
  const x = timeAxis(line);
  return PANELS.flatMap(([title, y, lines, more]) => {
    const panel = host.appendChild(el(`div.card${more?.third ? ".third" : ""}`, el("h3", title)));
    const found = lines.map((one) => [...one.slice(0, 2), valuesOf(one)]);
    const drawn = found.filter(([, , values]) => values.some(known))
      .map(([label, colour, values]) => ({ label, colour, width: 1.75, side: 0, values }));
    if (!drawn.length) {
      panel.append(el("p.empty", line.at.length ? "Not measured." : "No seconds were recorded."));
      return [];
    }
    return [chart(panel.appendChild(el("div")), {
      x,
      y: more?.together ? shared : y,
      lines: drawn,
      data: line.at,
      height: 190,
      sync: { key: "time" },
      hooks: { draw: [uprights(line.begins.length > 1 ? line.begins : [])] },
    })];
  });
}
