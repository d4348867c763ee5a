// A block of code with its tools: copy, run, test, mend, edit. Nothing of it is executed in the browser.
import { runPanel, testPanel } from "./bench.js";
import { button, make } from "./make.js";
import { mendPanel } from "./mend.js";
import { coloured } from "./python.js";
import { announce, fault } from "./say.js";

const COPIED_MS = 1600;

const copy = async (text, from) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or no secure address: the old way
    const area = make("textarea", { value: text, className: "hidden" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    from.focus();
  }
  from.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { from.textContent = "Copy"; }, COPIED_MS);
};

// `context`: question, model(), models, conversation(), limits, missing (why nothing can be run, or ""), changed(source) keeps an edited text.
export const codeBlock = (block, context) => {
  let source = block.source;
  const body = make("div", { className: "code-body" });
  const bench = make("div", { className: "bench" });
  const show = () => body.replaceChildren(make("pre", { tabIndex: 0, role: "group", label: "Code" }, coloured(source, block.language)));
  const change = async (text) => { source = text; show(); await context.changed(text); };
  const program = { ...context, source: () => source, change, failed: null };
  const panels = {};
  const tools = {};
  const open = (name) => {
    for (const [other, tool] of Object.entries(tools)) tool.setAttribute("aria-expanded", String(other === name));
    const makers = { run: runPanel, test: testPanel, mend: mendPanel };
    if (!name) bench.replaceChildren();
    else bench.replaceChildren((panels[name] ??= makers[name](program)).node);
    return panels[name];
  };
  program.close = () => {
    const name = Object.keys(tools).find((one) => tools[one].getAttribute("aria-expanded") === "true");
    open("");
    tools[name]?.focus();
  };
  program.open = (name) => open(name).start();
  const tool = (words, name) => {
    tools[name] = button(words, () => program.open(name), { aria: { expanded: "false" }, disabled: Boolean(context.missing), title: context.missing });
    return tools[name];
  };
  const edit = button("Edit", () => edited(body, () => source, change, show, edit));
  const copier = button("Copy", () => copy(source, copier));
  show();
  const row = make("div", { className: "tools", role: "group", label: "Tools for this code" }, copier, tool("Run", "run"), tool("Test", "test"), tool("Mend", "mend"), edit);
  const head = make("div", { className: "code-head" }, make("span", { className: "language", textContent: block.language || "code" }), row);
  return make("figure", { className: "code" }, head, body, bench);
};

// Turns the code into a field, and back; an edit is kept with the answer, Escape leaves it as it was.
const edited = (body, source, change, show, back) => {
  if (body.querySelector("textarea")) { body.querySelector("textarea").focus(); return; }
  const rows = Math.min(30, source().split("\n").length + 1);
  const area = make("textarea", { className: "editor", value: source(), spellcheck: false, label: "Edit the code", rows });
  const close = () => { show(); back.focus(); };
  const save = async () => {
    try { await change(area.value); back.focus(); announce("Edit kept"); } catch (error) { show(); body.append(fault(error)); }
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); }
  });
  const hint = make("small", { className: "muted", textContent: "Ctrl+Enter keeps, Escape cancels" });
  body.replaceChildren(area, make("div", { className: "panel-row" }, button("Keep the edit", save, { className: "main" }), button("Cancel", close), hint));
  area.focus();
};
