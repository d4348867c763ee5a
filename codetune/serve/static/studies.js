// Studies and their reports. A report is shown in a frame of its own that can reach neither this page nor the server's routes.
import { make } from "./make.js";
import { fault, since } from "./say.js";
import { call } from "./server.js";

const addressOf = (study) => `${study.url}?theme=${getComputedStyle(document.documentElement).colorScheme}`;

const card = (study) => {
  const [name, changed] = [make("strong", { textContent: study.name }), make("span", { className: "muted", textContent: `changed ${since(study.updated)}` })];
  if (study.has_report) return make("li", {}, make("a", { href: `#/studies/${encodeURIComponent(study.id)}`, className: "card link" }, name, changed));
  return make("li", {}, make("div", { className: "card link" }, name, make("em", { className: "chip plain", textContent: "no report yet" }), changed));
};

export const studiesView = (place) => {
  let turn = 0;
  const heading = (words, ...more) => make("div", { className: "page-head" }, make("h1", { id: "studies-title", textContent: words }), ...more);
  const open = async (id) => {
    const mine = (turn += 1);
    place.classList.toggle("framed", Boolean(id));
    try {
      const { studies } = await call("GET", "/api/studies");
      if (mine !== turn) return;
      if (!id) {
        const none = make("p", { className: "muted", textContent: "No study is here yet: codetune quickstart makes one." });
        place.replaceChildren(heading("Studies"), studies.length ? make("ul", { className: "cards" }, ...studies.map(card)) : none);
        return;
      }
      const study = studies.find((one) => one.id === id);
      const all = make("a", { href: "#/studies", textContent: "All studies" });
      if (!study?.has_report) {
        place.replaceChildren(heading(study?.name ?? id, all), fault(new Error("this study has no report here: codetune study report makes it")));
        return;
      }
      const frame = make("iframe", { title: `Report of ${study.name}` });
      frame.setAttribute("sandbox", "allow-scripts");
      frame.src = addressOf(study);
      const alone = make("a", { href: frame.src, target: "_blank", rel: "noopener", textContent: "Open in a new tab" });
      place.replaceChildren(heading(study.name, all, alone), frame);
    } catch (error) { if (mine === turn) place.replaceChildren(heading("Studies"), fault(error)); }
  };
  return { open, close: () => { turn += 1; place.replaceChildren(); } };
};
