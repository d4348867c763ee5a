// Has the model mend the code of a block: each round as a diff with its verdict, until the tests pass or the rounds are over.
import { panel, testsKey } from "./bench.js";
import { diffView } from "./diff.js";
import { button, field, make } from "./make.js";
import { announce, fault, note } from "./say.js";
import { call, stream } from "./server.js";
import { decoding } from "./settings.js";
import { keep, recall } from "./store.js";
import { chip, countOf, inWords } from "./verdicts.js";

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;

const roundView = (round) => make("li", { className: "round" },
  make("p", { className: "verdict" }, make("strong", { textContent: round.number ? `Round ${round.number}` : "As given" }), chip(round),
    make("span", { className: "muted", textContent: countOf(round) })),
  round.detail ? make("p", { className: "detail", textContent: round.detail }) : null,
  round.number && round.diff ? diffView(round.diff, `Round ${round.number}: what was changed`) : null,
  round.remark ? note(sentence(round.remark)) : null,
  round.number && !round.diff && !round.remark ? note("Nothing was changed.") : null);

export const mendPanel = (program) => {
  const tests = make("textarea", { rows: 3, spellcheck: false, className: "mono", placeholder: "assert add(2, 3) == 5" });
  tests.addEventListener("input", () => keep(testsKey(program), tests.value));
  const model = make("select", {}, ...program.models.map((name) => make("option", { value: name, textContent: name })));
  model.value = program.model();
  const rounds = make("input", { type: "number", min: 1, max: program.limits.rounds ?? 4, step: 1, value: program.limits.rounds ?? 4 });
  const begin = make("button", { type: "submit", className: "main", textContent: "Mend" });
  const stop = button("Stop", () => going?.abort(), { hidden: true });
  const place = make("div", { className: "result-place" });
  let going = null;
  const run = async () => {
    if (going) return;
    going = new AbortController();
    [begin.disabled, stop.hidden] = [true, false];
    try { await mended(program, { tests: tests.value, rounds: Number(rounds.value), model: model.value }, place, going.signal); } finally { going = null; [begin.disabled, stop.hidden] = [false, true]; }
  };
  const hint = make("small", { className: "muted", textContent: "The model is given your question, the code, its error and tests that fail." });
  const form = make("form", { className: "panel-form" }, field("Tests that it must pass", tests),
    make("div", { className: "fields mend-fields" }, field("Model", model), field("Rounds", rounds)), make("div", { className: "panel-row" }, begin, stop, hint));
  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  const start = () => {
    tests.value = recall(testsKey(program), tests.value);
    if (tests.value.trim()) run();
    else { tests.focus(); place.replaceChildren(note("Mending needs a test: it ends when the tests pass, and only the sandbox says so.")); }
  };
  return { node: panel("Mend", program, form, place), start };
};

const mended = async (program, { tests, rounds: most, model }, place, signal) => {
  if (!tests.trim()) { place.replaceChildren(fault(new Error("there are no tests yet: write an assert line or JSON rows"))); return; }
  const rounds = make("ol", { className: "rounds", label: "Rounds" });
  const writing = make("pre", { className: "writing", tabIndex: 0, role: "group", label: "What the model writes", hidden: true });
  const [state, given] = [note("Testing the code as it is…"), program.source()];
  place.replaceChildren(rounds, writing, state);
  const tried = [];
  const tell = (event) => {
    if (event.type === "round") {
      tried.push(event);
      rounds.append(roundView(event));
      place.scrollIntoView({ block: place.offsetHeight < innerHeight / 2 ? "nearest" : "end" });
      announce(`${event.number ? `Round ${event.number}` : "As given"}: ${inWords(event)}, ${countOf(event)}`);
      [writing.hidden, writing.textContent, state.textContent] = [true, "", event.verdict === "passed" ? "" : "The model writes…"];
    } else if (event.type === "piece") {
      writing.hidden = false;
      writing.textContent += event.text;
      writing.scrollTop = writing.scrollHeight;
    } else if (event.type === "error") throw new Error(event.message);
    else if (event.type === "done") { writing.remove(); state.replaceWith(ending(program, event, { given, tests, model, tried })); place.scrollIntoView({ block: "end" }); }
  };
  try {
    const wish = { question: program.question, code: given, tests, model, rounds: most, decoding: decoding() };
    await stream("/api/mend", wish, tell, signal);
  } catch (error) {
    writing.hidden = true;
    state.replaceWith(error.name === "AbortError" ? note("Stopped.") : fault(error));
  }
};

const ending = (program, done, { given, tests, model, tried }) => {
  const [first, last] = [tried[0], tried.at(-1)];
  announce(done.message);
  const words = sentence(done.message || (done.passed ? "the tests pass" : "no mended program was found"));
  const box = make("div", { className: `ending ${done.passed ? "good" : ""}` }, make("p", { className: "ending-words", textContent: words }));
  if (!done.passed || done.code === given) return box;
  if (done.diff !== last?.diff) box.append(diffView(done.diff, "All that was changed"));
  const use = button("Use this program", async () => {
    try {
      await program.change(done.code);
      use.replaceWith(note("It is the program of this answer now."));
      announce("Kept");
    } catch (error) { box.append(fault(error)); }
  }, { className: "main" });
  box.append(make("div", { className: "panel-row" }, use));
  const error = [first ? inWords(first) : "", first?.detail].filter((part) => part).join(": ");
  const pair = { kind: "mend", question: program.question, code: given, tests, error, mended: done.code, model };
  call("POST", "/api/feedback", pair).catch((failed) => box.append(fault(failed)));
  return box;
};
