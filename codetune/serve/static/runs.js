// Trainings: what is going on, its loss as it falls, what it writes, and how long it will take. Asked anew while it is watched.
import { lossChart } from "./chart.js";
import { make } from "./make.js";
import { coloured } from "./python.js";
import { duration, fault, since } from "./say.js";
import { call } from "./server.js";
import { chip as verdictChip } from "./verdicts.js";

const POLL_MS = 2000;
const LIST_MS = 10000;
const SAMPLES = 6; // the latest come first
const CHIPS = { running: "running", done: "ok", stopped: "warning" };

export const stateChip = (state) => make("em", { className: `chip ${CHIPS[state] ?? "plain"}`, textContent: state });
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : 0 });

const card = (run) => make("li", {}, make("a", { href: `#/runs/${encodeURIComponent(run.id)}`, className: "card link" }, make("strong", { textContent: run.name }), stateChip(run.state),
  make("span", { className: "muted", textContent: [run.study, run.model, run.method, run.data, since(run.updated)].filter((part) => part).join(" · ") })));

const progress = (run) => {
  if (!run.steps) return null;
  const left = run.seconds_left > 0 && run.state === "running" ? ` · about ${duration(run.seconds_left)} left` : "";
  const speed = run.tokens_per_s ? ` · ${number(run.tokens_per_s)} tokens/s` : "";
  const bar = make("progress", { max: run.steps, value: Math.min(run.step ?? 0, run.steps), label: "Steps" });
  return make("div", { className: "progress" }, bar, make("p", { className: "muted", textContent: `Step ${number(run.step ?? 0)} of ${number(run.steps)}${left}${speed}` }));
};

const samples = (run) => (run.samples.length ? make("section", { className: "card" }, make("h3", { textContent: "What it writes" }),
  ...run.samples.slice(0, SAMPLES).map((sample) => make("div", { className: "sample" },
    make("p", { className: "verdict" }, make("strong", { textContent: `Step ${sample.step}` }), make("span", { className: "muted", textContent: sample.prompt }),
      sample.verdict ? verdictChip(sample) : null),
    make("pre", { tabIndex: 0, role: "group", label: `Completion of ${sample.prompt} at step ${sample.step}` }, sample.text ? coloured(sample.text) : "(nothing)"),
    sample.detail ? make("p", { className: "detail", textContent: sample.detail }) : null))) : null);

const factsOf = (run) => {
  const rows = Object.entries(run.facts ?? {}).filter(([, value]) => value !== null && value !== "");
  const words = (value) => (typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));
  return rows.length ? make("section", { className: "card" }, make("h3", { textContent: "Facts" }),
    make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: words(value) })]))) : null;
};

const detail = (run) => [
  make("section", { className: "card" }, make("h3", { textContent: "Loss" }), progress(run), lossChart(run.loss, run.val_loss)), samples(run), factsOf(run),
].filter(Boolean);

export const runsView = (place) => {
  let timer = 0;
  let turn = 0;
  const close = () => { clearTimeout(timer); turn += 1; };
  const heading = (words, ...more) => make("div", { className: "page-head" }, make("h1", { id: "runs-title", textContent: words }), ...more);
  const again = (work, wait, mine) => { // not while nobody looks
    timer = setTimeout(() => { if (mine === turn) { if (document.hidden) again(work, wait, mine); else work(mine); } }, wait);
  };
  const list = async (mine) => {
    try {
      const { runs } = await call("GET", "/api/runs");
      if (mine !== turn) return;
      const none = make("p", { className: "muted", textContent: "No training has run here yet: codetune train RECIPE begins one." });
      place.replaceChildren(heading("Runs"), runs.length ? make("ul", { className: "cards" }, ...runs.map(card)) : none);
      if (runs.some((run) => run.state === "running")) again(list, LIST_MS, mine);
    } catch (error) { if (mine === turn) place.replaceChildren(heading("Runs"), fault(error)); }
  };
  const one = (id) => {
    const head = heading("Run", make("a", { href: "#/runs", textContent: "All runs" }));
    const [body, said] = [make("div", { className: "run" }), make("div")];
    place.replaceChildren(head, said, body);
    let before = "";
    const load = async (mine) => {
      try {
        const run = await call("GET", `/api/runs/${encodeURIComponent(id)}`);
        if (mine !== turn) return;
        said.replaceChildren();
        const now = JSON.stringify(run);
        if (now !== before && !body.contains(document.activeElement)) { // nothing is taken from under who reads with the keyboard
          before = now;
          head.replaceChildren(make("h1", { id: "runs-title", textContent: run.name }), stateChip(run.state), make("a", { href: "#/runs", textContent: "All runs" }));
          body.replaceChildren(...detail(run));
        }
        if (run.state === "running") again(load, POLL_MS, mine);
      } catch (error) { if (mine === turn) { said.replaceChildren(fault(error)); again(load, 5 * POLL_MS, mine); } }
    };
    return load;
  };
  const open = (id) => { close(); (id ? one(id) : list)(turn); };
  return { open, close };
};
