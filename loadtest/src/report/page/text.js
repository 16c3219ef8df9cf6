// Elements, units and words. Text goes in as text nodes only: names come from people.

const NONE = "–";

const some = (children) => children.flat(9).filter(Boolean);

/** `el("td.number", ...)`: an element, its classes and what is in it. */
function el(what, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  node.append(...some(children));
  return node;
}

function fill(id, ...children) {
  const node = document.getElementById(id);
  node.replaceChildren(...some(children));
  return node;
}

const hinted = (title, hint) => [title, hint && el("span.hint", ` ${hint}`)];
const card = (title, note, ...content) =>
  el("div.card", el("h3", title, note && el("span.note", note)), content);
const empty = (words) => el("p.card.empty", words);

const known = (n) => typeof n === "number" && Number.isFinite(n);

/** A number with about three digits; `fixed` keeps zeros at its end, so that columns align. */
function short(n, fixed = false) {
  const size = Math.abs(n);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return n.toLocaleString("en-US", {
    maximumFractionDigits: digits,
    minimumFractionDigits: fixed ? digits : 0,
  });
}

/** `format` of what is known, a dash for what is not. */
const orNone = (format) => (n) => (known(n) ? format(n) : NONE);

const count = orNone((n) => Math.round(n).toLocaleString("en-US"));
const rate = orNone((n) => `${short(n)} /s`);
const share = orNone((n) => `${short(n * 100)} %`);
const times = orNone((n) => `${n.toFixed(2)} ×`);

const time = orNone((us) => {
  if (us < 1e3) return `${short(us, !Number.isInteger(us))} µs`;
  if (us < 1e6) return `${short(us / 1e3, true)} ms`;
  return `${short(us / 1e6, true)} s`;
});

const bytes = orNone((n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; Math.abs(n) >= 1024 && unit < units.length - 1; unit += 1) n /= 1024;
  return `${short(n, unit > 0)} ${units[unit]}`;
});

const seconds = orNone((s) => {
  if (s < 120) return `${short(s)} s`;
  const whole = Math.round(s);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
});

/** A share that is 100 % only when nothing is missing. */
function wholeShare(part, whole) {
  if (!whole) return NONE;
  const percent = (part / whole) * 100;
  const floored = part < whole ? Math.min(99.999, Math.floor(percent * 1e3) / 1e3) : percent;
  return `${floored.toLocaleString("en-US", { maximumFractionDigits: 3 })} %`;
}

const named = (name) => name || "(unnamed)";
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

/** `low` to `high`; a unit that both have is said once, or not at all below a figure that has it. */
function span(low, high, format, below = false) {
  const [from, to] = [format(low), format(high)];
  if (from === to) return from;
  const unit = / \S+$/.exec(to)?.[0];
  if (!unit || !from.endsWith(unit)) return `${from} – ${to}`;
  const bare = (text) => text.slice(0, -unit.length);
  return below ? `${bare(from)}–${bare(to)}` : `${bare(from)} – ${to}`;
}

function median(sorted) {
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What is typical of several repeats. */
function typical(values, format) {
  const found = values.filter(known).sort((a, b) => a - b);
  return found.length ? format(median(found)) : NONE;
}

/** The same with the range under it. */
function figure(values, format) {
  const found = values.filter(known);
  return ranged(typical(found, format), [Math.min(...found), Math.max(...found)], format);
}

/** `text` with the range under it if there is one. */
function ranged(text, [low, high], format) {
  const range = format(low) === format(high) ? "" : span(low, high, format, true);
  return range ? el("span", text, el("small.range", range)) : text;
}

const sum = (values) => values.reduce((total, n) => total + (n || 0), 0);

/** Each once, in the order of first appearance. */
const unique = (names) => [...new Set(names)];

const MEASURES = {
  ack: ["Ack", ""],
  response: ["Each receiver", ""],
  last: ["Last receiver", ""],
  service: ["Service", "from the actual send"],
  naive: ["Naive", "ack, closed loop"],
  refused: ["Refusal", ""],
  page: ["Page of history", ""],
  lateness: ["Harness lateness", ""],
};

const OUTCOMES = {
  ok: ["good", "✓", "Passed", "Nothing was lost, repeated, reordered or damaged."],
  slo: ["warn", "!", "Objective broken", "All came as it should, but slower than was promised."],
  incorrect: ["bad", "✕", "Incorrect", "Something was lost, repeated, reordered or damaged."],
  void: [
    "void",
    "?",
    "Void",
    "The harness itself was late: this run says nothing about the target.",
  ],
  usage: ["bad", "✕", "Not run", "Wrong options, or the target refuses what the run needs."],
  unreachable: ["bad", "✕", "Unreachable", "Nothing answers."],
};
