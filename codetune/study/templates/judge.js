
// Takes votes on the pairs embedded above and exports them. Completions go in by textContent alone, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("sheet-data").textContent);
  const place = document.querySelector("[data-judge]");
  const store = `codetune-votes-${data.sheet}`;
  const sides = [["left", "Left"], ["same", "Same"], ["right", "Right"]];
  let kept = { judge: "", votes: {} };
  try { kept = { ...kept, ...JSON.parse(localStorage.getItem(store) ?? "{}") }; } catch { /* damaged or no storage: begin anew */ }
  const keep = () => {
    try { localStorage.setItem(store, JSON.stringify(kept)); note.textContent = ""; } catch { note.textContent = "This browser keeps nothing for this page: export before you close it."; }
  };
  // FNV-1a over all votes: reading them back finds a file that was damaged or edited.
  const checksum = () => {
    const lines = Object.entries(kept.votes).flatMap(([pair, answers]) => Object.entries(answers).map(([question, side]) => `${pair} ${question} ${side}`));
    let value = 0x811c9dc5;
    for (const byte of new TextEncoder().encode([data.sheet, kept.judge, ...lines.sort()].join("\n"))) value = Math.imul(value ^ byte, 0x01000193);
    return (value >>> 0).toString(16).padStart(8, "0");
  };
  const questions = Object.keys(data.questions);
  const done = (pair) => questions.every((question) => kept.votes[pair.pair]?.[question]);
  let current = Math.max(0, data.pairs.findIndex((pair) => !done(pair)));

  const judge = make("input", { type: "text", value: kept.judge, placeholder: "name or initials", autocomplete: "off", label: "Who judges" });
  const before = make("button", { type: "button", textContent: "‹ previous" });
  const after = make("button", { type: "button", textContent: "next ›" });
  const save = make("button", { type: "button", textContent: "Export votes" });
  const count = make("span", { className: "count", role: "status" });
  const bar = make("progress", { max: data.pairs.length, label: "Pairs judged" });
  const note = make("p", { className: "foot", role: "status" });
  const shown = make("div");
  const asked = questions.map((question, row) => {
    const buttons = sides.map(([side, name], column) => {
      const button = make("button", { type: "button", textContent: `${name} (${3 * row + column + 1})` });
      button.addEventListener("click", () => vote(question, side));
      return [side, button];
    });
    return [question, buttons, make("div", { className: "question" }, make("span", { textContent: data.questions[question] }),
      make("span", { className: "votes", role: "group", label: data.questions[question] }, ...buttons.map((pair) => pair[1])))];
  });
  place.append(bar, make("div", { className: "sheet-bar" }, before, after, count), shown, ...asked.map((one) => one[2]),
    make("div", { className: "sheet-bar" }, make("label", {}, "Judge ", judge), save), note);

  const side = (name, text) => make("div", { className: "answer" }, make("div", { className: "answer-head" }, make("b", { textContent: name })),
    text ? make("pre", { tabIndex: 0 }, make("code", { textContent: text })) : make("p", { className: "muted empty", textContent: "(empty)" }));
  const show = () => {
    const pair = data.pairs[current];
    const judged = data.pairs.filter(done).length;
    count.textContent = pair ? `pair ${current + 1} of ${data.pairs.length}, ${judged} judged` : "every pair is the same text twice: nothing to judge";
    bar.value = judged;
    before.disabled = current === 0;
    after.disabled = current >= data.pairs.length - 1;
    save.disabled = !kept.judge.trim() || !Object.keys(kept.votes).length;
    save.title = save.disabled ? "after a vote and a name" : "";
    if (!pair) return;
    const reference = pair.reference
      ? make("details", {}, make("summary", { textContent: "A reference solution" }), make("pre", { tabIndex: 0 }, make("code", { textContent: pair.reference }))) : null;
    shown.replaceChildren(
      make("div", { className: "answer ref" }, make("div", { className: "answer-head" }, make("b", { textContent: "Task" })), make("p", { className: "instruction", textContent: pair.task }), reference),
      make("div", { className: "sides" }, side("Left", pair.left), side("Right", pair.right)));
    for (const [question, buttons] of asked) for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(kept.votes[pair.pair]?.[question] === name));
  };
  const vote = (question, name) => {
    const pair = data.pairs[current];
    if (!pair) return;
    (kept.votes[pair.pair] ??= {})[question] = name;
    keep();
    show();
  };
  const step = (by) => { if (data.pairs[current + by]) { current += by; show(); } };
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  judge.addEventListener("input", () => { kept.judge = judge.value.trim(); keep(); show(); });
  save.addEventListener("click", () => {
    const file = new Blob([JSON.stringify({ format: "codetune votes 1", sheet: data.sheet, judge: kept.judge, votes: kept.votes, check: checksum() }, null, 1)], { type: "application/json" });
    const link = make("a", { href: URL.createObjectURL(file), download: `votes-${kept.judge.replace(/[^\w-]+/g, "-") || "judge"}.json` });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = "123456".indexOf(event.key);
    if (event.key.length === 1 && number >= 0 && number < 3 * questions.length) vote(questions[Math.floor(number / 3)], sides[number % 3][0]);
    else if (event.key === "j" || (event.key === "Enter" && !event.target.closest("button, summary"))) step(1);
    else if (event.key === "k") step(-1);
  });
  show();
})();
