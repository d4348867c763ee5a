
// Browses the completions embedded above. Whatever a model wrote goes in by textContent alone, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("completions-data").textContent);
  const place = document.querySelector("[data-browser]");
  const [PROBLEM, INDEX, COMPLETION, PROGRAM, VERDICT, DETAIL, BLEU, CUT] = [0, 1, 2, 3, 4, 5, 6, 7];
  const text = (number) => (number < 0 ? "" : data.texts[number]);
  const verdict = (sample) => (sample[VERDICT] < 0 ? "" : data.verdicts[sample[VERDICT]]);
  const unique = (values) => [...new Set(values)];
  const select = (title, options) => {
    const node = make("select");
    for (const [value, name] of options) node.append(make("option", { value, textContent: name }));
    return [node, make("label", {}, title, node)];
  };
  const dot = (color) => { const node = make("i", { className: "dot" }); node.style.background = `var(${color})`; return node; };

  const benchmarks = Object.keys(data.problems);
  const blocks = unique(data.cells.map((cell) => cell.block));
  const nameOf = (block) => { const cell = data.cells.find((one) => one.block === block); return `${cell.model} on ${cell.data}`; };
  const seeds = unique(data.cells.filter((cell) => cell.tuned).map((cell) => cell.seed)).sort((a, b) => a - b);
  const rows = unique(data.cells.map((cell) => cell.row));
  const present = unique(data.cells.flatMap((cell) => cell.samples.map(verdict))).filter((one) => one);
  const [benchmark, benchmarkLabel] = select("Benchmark", benchmarks.map((name) => [name, name]));
  const [block, blockLabel] = select("Model and data", [["", "all"], ...blocks.map((name) => [name, nameOf(name)])]);
  const [seed, seedLabel] = select("Training seed", [...seeds.map((one) => [String(one), String(one)]), ["", "all"]]);
  const [wanted, wantedLabel] = select("Verdict", [
    ["", "any"], ["*differ", "rows disagree"], ["*failed", "any but passed"], ...data.verdicts.filter((one) => present.includes(one)).map((one) => [one, one]),
  ]);
  const search = make("input", { type: "search", placeholder: "in tasks, references, completions" });
  if (blocks.length > 1) block.value = blocks[0];
  const boxes = rows.map((row) => {
    const box = make("input", { type: "checkbox", checked: true, value: row });
    return [box, make("label", {}, box, dot(data.cells.find((cell) => cell.row === row).color), make("span", { textContent: row }))];
  });
  const list = make("div", { className: "found", label: "Problems found", role: "group" });
  const before = make("button", { type: "button", textContent: "‹ previous (k)" });
  const after = make("button", { type: "button", textContent: "next (j) ›" });
  const count = make("span", { className: "count", role: "status" });
  const body = make("div", { className: "task-body" });
  place.append(
    make("div", { className: "tools" }, benchmarkLabel, blocks.length > 1 ? blockLabel : null, seeds.length > 1 ? seedLabel : null,
      present.length ? wantedLabel : null, make("label", { className: "grow" }, "Search (/)", search)),
    make("fieldset", { className: "pick", label: "Rows shown" }, ...boxes.map((pair) => pair[1])),
    make("div", { className: "browser" }, list, make("div", { className: "shown" }, make("div", { className: "bar-line" }, before, after, count), body)),
  );

  let found = []; // [problem number, [[cell, sample, whether it is what was looked for]]]
  let current = -1; // the problem's number
  const visible = () => {
    const chosen = new Set(boxes.filter(([box]) => box.checked).map(([box]) => box.value));
    return data.cells.filter((cell) => cell.benchmark === benchmark.value && chosen.has(cell.row)
      && (!block.value || cell.block === block.value) && (!seed.value || !cell.tuned || seeds.length < 2 || String(cell.seed) === seed.value));
  };
  const fits = (sample) => {
    const one = verdict(sample);
    if (wanted.value.startsWith("*")) return wanted.value !== "*failed" || (one !== "" && one !== "passed");
    return !wanted.value || one === wanted.value;
  };
  const refresh = () => {
    const needle = search.value.toLowerCase();
    const has = (number) => text(number).toLowerCase().includes(needle);
    const problems = data.problems[benchmark.value];
    const answers = problems.map(() => []);
    for (const cell of visible()) for (const sample of cell.samples) answers[sample[PROBLEM]].push([cell, sample]);
    found = [];
    problems.forEach(([id, family, task, reference], number) => {
      const inTask = !needle || id.toLowerCase().includes(needle) || family.toLowerCase().includes(needle) || has(task) || has(reference);
      const marked = answers[number].map(([cell, sample]) => [cell, sample, fits(sample) && (inTask || has(sample[COMPLETION]) || has(sample[PROGRAM]))]);
      const ends = unique(marked.map(([, sample]) => verdict(sample) === "passed"));
      if (marked.some(([, , hit]) => hit) && (wanted.value !== "*differ" || ends.length > 1)) found.push([number, marked]);
    });
    if (!found.some(([number]) => number === current)) current = found.length ? found[0][0] : -1;
    list.replaceChildren(...found.map(([number, marked]) => entry(problems[number], number, marked)));
    show(false);
  };
  const entry = ([id, , task], number, marked) => {
    const marks = make("span", { className: "marks" }, ...marked.slice(0, 48).filter(([, sample]) => verdict(sample)).map(([cell, sample]) =>
      make("i", { className: `mark v-${verdict(sample)}`, title: `${cell.row}: ${verdict(sample)}` })));
    const first = text(task).split("\n").find((line) => line.trim()) ?? "";
    const button = make("button", { type: "button" }, make("span", { className: "task", textContent: id }), make("span", { className: "wish", textContent: first }), marks);
    button.addEventListener("click", () => { current = number; show(true); });
    return button;
  };
  const code = (written) => make("pre", { tabIndex: 0 }, make("code", { textContent: written }));
  const answer = (cell, sample, several, narrowed, hit) => {
    const said = verdict(sample);
    const details = [blocks.length > 1 && !block.value ? nameOf(cell.block) : "", cell.tuned && seeds.length > 1 ? `seed ${cell.seed}` : "",
      several ? `sample ${sample[INDEX] + 1}` : "", cell.invalid ? `invalid: ${cell.invalid}` : ""].filter((part) => part);
    const who = make("b", { className: "who" }, dot(cell.color), make("span", { className: cell.invalid ? "struck" : "", textContent: cell.row }),
      details.length ? make("small", { textContent: details.join(", ") }) : null);
    const badge = make("em", { className: `badge v-${said || "none"}`, textContent: said || "not executed" });
    const bleu = sample[BLEU] >= 0 ? make("span", { className: "muted", textContent: `BLEU ${sample[BLEU]}` }) : null;
    const card = make("div", { className: `answer${narrowed && hit ? " hit" : ""}` }, make("div", { className: "answer-head" }, who, make("span", {}, bleu, badge)));
    card.style.setProperty("--edge", `var(${cell.color})`);
    if (sample[DETAIL] >= 0) card.append(make("p", { className: "detail", textContent: text(sample[DETAIL]) }));
    const completion = text(sample[COMPLETION]);
    card.append(completion ? code(completion) : make("p", { className: "muted empty", textContent: "(empty)" }));
    if (sample[CUT] > 0) card.append(make("p", { className: "muted cut", textContent: `${sample[CUT]} more characters are not in this page` }));
    if (sample[PROGRAM] >= 0) card.append(make("details", {}, make("summary", { textContent: "The program that was run" }), code(text(sample[PROGRAM]))));
    return card;
  };
  const show = (scroll) => {
    const position = found.findIndex(([number]) => number === current);
    [...list.children].forEach((button, number) => button.setAttribute("aria-current", String(number === position)));
    if (scroll && list.children[position]) list.children[position].scrollIntoView({ block: "nearest" });
    count.textContent = found.length ? `${position + 1} of ${found.length} (${data.problems[benchmark.value].length} in this page)` : "nothing is like that";
    before.disabled = position <= 0;
    after.disabled = position < 0 || position === found.length - 1;
    if (position < 0) { body.replaceChildren(); return; }
    const [id, family, task, reference] = data.problems[benchmark.value][current];
    const marked = found[position][1];
    const several = marked.some(([, sample]) => sample[INDEX] > 0);
    const narrowed = Boolean(search.value || wanted.value);
    const head = make("div", { className: "answer-head" }, make("b", { textContent: id }), family ? make("span", { className: "muted", textContent: family }) : null);
    const problem = make("div", { className: "answer ref" }, head, make("p", { className: "instruction", textContent: text(task) }),
      text(reference) ? code(text(reference)) : null);
    body.replaceChildren(problem, ...marked.map(([cell, sample, hit]) => answer(cell, sample, several, narrowed, hit)));
  };
  const step = (by) => {
    const position = found.findIndex(([number]) => number === current) + by;
    if (position >= 0 && position < found.length) { current = found[position][0]; show(true); }
  };
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  for (const control of [benchmark, block, seed, wanted, ...boxes.map(([box]) => box)]) control.addEventListener("change", refresh);
  search.addEventListener("input", refresh);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = place.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) return; // the keys are the browser's own elsewhere in the page
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") { event.preventDefault(); search.focus(); }
  });
  refresh();
})();
