// What a search for the limit found: the load that held, the knee, and every load that was tried.

const STEPS = {
  held: ["good", "✓ held", "● held"],
  broke: ["bad", "✕ broke", "✕ broke"],
  "harness-bound": ["void", "○ harness-bound", "○ harness-bound: the harness was late"],
};

/** The try that gave the answer; -1 if no load held. */
const answer = ({ load, steps }) =>
  steps.findLastIndex((step) => step.load === load && step.verdict === "held");

/** Phases of a search are its tries, one for each. */
const answerPhase = ({ saturation, sides }) =>
  saturation && sides[0]?.phases[answer(saturation)];

/** The sentence that the page leads with. */
function limit({ saturation: { load, offered, achieved, slo, bound, steps }, sides }) {
  const streams = sides.flatMap((side) => side.phases).flatMap((phase) => phase.streams);
  const what = streams.every((one) => one.op === "send") ? "messages" : "operations";
  const by = `, bound by ${bound.replace("harness-bound: the harness", "the harness: it")}`;
  const held = steps.filter((step) => step.verdict === "held").length;
  const tries = `${held} of ${count(steps.length)} tries held.`;
  fill("limit",
    el("p.limit", el("b", known(load) ? `${short(achieved)} ${what}/s held` : "No load held"), by),
    slo && el("p", slo),
    el("p.lede",
      known(load) && `${rate(offered)} asked for, ${times(load)} the scenario’s rates. `, tries,
      known(load) && " At the load that held:"));
}

function stepTable({ saturation }) {
  const best = answer(saturation);
  const number = (text) => el("td.number", text);
  const rows = saturation.steps.map((step, n) => {
    const [tone, sign] = STEPS[step.verdict];
    const line = row(el("th", times(step.load)), el(`td.${tone}`, sign),
      [step.offered, step.achieved].map((n) => number(short(n))),
      [step.ack_p99, step.last_p99, step.lateness_p99].map((us) => number(us ? time(us) : NONE)),
      [step.server_busy, step.machine_busy].map((busy) => number(share(busy))),
      el("td.why", step.why));
    if (n === best) line.className = "best";
    return line;
  });
  const head = ["Asked /s", "Answered /s", "Ack p99", "Last receiver p99", "Harness lateness p99",
    "Server CPU", "Machine busy"];
  return card("Each load that was tried", "in order; as a multiple of the scenario’s rates",
    textTable(["Load", "", ...head.map((title) => el("th.number", title)), "Why not"], rows));
}

/** What became of a step, at its place on each line. */
const stepMarks = (steps, lines) => {
  const colours = lines.map((line) => colour(line.colour));
  const [bad, back] = [colour("bad"), colour("card")];
  return ({ ctx, valToPos }) => {
    const r = 4 * uPlot.pxRatio;
    ctx.save();
    ctx.lineWidth = r / 2;
    ctx.setLineDash([]);
    lines.forEach(({ values }, line) => steps.forEach(({ offered, verdict }, n) => {
      if (!known(values[n])) return;
      const [x, y] = [valToPos(offered, "x", true), valToPos(values[n], "y", true)];
      ctx.strokeStyle = verdict === "broke" ? bad : colours[line];
      ctx.fillStyle = verdict === "held" ? colours[line] : back;
      ctx.beginPath();
      if (verdict === "broke") {
        ctx.moveTo(x - r, y - r);
        ctx.lineTo(x + r, y + r);
        ctx.moveTo(x - r, y + r);
        ctx.lineTo(x + r, y - r);
      } else {
        ctx.arc(x, y, r, 0, 7);
        ctx.fill();
      }
      ctx.stroke();
    }));
    ctx.restore();
  };
};

function drawKnee(report) {
  const { saturation } = report;
  if (!saturation) return [];
  const best = saturation.steps[answer(saturation)];
  const steps = [...saturation.steps].sort((a, b) => a.offered - b.offered);
  if (!steps.length) {
    fill("knee", empty("No load was tried."));
    return [];
  }
  const [low, high] = [steps[0].offered, steps.at(-1).offered];
  const room = (high - low) * 0.05 || high * 0.1 || 1;
  const words = Object.entries(STEPS)
    .filter(([verdict]) => steps.some((step) => step.verdict === verdict))
    .map(([, [tone, , text]]) => el(`span.${tone}`, text));
  const x = {
    title: "Asked for",
    format: (n, at) => `${rate(n)}, ${steps[at].verdict}`,
    scale: { range: [Math.max(0, low - room), high + room] },
    axis: { values: (_, marks) => marks.map((n) => short(n)) },
  };
  const [latency, answered] = [el("div"), el("div")];
  fill("knee",
    card("Latency against load", "", latency, el("p.note.signs", words)),
    card("Answered against asked", "", answered),
    stepTable(report));
  const draw = (host, y, lines, marked) => chart(host, {
    x,
    y,
    lines: lines.map((line) => ({ width: 1.75, side: 0, dots: false, ...line })),
    data: steps.map((step) => step.offered),
    height: 300,
    rest: best && steps.indexOf(best),
    hooks: {
      draw: [uprights(best ? [[best.offered, `held: ${rate(best.offered)}`]] : []),
        stepMarks(steps, lines.slice(0, marked))],
    },
  });
  const values = (key) => steps.map((step) => step[key] || null);
  const p99 = [
    { label: "Ack p99", colour: "ack", values: values("ack_p99") },
    { label: "Last receiver p99", colour: "last", values: values("last_p99"), width: 2.5 },
  ].filter((line) => line.values.some(known));
  if (!p99.length) latency.append(empty("Not measured."));
  return [
    ...(p99.length ? [draw(latency, LATENCY, p99)] : []),
    draw(answered, RATE, [
      { label: "Answered", colour: "response", values: values("achieved") },
      { label: "Asked", colour: "lateness", values: values("offered"), side: 1 },
    ], 1),
  ];
}
