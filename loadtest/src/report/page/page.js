// Puts the report on the page and draws it anew when a choice, the colours or the paper change.

addEventListener("error", ({ message }) => {
  document.documentElement.dataset.error = message;
});

const report = JSON.parse(document.getElementById("report").textContent);
for (const side of report.sides) {
  // A load that a search tries again is a repeat of itself.
  for (const phase of side.phases) phase.repeat = instances(side, phase.name).indexOf(phase) + 1;
}
const answered = answerPhase(report);
header(report);
if (report.saturation) limit(report);
if (answered) tiles({ sides: [{ ...report.sides[0], phases: [answered] }] });
else if (!report.saturation) tiles(report);
keyFigures(report);
correctness(report);
connecting(report);
finePrint(report);

/** Phases and their repeats, as some side ran them. */
function runOptions() {
  const runs = (side) => side.phases.map((run) => [repeatName(side, run), run]);
  return [...new Map(report.sides.flatMap(runs))];
}

const both = (name) => [named(name), name];
const phases = phaseNames(report.sides).map(both);
const streams = streamNames(report.sides.flatMap((side) => side.phases)).map(both);
const targets = report.sides.map((side) => [named(side.name), side]);
const curvePhase = choice("Phase", runOptions(), redrawCurves, answered);
const curveStream = choice("Stream", streams, redrawCurves);
const timePhase = choice("Phase", phases, redrawPanels, answered?.name);
const timeSide = choice("Target", targets, redrawPanels);
fill("curve-choices", curvePhase.node, curveStream.node);
fill("time-choices", timePhase.node, timeSide.node);

const drawn = { knee: [], curves: [], panels: [] };

/** Draws one part of the page anew. */
function renew(part, draw) {
  drawn[part].forEach((end) => end());
  drawn[part] = draw();
  document.documentElement.dataset.drawn = Object.values(drawn).flat().length;
}

function redrawCurves() {
  renew("curves", () => drawCurves(report, curvePhase.value(), curveStream.value()));
}

function redrawPanels() {
  renew("panels", () => drawPanels(timeSide.value(), timePhase.value()));
}

function redraw() {
  renew("knee", () => drawKnee(report));
  redrawCurves();
  redrawPanels();
}

redraw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.documentElement.dataset.paper = "";
  redraw();
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.paper;
  redraw();
});

/** For the test of this page: makes all choices, then counts what is drawn on each canvas. */
function check() {
  for (const select of document.querySelectorAll("select")) {
    for (const value of [...select.options].map((option) => option.value).reverse()) {
      select.value = value;
      select.dispatchEvent(new Event("change"));
    }
  }
  setTimeout(() => {
    for (const canvas of document.querySelectorAll("canvas")) {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      // Axes are grey, lines are not.
      const isLine = (_, n) => n % 4 === 0 && Math.abs(data[n] - data[n + 2]) > 40;
      canvas.dataset.pixels = data.filter(isLine).length;
    }
    document.documentElement.dataset.checked = "";
  });
}

if (location.hash === "#check") check();
