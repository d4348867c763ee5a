// The page: what the address after # names is shown. #/ a new conversation, #/c/ID one that is kept, #/studies, #/runs.
import { chatView } from "./chat.js";
import { ask } from "./dialog.js";
import { feedbackView, historyView } from "./history.js";
import { make } from "./make.js";
import { runsView } from "./runs.js";
import { fault } from "./say.js";
import { call, whenLocked } from "./server.js";
import { studiesView } from "./studies.js";

const WIDE = matchMedia("(min-width: 900px)");
const [side, menu, shade] = ["side", "menu", "shade"].map((id) => document.getElementById(id));

whenLocked(async (refused) => {
  const text = refused ? "This key was refused." : "This server answers only to who knows its API key. It is kept until this tab is closed.";
  const key = await ask({ title: "A key is needed", text, words: "API key", type: "password", confirm: "Unlock" });
  if (!key) throw new Error("this server wants its API key: reload the page to give it");
  return key;
});

const drawer = (open) => {
  const was = side.classList.contains("open");
  side.classList.toggle("open", open);
  shade.classList.toggle("open", open);
  menu.setAttribute("aria-expanded", String(open));
  side.inert = !open && !WIDE.matches; // what is out of sight is out of the keyboard's way
  for (const part of [document.getElementById("main"), document.querySelector("header.top")]) part.inert = open && !WIDE.matches;
  if (open) document.getElementById("search").focus(); else if (was) menu.focus();
};
menu.addEventListener("click", () => drawer(true));
document.getElementById("close-side").addEventListener("click", () => drawer(false));
shade.addEventListener("click", () => drawer(false));
side.addEventListener("keydown", (event) => { if (event.key === "Escape") drawer(false); });
side.addEventListener("click", (event) => { if (event.target.closest("a")) drawer(false); });
WIDE.addEventListener("change", () => drawer(false));
drawer(false);
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); (document.getElementById("question") ?? document.getElementById("main")).focus(); });

const start = (state) => {
  const views = { studies: studiesView(document.getElementById("studies")), runs: runsView(document.getElementById("runs")) };
  const chat = chatView(state, () => history.load());
  const removed = (id) => {
    const gone = id === chat.shown();
    chat.removed(id);
    if (gone) location.hash = "#/";
  };
  const history = historyView({ current: () => chat.shown(), renamed: chat.renamed, removed });
  feedbackView(document.getElementById("feedback"), state.feedback);
  const route = () => {
    const [tab, id] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const shown = tab in views ? tab : "chat";
    for (const name of ["chat", "studies", "runs"]) document.getElementById(name).hidden = name !== shown;
    for (const link of document.querySelectorAll("[data-tab]")) {
      if (link.dataset.tab === shown) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (shown === "chat") document.querySelector("[data-tab=chat]").href = location.hash || "#/"; // the way back leads to where one was
    for (const [name, view] of Object.entries(views)) if (name === shown) view.open(id); else view.close();
    if (shown === "chat") chat.open(tab === "c" && id ? id : null).then(() => { if (WIDE.matches && !document.querySelector("dialog[open]")) chat.focus(); });
    else {
      document.title = `${shown === "runs" ? "Runs" : "Studies"} · codetune`;
      scrollTo(0, 0);
    }
    history.mark();
  };
  addEventListener("hashchange", route);
  history.load();
  route();
};

try { start(await call("GET", "/api/state")); } catch (error) { document.getElementById("exchanges").replaceChildren(make("div", { className: "welcome" }, fault(error))); }
