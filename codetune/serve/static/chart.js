// Loss over steps as SVG: axes with their names, a line for training and one for held-out data.
import { draw, make } from "./make.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [56, 16, 14, 44];
const size = () => (innerWidth < 600 ? [350, 260] : [720, 300]); // letters keep their size on a narrow screen
const WINDOWS = 40; // the mean that is drawn is of one part in so many

export const ticks = (low, high, count) => {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number += 1) found.push(Number((number * step).toPrecision(12)));
  return found;
};

const finite = (points) => points.filter(([, value]) => Number.isFinite(value));
const short = (value) => (Math.abs(value) >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(value));

// Single steps are noisy: each point as the mean of those just before it.
const smooth = (points, window) => points.map(([step], at) => {
  const last = points.slice(Math.max(0, at - window + 1), at + 1);
  return [step, last.reduce((sum, [, value]) => sum + value, 0) / last.length];
});

const linesOf = (loss, valLoss) => {
  const window = Math.ceil(loss.length / WINDOWS);
  const training = window > 1 ? { name: `Training (mean of ${window} points)`, points: smooth(loss, window), raw: loss } : { name: "Training", points: loss };
  return [{ className: "train", ...training }, { className: "held", name: "Held out", points: valLoss }].filter((line) => line.points.length);
};

// From steps and losses to places in a picture of this size.
const scales = (points, [width, height]) => {
  const [steps, values] = [points.map(([step]) => step), points.map(([, value]) => value)];
  const [first, last] = [Math.min(...steps), Math.max(...steps, Math.min(...steps) + 1)];
  const room = (Math.max(...values) - Math.min(...values)) * 0.06 || 0.05;
  const [low, high] = [Math.min(...values) - room, Math.max(...values) + room];
  const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);
  return { x, y, steps: ticks(first, last, width / 90).filter(Number.isInteger), values: ticks(low, high, 5) };
};

const words = (text, attributes) => draw("text", { "text-anchor": "middle", ...attributes }, text);

const axes = ({ x, y, steps, values }, [width, height]) => {
  const [across, up] = [(LEFT + width - RIGHT) / 2, (TOP + height - BOTTOM) / 2];
  return [
    ...values.flatMap((value) => [draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
      words(short(value), { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" })]),
    ...steps.map((step) => words(short(step), { x: x(step), y: height - BOTTOM + 20 })),
    words("step", { x: across, y: height - 6, class: "axis" }),
    words("loss (nats per token)", { x: 14, y: up, transform: `rotate(-90 14 ${up})`, class: "axis" }),
  ];
};

const drawn = ({ className, points, raw }, { x, y }) => {
  const path = (along, name) => draw("polyline", { points: along.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "), class: name });
  const [step, value] = points.at(-1);
  return [raw ? path(raw, `${className} raw`) : null, path(points, className), draw("circle", { cx: x(step), cy: y(value), r: 3.5, class: className })];
};

const said = ({ name, points }) => {
  const [[first, before], [last, after]] = [points[0], points.at(-1)];
  return `${name}: loss from ${before.toFixed(3)} at step ${first} to ${after.toFixed(3)} at step ${last}`;
};

export const lossChart = (loss, valLoss) => {
  const lines = linesOf(finite(loss), finite(valLoss));
  if (!lines.length) return make("p", { className: "muted", textContent: "No step is recorded yet." });
  const box = size();
  const scale = scales(lines.flatMap(({ points, raw }) => raw ?? points), box);
  const svg = draw("svg", { viewBox: `0 0 ${box[0]} ${box[1]}`, role: "img", "aria-label": lines.map(said).join("; "), class: "chart" },
    axes(scale, box), ...lines.map((line) => drawn(line, scale)));
  const legend = lines.map(({ name, className, points }) => make("span", {}, make("i", { className: `swatch ${className}` }), `${name}: ${points.at(-1)[1].toFixed(3)}`));
  return make("div", {}, make("p", { className: "legend" }, legend), svg);
};
