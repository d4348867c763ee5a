// Elements with properties and children; whatever a model or a user wrote goes in as text, never as markup.
const filled = (node, children) => { node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false)); return node; };

export const make = (tag, options = {}, ...children) => {
  const { className, label, aria = {}, data = {}, on = {}, ...rest } = options;
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (label) node.setAttribute("aria-label", label);
  for (const [name, value] of Object.entries(aria)) node.setAttribute(`aria-${name}`, value);
  for (const [name, value] of Object.entries(on)) node.addEventListener(name, value);
  Object.assign(node.dataset, data);
  Object.assign(node, rest);
  return filled(node, children);
};

export const draw = (tag, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return filled(node, children);
};

export const icon = (path) => draw("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, draw("path", { d: path }));

export const button = (text, click, options = {}) => make("button", { type: "button", textContent: text, on: { click }, ...options });

let numbered = 0;
export const newId = (stem) => `${stem}-${(numbered += 1)}`;

// A labelled control: the words stand above it.
export const field = (words, control, hint = "") => make("label", { className: "field" }, make("span", { textContent: words }), control,
  hint ? make("small", { textContent: hint }) : null);

// A switch is a checkbox that says what it is.
export const toggle = (words, checked, change) => {
  const box = make("input", { type: "checkbox", checked });
  box.addEventListener("change", () => change(box.checked));
  return [make("label", { className: "switch" }, box, make("i", { aria: { hidden: "true" } }), make("span", { textContent: words })), box];
};
