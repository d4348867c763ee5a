// Verdicts of the sandbox in words, and what a run or a test gave.
import { make } from "./make.js";
import { counted, duration } from "./say.js";

const WORDS = {
  passed: "passed", wrong_answer: "wrong answer", exception: "exception", syntax_error: "syntax error", timeout_cpu: "out of time",
  timeout_wall: "out of time (waiting)", memory: "out of memory", output_limit: "too much output", killed: "ended too early",
  nonplain: "answer cannot be compared", infrastructure: "the sandbox failed",
};
export const passed = (result) => result.verdict === "passed";
export const inWords = (result, ran = false) => (ran && passed(result) ? "ran without an error" : WORDS[result.verdict] ?? result.verdict.replaceAll("_", " "));

export const chip = (result, ran = false) => make("em", { className: `chip ${passed(result) ? "ok" : "invalid"}` },
  make("span", { aria: { hidden: "true" }, textContent: passed(result) ? "✓ " : "✗ " }), inWords(result, ran));

export const countOf = (result) => (result.tests_run ? `${result.tests_passed} of ${counted(result.tests_run, "test")} passed` : "");

const output = (words, text) => (text ? make("div", { className: "output" }, make("p", { className: "label", textContent: words }),
  make("pre", { tabIndex: 0, role: "group", label: words, textContent: text })) : null);

export const resultView = (result, ran) => {
  const facts = [countOf(result), duration(result.seconds ?? 0), result.tier ? `sandbox: ${result.tier}` : ""].filter((part) => part).join(" · ");
  return make("div", { className: "result" }, make("p", { className: "verdict" }, chip(result, ran), make("span", { className: "muted", textContent: facts })),
    result.detail ? make("p", { className: "detail", textContent: result.detail }) : null, output("Output", result.stdout), output("Errors", result.stderr),
    ran && passed(result) && !result.stdout && !result.stderr ? make("p", { className: "muted note", textContent: "It printed nothing." }) : null);
};

// What a model is told of a failure.
export const errorText = (result) => [result.detail || inWords(result), result.stderr].filter((part) => part).join("\n").slice(0, 8000);
