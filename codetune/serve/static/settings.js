// What a question is asked with: models, prompt style, decoding. All of it is in sight, and this browser remembers it.
import { field, make, toggle } from "./make.js";
import { keep, recall } from "./store.js";

let server = { models: [], limits: {} };
const usual = { models: [], sideBySide: false, blind: true, style: "", temperature: 0, top_p: 1, max_new_tokens: null, seed: 0 };
const chosen = { ...usual, ...recall("settings", {}) };
const save = () => keep("settings", { ...chosen });

const NUMBERS = [
  ["temperature", "Temperature", { min: 0, max: 5, step: 0.05 }, "0 is greedy"],
  ["top_p", "Top p", { min: 0.01, max: 1, step: 0.01 }, ""],
  ["max_new_tokens", "Max new tokens", { min: 1, step: 1 }, ""],
  ["seed", "Seed", { min: 0, max: 2147483647, step: 1 }, ""],
];

export const decoding = () => Object.fromEntries(NUMBERS.map(([name]) => [name, chosen[name]]));
export const asked = () => ({
  models: chosen.models.slice(0, chosen.sideBySide ? 2 : 1), blind: chosen.sideBySide && chosen.blind,
  prompt_style: chosen.style || null, decoding: decoding(),
});

export const summary = (values, style) => {
  const how = values.temperature === 0 ? "greedy" : `temperature ${values.temperature}, top p ${values.top_p}, seed ${values.seed}`;
  return [style, how, `up to ${values.max_new_tokens} tokens`].filter((part) => part).join(" · ");
};

const kindOf = (model) => (["base", model.name].includes(model.method) ? model.name : `${model.name} · ${model.method}`);
const select = (options, value, change) => {
  const node = make("select", {}, ...options.map(([name, words]) => make("option", { value: name, textContent: words })));
  node.value = value;
  node.addEventListener("change", () => { change(node.value); save(); });
  return node;
};

const adopt = (state) => {
  server = state;
  const names = state.models.map((model) => model.name);
  const tunedFirst = [...state.models].sort((a, b) => (a.method === "base") - (b.method === "base")).map((model) => model.name);
  const fallback = [tunedFirst[0] ?? "", tunedFirst[1] ?? tunedFirst[0] ?? ""];
  chosen.models = fallback.map((name, side) => (names.includes(chosen.models[side]) ? chosen.models[side] : name));
  const { max_new_tokens: most, default_new_tokens: first } = state.limits;
  chosen.max_new_tokens = Math.min(chosen.max_new_tokens ?? first, most);
};

const stylesOf = () => [...new Set(server.models.filter((model) => asked().models.includes(model.name)).flatMap((model) => model.styles))];

export const settingsView = (state) => {
  adopt(state);
  const models = make("div", { className: "models" });
  const details = make("details", { className: "decoding" });
  const words = make("summary");
  const tell = () => {
    const own = server.models.find((model) => model.name === chosen.models[0])?.prompt_style;
    words.textContent = summary(chosen, chosen.style || (chosen.sideBySide ? "" : own));
  };
  const numbers = NUMBERS.map(([name, title, limits, hint]) => {
    const most = name === "max_new_tokens" ? { max: state.limits.max_new_tokens } : {};
    const node = make("input", { type: "number", value: chosen[name], ...limits, ...most, required: true });
    node.addEventListener("input", () => { if (node.checkValidity()) { chosen[name] = node.valueAsNumber; save(); tell(); } });
    node.addEventListener("blur", () => { if (!node.checkValidity()) node.value = chosen[name]; });
    return field(title, node, hint);
  });
  const style = make("div");
  const fill = () => {
    const options = server.models.map((model) => [model.name, kindOf(model)]);
    const pick = (side, title) => {
      const node = select(options, chosen.models[side], (name) => { chosen.models[side] = name; fill(); });
      node.setAttribute("aria-label", title);
      return node;
    };
    const [both] = toggle("Side by side", chosen.sideBySide, (on) => {
      chosen.sideBySide = on;
      save();
      fill();
      models.querySelector(".switch input").focus();
    });
    const [blind] = toggle("Blind", chosen.blind, (on) => { chosen.blind = on; save(); });
    if (chosen.sideBySide) models.replaceChildren(pick(0, "First model"), make("span", { className: "muted", textContent: "and" }), pick(1, "Second model"), both, blind);
    else models.replaceChildren(pick(0, "Model"), both);
    const styles = stylesOf();
    if (!styles.includes(chosen.style)) chosen.style = "";
    const styleOptions = [["", "its own"], ...styles.map((name) => [name, name])];
    style.replaceChildren(field("Prompt style", select(styleOptions, chosen.style, (name) => { chosen.style = name; tell(); })));
    tell();
  };
  details.append(words, make("div", { className: "fields numbers" }, style, ...numbers));
  fill();
  return { models, details };
};
