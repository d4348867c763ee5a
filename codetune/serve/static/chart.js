// Loss over steps as SVG: axes with their names, a line for training and one for held-out data.
import { draw, make } from "./make.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [56, 16, 14, 44];
const size = () => (innerWidth < 600 ? [350, 260] : [720, 300]); // letters keep their size on a narrow screen

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

export const lossChart = (loss, valLoss) => {
  const lines = [["Training", "train", finite(loss)], ["Held out", "held", finite(valLoss)]].filter(([, , points]) => points.length);
  const [width, height] = size();
  const all = lines.flatMap(([, , points]) => points);
  if (!all.length) return make("p", { className: "muted", textContent: "No step is recorded yet." });
  const [steps, values] = [all.map(([step]) => step), all.map(([, value]) => value)];
  const [first, last] = [Math.min(...steps), Math.max(...steps, Math.min(...steps) + 1)];
  const room = (Math.max(...values) - Math.min(...values)) * 0.06 || 0.05;
  const [low, high] = [Math.min(...values) - room, Math.max(...values) + room];
  const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);
  const text = (at, up, words, anchor, className = "") => draw("text", { x: at, y: up, "text-anchor": anchor, class: className }, words);
  const grid = ticks(low, high, 5).flatMap((value) => [draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }), text(LEFT - 8, y(value) + 4, short(value), "end")]);
  const marks = ticks(first, last, width / 110).filter(Number.isInteger).map((step) => text(x(step), height - BOTTOM + 20, short(step), "middle"));
  const drawn = lines.flatMap(([, className, points]) => [draw("polyline", { points: points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "), class: className }),
    draw("circle", { cx: x(points.at(-1)[0]), cy: y(points.at(-1)[1]), r: 3.5, class: className })]);
  const said = lines.map(([name, , points]) => `${name} loss from ${points[0][1].toFixed(3)} at step ${points[0][0]} to ${points.at(-1)[1].toFixed(3)} at step ${points.at(-1)[0]}`).join("; ");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said, class: "chart" }, ...grid, ...marks, ...drawn,
    text((LEFT + width - RIGHT) / 2, height - 6, "step", "middle", "axis"), draw("text", { x: 14, y: (TOP + height - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(TOP + height - BOTTOM) / 2})`, class: "axis" }, "loss (nats per token)"));
  const legend = make("p", { className: "legend" }, ...lines.map(([name, className, points]) => make("span", {}, make("i", { className: `swatch ${className}` }), `${name} ${points.at(-1)[1].toFixed(3)}`)));
  return make("div", {}, legend, svg);
};
