// The conversations of the past: searched, renamed, deleted. At small widths they lie in a drawer.
import { ask } from "./dialog.js";
import { button, icon, make, toggle } from "./make.js";
import { announce, counted, dayOf, fault } from "./say.js";
import { call } from "./server.js";

const PAGE = 40;
const WAIT_MS = 180;
const address = (conversation) => `/api/conversations/${encodeURIComponent(conversation.id)}`;

const dayName = (written) => {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - dayOf(written).setHours(0, 0, 0, 0)) / 86400000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 7 ? "This week" : "Earlier";
};

// `events`: renamed(id, title), removed(id), current() gives the id that is shown.
export const historyView = (events) => {
  const [place, search] = [document.getElementById("history"), document.getElementById("search")];
  let conversations = [];
  let more = false;
  let turn = 0;
  const entry = (conversation) => {
    const link = make("a", { href: `#/c/${encodeURIComponent(conversation.id)}`, textContent: conversation.title, title: conversation.title });
    const rename = button("", async () => {
      const title = await ask({ title: "Rename", words: "Title", value: conversation.title, confirm: "Rename" });
      if (!title) return;
      try {
        await call("PATCH", address(conversation), { title });
        events.renamed(conversation.id, title);
        await load();
      } catch (error) { place.prepend(fault(error)); }
    }, { className: "icon small", label: `Rename ${conversation.title}`, title: "Rename" });
    const remove = button("", async () => {
      const sure = await ask({ title: "Delete this conversation?", text: `“${conversation.title}” is gone for good then.`, confirm: "Delete", danger: true });
      if (!sure) return;
      try {
        await call("DELETE", address(conversation));
        events.removed(conversation.id);
        await load();
        announce("Deleted");
        search.focus();
      } catch (error) { place.prepend(fault(error)); }
    }, { className: "icon small", label: `Delete ${conversation.title}`, title: "Delete" });
    rename.append(icon("M4 16l.900-3.400L13 4.500l2.500 2.500-8.100 8.100z"));
    remove.append(icon("M4.500 6h11M8 6V4.200h4V6M6 6l.700 10h6.600L14 6"));
    return make("li", { data: { id: conversation.id } }, link, rename, remove);
  };
  const mark = () => {
    for (const item of place.querySelectorAll("li")) {
      if (item.dataset.id === String(events.current())) item.firstChild.setAttribute("aria-current", "page"); else item.firstChild.removeAttribute("aria-current");
    }
  };
  const show = () => {
    const groups = new Map();
    for (const one of conversations) groups.set(dayName(one.updated), [...(groups.get(dayName(one.updated)) ?? []), one]);
    const byDay = () => [...groups].flatMap(([day, ones]) => [make("p", { className: "label", textContent: day }), make("ul", { label: day }, ...ones.map(entry))]);
    const lists = search.value.trim() ? [make("ul", { label: "Found" }, ...conversations.map(entry))] : byDay();
    const none = make("p", { className: "muted none", textContent: search.value.trim() ? "Nothing is like that." : "No conversations yet." });
    place.replaceChildren(...(conversations.length ? lists : [none]), more ? button("Show more", () => load(true), { className: "quiet" }) : "");
    mark();
  };
  const load = async (further = false) => {
    const mine = (turn += 1);
    const query = new URLSearchParams({ limit: PAGE, query: search.value.trim() });
    if (further) query.set("before", conversations.at(-1).updated);
    try {
      const found = (await call("GET", `/api/conversations?${query}`)).conversations;
      if (mine !== turn) return;
      conversations = further ? [...conversations, ...found] : found;
      more = found.length === PAGE;
      show();
    } catch (error) { if (mine === turn) place.replaceChildren(fault(error)); }
  };
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => { await load(); if (search.value.trim()) announce(`${counted(conversations.length, "conversation")} found`); }, WAIT_MS);
  });
  return { load, mark };
};

// The feedback file is for those who want it; where it lies is said.
export const feedbackView = (place, feedback) => {
  const path = make("small", { className: "muted path", textContent: feedback.path });
  const failed = make("div");
  const [node, box] = toggle("Keep feedback for tuning", feedback.enabled, async (enabled) => {
    try {
      await call("POST", "/api/feedback/enable", { enabled });
      failed.replaceChildren();
      announce(enabled ? "Feedback is kept" : "Feedback is not kept");
    } catch (error) {
      box.checked = !enabled;
      failed.replaceChildren(fault(error));
    }
  });
  node.title = "Ratings, votes, edits and mended programs are written to this file, for codetune data";
  place.replaceChildren(node, path, failed);
};
