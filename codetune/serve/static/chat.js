// A conversation: what was asked and answered, and the question that is being answered now.
import { composerView } from "./composer.js";
import { exchangeView } from "./exchange.js";
import { button, make } from "./make.js";
import { announce, fault } from "./say.js";
import { call, stream } from "./server.js";
import { asked } from "./settings.js";
import { keep } from "./store.js";

const NEAR_PX = 120; // so close to the end, the page follows what is written
const TRIES = 10;
const EXAMPLES = [ // in the words of the problems that the shipped model's adapters learned from
  "Write a Python function `truncate_text(text)` that returns the text if it has at most 5 characters, else its first 2 characters followed by '...'.",
  "I need a Python function `lists_chunks(items)` that groups the numbers of a list 5 at a time, in order, and returns the smallest number of each chunk.",
  "Define a function named `dicts_filter` taking `stock` that looks at the values of a dictionary, all numbers, and returns the sum of the values that are positive.",
];

export const chatView = (state, changed) => {
  const place = document.getElementById("exchanges");
  const title = document.getElementById("chat-title");
  const shown = { id: null, count: 0 };
  let current = null; // what is being answered: {conversation, view, control}
  const composer = composerView(document.getElementById("composer"), state, { send: (text) => send(text), stop: () => current?.control.abort() });
  const context = (id) => ({
    conversation: () => id, limits: state.limits, models: state.models.map((model) => model.name), model: () => asked().models[0], grown: () => follow(false),
    missing: state.sandbox.tier ? "" : `No sandbox here: ${state.sandbox.missing || "nothing can be run"}`,
  });
  const follow = (always) => {
    const page = document.scrollingElement;
    if (always || page.scrollHeight - innerHeight - page.scrollTop < NEAR_PX) page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
  };
  const named = (words) => { title.textContent = words; document.title = `${words} · codetune`; };
  const empty = () => {
    named("New conversation");
    place.replaceChildren(make("div", { className: "welcome" }, make("h2", { textContent: "What shall it write?" }),
      make("p", { className: "muted", textContent: context().missing || "Each program can be run, tested and mended in the sandbox of this server." }),
      make("div", { className: "examples" }, ...EXAMPLES.map((text) => button(text, () => { composer.put(text); composer.focus(); })))));
  };
  const put = (exchange, at) => {
    const view = current?.view.id === exchange.id ? current.view : exchangeView(exchange, context(shown.id), at + 1);
    return view.node;
  };
  const open = async (id) => {
    if (id !== null && id === shown.id) return;
    [shown.id, shown.count] = [id, 0];
    composer.at(id);
    if (id === null) { empty(); return; }
    place.replaceChildren(make("p", { className: "muted loading", textContent: "Loading…" }));
    try {
      const conversation = await call("GET", `/api/conversations/${encodeURIComponent(id)}`);
      if (shown.id !== id) return;
      named(conversation.title);
      shown.count = conversation.exchanges.length;
      place.replaceChildren(...conversation.exchanges.map(put));
      follow(true);
    } catch (error) { if (shown.id === id) { named("Conversation"); place.replaceChildren(fault(error)); } }
  };
  // Stopped: the server keeps what was written, and knows its ids a moment later.
  const settle = async (stopped) => {
    for (let tried = 0; tried < TRIES; tried += 1) {
      await new Promise((resolve) => { setTimeout(resolve, 100 * (tried + 1)); });
      const { exchanges } = await call("GET", `/api/conversations/${encodeURIComponent(stopped.conversation)}`);
      const found = exchanges.find((exchange) => exchange.id === stopped.view.id);
      if (!found?.answers.length || !found.answers.every((answer) => answer.finish)) continue;
      stopped.view.node.replaceWith(exchangeView(found, context(stopped.conversation), exchanges.indexOf(found) + 1).node);
      announce("Stopped");
      return;
    }
  };
  const begin = (event, sent, control) => {
    const { conversation, exchange } = event;
    if (sent.conversation_id === null) {
      place.replaceChildren();
      history.replaceState(null, "", `#/c/${encodeURIComponent(conversation.id)}`);
      shown.id = conversation.id;
      composer.sent(); // the draft of a new conversation; the next one begins without
      composer.at(conversation.id);
      named(conversation.title);
    } else composer.sent();
    const view = exchangeView(exchange, context(conversation.id), (shown.count += 1));
    current = { conversation: conversation.id, view, control };
    place.append(view.node);
    follow(true);
    changed(conversation.id);
  };
  const send = async (text) => {
    if (current) return;
    const sent = { conversation_id: shown.id, content: text, ...asked() };
    const control = new AbortController();
    current = { conversation: shown.id, view: { id: null }, control };
    composer.busy(true);
    announce("Asked.");
    const tell = (event) => {
      if (event.type === "begin") begin(event, sent, control);
      else if (event.type === "piece") current.view.write(event.side, event.text);
      else if (event.type === "end") current.view.end(event.side, event.answer);
      else if (event.type === "error") current.view.fail(event.side, new Error(event.message));
    };
    let over = null;
    try { await stream("/api/ask", sent, tell, control.signal); } catch (error) { over = error; }
    const last = current;
    current = null;
    composer.busy(false);
    if (over && !last.view.node) { if (over.name !== "AbortError") composer.fail(over); } else if (over?.name === "AbortError") {
      await settle(last).catch((error) => last.view.fail(null, error));
    } else if (over) last.view.fail(null, over);
    changed(last.conversation);
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && current && !document.querySelector("dialog[open]")) current.control.abort(); });
  return {
    open, focus: composer.focus, shown: () => shown.id,
    renamed: (id, words) => { if (id === shown.id) named(words); },
    removed: (id) => {
      for (const kept of [`tests-${id}`, `draft-${id}`]) keep(kept, null);
      if (id === shown.id) shown.id = undefined;
    },
  };
};
