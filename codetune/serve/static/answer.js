// One answer: who wrote it, its text with tools for its code, how it was written, and a thumb for it.
import { eachFrame, growing, heard } from "./body.js";
import { codeBlock } from "./codeblock.js";
import { button, icon, make } from "./make.js";
import { announce, counted, duration, fault } from "./say.js";
import { call } from "./server.js";
import { summary } from "./settings.js";

const UP = "M6.500 17V9H4.600A1.600 1.600 0 0 0 3 10.600v4.800A1.600 1.600 0 0 0 4.600 17zh7.300a2 2 0 0 0 2-1.600l1-5.400A1.700 1.700 0 0 0 15.200 8h-3.700l.6-3.100A1.600 1.600 0 0 0 10.500 3l-4 6";
const DOWN = "M13.500 3v8h1.900a1.600 1.600 0 0 0 1.600-1.600V4.600A1.600 1.600 0 0 0 15.400 3zH6.200a2 2 0 0 0-2 1.600l-1 5.400a1.700 1.700 0 0 0 1.600 2h3.700l-.6 3.100A1.600 1.600 0 0 0 9.500 17l4-6";
const ENDED = { cancelled: "stopped", length: "cut: no tokens left", failed: "failed" };
const SIDES = ["Left", "Right"];

export const nameOf = (answer, alone) => answer.model ?? (alone ? "Model" : SIDES[answer.side]);

const facts = (answer) => {
  const tokens = answer.num_tokens ? `${counted(answer.num_tokens, "token")}${answer.seconds ? ` in ${duration(answer.seconds)}` : ""}` : "";
  const first = typeof answer.first_token_s === "number" ? `first after ${duration(answer.first_token_s)}` : "";
  return [tokens, first, answer.decoding ? summary(answer.decoding, answer.prompt_style) : ""].filter((part) => part).join(" · ");
};

const thumbs = (answer, place) => {
  const both = [[1, "Good answer", UP], [-1, "Bad answer", DOWN]].map(([rating, label, path]) => {
    const node = button("", async () => {
      const wanted = answer.rating === rating ? null : rating;
      try {
        const { kept } = await call("POST", "/api/feedback", { kind: "rate", answer_id: answer.id, rating: wanted });
        answer.rating = wanted;
        tell();
        announce(`${wanted === null ? "Rating taken back" : label}${kept ? ", kept as feedback" : ""}`);
      } catch (error) { place.append(fault(error)); }
    }, { className: "icon thumb", label, title: label });
    node.append(icon(path));
    return [rating, node];
  });
  const tell = () => both.forEach(([rating, node]) => node.setAttribute("aria-pressed", String(answer.rating === rating)));
  tell();
  return make("span", { className: "thumbs", role: "group", label: "Rate this answer" }, ...both.map(([, node]) => node));
};

// `context`: question, conversation(), limits, models, missing, model() for explaining where the name is hidden. `alone`: no second answer beside it.
export const answerView = (answer, context, alone) => {
  let text = answer.edited ?? answer.content ?? "";
  let told = 0;
  const name = make("h3", { className: "who", textContent: nameOf(answer, alone) });
  const state = make("span", { className: "state" });
  const foot = make("div", { className: "answer-foot" });
  let failed = null;
  const parts = { pieces: [] };
  const codeOf = (block, number) => codeBlock(block, {
    ...context, model: () => answer.model ?? context.model(),
    changed: async (source) => {
      parts.pieces.find((piece) => piece.number === number).text = source;
      const content = parts.pieces.map((piece) => piece.text).join("");
      await call("POST", "/api/feedback", { kind: "edit", answer_id: answer.id, content });
      answer.edited = content;
      tell();
    },
  });
  const written = growing(codeOf);
  const node = make("section", { className: "answer", label: `Answer of ${nameOf(answer, alone)}` },
    make("div", { className: "answer-head" }, name, state), written.node, foot);
  const tell = () => {
    const words = ENDED[answer.finish] ?? "";
    const isEdited = answer.edited !== null && answer.edited !== undefined;
    state.replaceChildren(words ? make("em", { className: "chip warning", textContent: words }) : "",
      ...(isEdited ? [make("em", { className: "chip plain", textContent: "edited" }), button("As it was written", undo, { className: "quiet" })] : []));
  };
  const undo = async () => {
    try {
      await call("POST", "/api/feedback", { kind: "edit", answer_id: answer.id, content: null });
      end({ edited: null });
      announce("The answer is as it was written");
    } catch (error) { foot.append(fault(error)); }
  };
  const show = eachFrame(() => { if (!answer.finish) say(written.show(text, false), 1); context.grown?.(); });
  const say = (blocks, behind) => { // whole blocks, and of two answers none: they would be heard in turns
    const whole = blocks.length - behind;
    if (alone && whole > told) { announce(heard(blocks.slice(told, whole))); told = whole; }
  };
  const end = (final) => {
    Object.assign(answer, final);
    text = answer.edited ?? answer.content;
    const blocks = written.show(text, true);
    parts.pieces = piecesOf(text, blocks);
    if (!text.trim()) written.node.replaceChildren(make("p", { className: "muted", textContent: "The answer is empty." }));
    node.classList.remove("being-written");
    node.removeAttribute("aria-busy");
    tell();
    foot.replaceChildren(make("p", { className: "facts", textContent: facts(answer) }), thumbs(answer, foot), failed ? fault(failed) : "");
    return blocks;
  };
  if (answer.finish) end(answer);
  else { node.classList.add("being-written"); node.setAttribute("aria-busy", "true"); state.textContent = "writing…"; }
  return {
    node, answer, end: (final) => { const blocks = end(final); say(blocks, 0); announce(`${nameOf(answer, alone)} has finished.`); },
    write: (piece) => { text += piece; show(); },
    fail: (error) => {
      failed = error;
      node.classList.remove("being-written");
      node.removeAttribute("aria-busy");
      state.textContent = "";
      written.show(text, false);
      foot.replaceChildren(fault(error));
    },
    reveal: (model) => { answer.model = model; name.textContent = model; node.setAttribute("aria-label", `Answer of ${model}`); },
  };
};

// A text as what stands between blocks of code, and their code: one can be exchanged and the rest stays as it was.
const piecesOf = (text, blocks) => {
  const pieces = [];
  let at = 0;
  blocks.forEach((block, number) => {
    if (block.kind !== "code") return;
    pieces.push({ text: text.slice(at, block.start) }, { text: text.slice(block.start, block.end), number });
    at = block.end;
  });
  return [...pieces, { text: text.slice(at) }];
};
