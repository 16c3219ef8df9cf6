// Puts the report on the page and draws it anew when a choice, the colours or the paper change.

addEventListener("error", ({ message }) => {
  document.documentElement.dataset.error = message;
});

const report = JSON.parse(document.getElementById("report").textContent);
header(report);
tiles(report);
keyFigures(report);
correctness(report);
connecting(report);
finePrint(report);

/** Phases and their repeats, as some side ran them. */
function runOptions() {
  const runs = (side) => side.phases.map((run) => [repeatName(side, run), run]);
  return [...new Map(report.sides.flatMap(runs))];
}

const streams = streamNames(report.sides.flatMap((side) => side.phases)).map((name) => [
  named(name),
  name,
]);
const curvePhase = choice("Phase", runOptions(), redrawCurves);
const curveStream = choice("Stream", streams, redrawCurves);
const timePhase = choice(
  "Phase",
  phaseNames(report.sides).map((name) => [named(name), name]),
  redrawPanels,
);
const timeSide = choice(
  "Target",
  report.sides.map((side) => [named(side.name), side]),
  redrawPanels,
);
fill("curve-choices", curvePhase.node, curveStream.node);
fill("time-choices", timePhase.node, timeSide.node);

let curves = [];
let panels = [];

function redrawCurves() {
  curves.forEach((end) => end());
  curves = drawCurves(report, curvePhase.value(), curveStream.value());
  document.documentElement.dataset.drawn = curves.length + panels.length;
}

function redrawPanels() {
  panels.forEach((end) => end());
  panels = drawPanels(timeSide.value(), timePhase.value());
  document.documentElement.dataset.drawn = curves.length + panels.length;
}

function redraw() {
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
