// Runs and tests the code of a block in the sandbox of the server, and asks the model what an error means.
import { eachFrame, growing } from "./body.js";
import { button, field, icon, make } from "./make.js";
import { announce, fault, note } from "./say.js";
import { call, stream } from "./server.js";
import { decoding } from "./settings.js";
import { keep, recall } from "./store.js";
import { countOf, errorText, inWords, passed, resultView } from "./verdicts.js";

// Words of a command line: spaces part them, quotes and backslashes keep them together.
export const words = (line) => {
  const found = [];
  const form = /"((?:\\.|[^"\\])*)"|'([^']*)'|((?:\\.|[^\s"'\\])+)/g;
  for (const [, double, single, plain] of line.matchAll(form)) found.push((double ?? plain)?.replace(/\\(.)/g, "$1") ?? single);
  return found;
};

export const panel = (title, program, ...children) => {
  const close = button("", program.close, { className: "icon", label: `Close ${title}` });
  close.append(icon("M5 5l10 10M15 5L5 15"));
  return make("section", { className: "panel", label: title }, make("div", { className: "panel-head" }, make("strong", { textContent: title }), close), ...children);
};

export const testsKey = (program) => `tests-${program.conversation()}`;

// Shares what a run and a test have in common: one at a time, a result or a fault in its place, and what to do about a failure.
const bench = (program, title, go, fields, work, ran) => {
  const place = make("div", { className: "result-place" });
  const start = make("button", { type: "submit", className: "main", textContent: go });
  const form = make("form", { className: "panel-form" }, ...fields, make("div", { className: "panel-row" }, start));
  const run = async () => {
    if (start.disabled) return;
    start.disabled = true;
    place.replaceChildren(note("Running in the sandbox…"));
    try {
      const result = await work();
      place.replaceChildren(resultView(result, ran));
      announce([ran ? "Run:" : "Test:", inWords(result, ran), countOf(result)].join(" "));
      program.failed = passed(result) ? null : { result, error: errorText(result) };
      if (!passed(result)) place.append(remedies(program));
    } catch (error) { place.replaceChildren(fault(error)); } finally { start.disabled = false; }
    place.scrollIntoView({ block: "nearest" });
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); } });
  return { node: panel(title, program, form, place), run };
};

export const runPanel = (program) => {
  const stdin = make("textarea", { rows: 2, spellcheck: false });
  const given = make("input", { type: "text", autocomplete: "off", spellcheck: false, placeholder: "--verbose 3" });
  const fields = [make("div", { className: "fields" }, field("Standard input", stdin), field("Arguments", given))];
  const work = () => call("POST", "/api/run", { code: program.source(), stdin: stdin.value, arguments: words(given.value) });
  const { node, run } = bench(program, "Run", "Run", fields, work, true);
  return { node, start: run };
};

export const testPanel = (program) => {
  const tests = make("textarea", { rows: 4, spellcheck: false, className: "mono", placeholder: "assert add(2, 3) == 5", value: recall(testsKey(program), "") });
  tests.addEventListener("input", () => keep(testsKey(program), tests.value));
  const hint = "Assert lines, test functions, or JSON rows such as [{\"input\": [2, 3], \"output\": 5}]";
  const work = () => {
    if (!tests.value.trim()) { tests.focus(); throw new Error("there are no tests yet: write an assert line or JSON rows"); }
    return call("POST", "/api/test", { code: program.source(), tests: tests.value });
  };
  const { node, run } = bench(program, "Test", "Run the tests", [field("Tests", tests, hint)], work, false);
  const start = () => {
    tests.value = recall(testsKey(program), tests.value); // another block of this conversation may have changed them
    if (tests.value.trim()) run(); else tests.focus();
  };
  return { node, start };
};

const remedies = (program) => {
  const place = make("div", { className: "explained" });
  const explain = button("Explain error", () => explained(program, place, explain));
  return make("div", {}, make("div", { className: "panel-row" }, explain, button("Mend", () => program.open("mend"))), place);
};

const explained = async (program, place, explain) => {
  const written = growing();
  let text = "";
  const show = eachFrame(() => written.show(text, false));
  explain.disabled = true;
  place.replaceChildren(make("p", { className: "label", textContent: `${program.model()} says` }), written.node);
  const tell = (event) => {
    if (event.type === "piece") { text += event.text; show(); }
    if (event.type === "error") throw new Error(event.message);
  };
  try {
    await stream("/api/explain", { code: program.source(), error: program.failed.error, model: program.model(), decoding: decoding() }, tell);
    written.show(text || "It had nothing to say.", true);
    announce(`Explanation: ${text}`);
  } catch (error) { place.append(fault(error)); } finally { explain.disabled = false; }
};
