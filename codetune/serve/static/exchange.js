// A question with its answer, or with two side by side and a vote on them; blind, names are shown after the vote.
import { answerView, nameOf } from "./answer.js";
import { button, make } from "./make.js";
import { announce, fault } from "./say.js";
import { call } from "./server.js";

const CHOICES = [[0, "Left"], [1, "Right"], ["tie", "Tie"], ["neither", "Neither"]];

const chosenWords = (exchange, views) => {
  if (exchange.chosen === "tie") return "You called it a tie.";
  if (exchange.chosen === "neither") return "You chose neither.";
  return `You chose the ${exchange.chosen ? "right" : "left"}: ${nameOf(views[exchange.chosen].answer, false)}.`;
};

const voteView = (exchange, views) => {
  const words = make("p", { className: "vote-words" });
  const row = make("div", { className: "vote-row", role: "group", label: "Which answer is better?" });
  const place = make("div", { className: "vote" }, words, row);
  const voted = () => {
    words.textContent = chosenWords(exchange, views);
    row.remove();
    views.forEach((view, side) => view.node.classList.toggle("chosen", exchange.chosen === side));
  };
  const vote = async (choice) => {
    for (const one of row.children) one.disabled = true;
    try {
      const { models } = await call("POST", "/api/feedback", { kind: "vote", exchange_id: exchange.id, choice });
      exchange.chosen = choice;
      (models ?? []).forEach((model, side) => model && views[side].reveal(model));
      voted();
      words.tabIndex = -1;
      words.focus();
      announce(chosenWords(exchange, views));
    } catch (error) {
      for (const one of row.children) one.disabled = false;
      place.append(fault(error));
    }
  };
  row.append(...CHOICES.map(([choice, title]) => button(title, () => vote(choice))));
  words.textContent = exchange.blind ? "Which is better? The names are shown after your vote." : "Which is better?";
  if (exchange.chosen !== null && exchange.chosen !== undefined) voted();
  return place;
};

// `exchange.answers` has an entry for each side, without `finish` while it is written.
export const exchangeView = (exchange, context, number) => {
  const alone = exchange.answers.length < 2;
  const views = exchange.answers.map((answer) => answerView(answer, { ...context, question: exchange.question }, alone));
  const answers = make("div", { className: alone ? "answers" : "answers two" }, ...views.map((view) => view.node));
  const node = make("article", { className: "exchange" }, make("h2", { className: "hidden", textContent: `Question ${number}` }),
    make("div", { className: "question", textContent: exchange.question }), answers);
  let voting = null;
  const settle = () => { if (!alone && !voting && views.every((view) => view.answer.finish)) node.append((voting = voteView(exchange, views))); };
  settle();
  return {
    node, views, id: exchange.id,
    write: (side, text) => views[side]?.write(text),
    end: (side, answer) => { views[side]?.end(answer); settle(); },
    fail: (side, error) => { const view = side === null || side === undefined ? null : views[side]; if (view) view.fail(error); else node.append(fault(error)); },
  };
};
