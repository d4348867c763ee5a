// Where a question is written: a draft outlives a failed send and a reload. Enter sends, Shift+Enter is a new line, Escape stops.
import { button, icon, make } from "./make.js";
import { fault } from "./say.js";
import { settingsView } from "./settings.js";
import { keep, recall } from "./store.js";

export const composerView = (form, state, { send, stop }) => {
  const { models, details } = settingsView(state);
  const area = make("textarea", { id: "question", rows: 1, placeholder: "Ask for code", label: "Your question", enterKeyHint: "send" });
  const sender = make("button", { type: "submit", className: "icon send", label: "Send", title: "Send (Enter)" }, icon("M10 16V4.500M5 9.200L10 4.200l5 5"));
  const stopper = button("", () => stop(), { className: "icon send stop", label: "Stop", title: "Stop (Escape)", hidden: true });
  stopper.append(icon("M6.500 6.500h7v7h-7z"));
  const faults = make("div", { className: "faults" });
  let draft = "draft-new";
  const fit = () => { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight + 2, innerHeight * 0.4)}px`; };
  const put = (text) => { area.value = text; keep(draft, text); fit(); };
  area.addEventListener("input", () => { keep(draft, area.value); fit(); });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (stopper.hidden && area.value.trim()) { faults.replaceChildren(); send(area.value); }
  });
  form.replaceChildren(faults, make("div", { className: "card" }, models, area, make("div", { className: "composer-row" }, details, sender, stopper)));
  return {
    put, focus: () => area.focus(), text: () => area.value,
    at: (conversation) => { draft = `draft-${conversation ?? "new"}`; area.value = recall(draft, ""); faults.replaceChildren(); fit(); },
    sent: () => put(""),
    busy: (on) => { const focused = form.contains(document.activeElement); [sender.hidden, stopper.hidden] = [on, !on]; if (focused) area.focus(); },
    fail: (error) => faults.replaceChildren(fault(error)),
  };
};
