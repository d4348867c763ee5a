// Text that grows while it is written: blocks that are as they were are left alone, so that nothing flickers and no focus is lost.
import { make } from "./make.js";
import { blocksOf, render } from "./markdown.js";
import { coloured } from "./python.js";

export const plainCode = (block) => make("figure", { className: "code" },
  make("div", { className: "code-head" }, make("span", { className: "language", textContent: block.language || "code" })),
  make("pre", { tabIndex: 0, role: "group", label: "Code" }, coloured(block.source, block.language)));

// `codeOf(block, number)` makes a block of code once the text is finished; until then it is shown without tools.
export const growing = (codeOf = plainCode) => {
  const node = make("div", { className: "body" });
  let marks = [];
  const show = (text, finished) => {
    const blocks = blocksOf(text);
    blocks.forEach((block, number) => {
      const code = block.kind === "code";
      const mark = JSON.stringify([block.kind, block.level, block.language, block.source, code && finished]);
      if (marks[number] === mark) return;
      marks[number] = mark;
      const child = code ? (finished ? codeOf : plainCode)(block, number) : render(block);
      if (node.children[number]) node.children[number].replaceWith(child); else node.append(child);
    });
    while (node.children.length > blocks.length) node.lastElementChild.remove();
    marks.length = blocks.length;
    return blocks;
  };
  return { node, show };
};

// Shows at most once a frame, however many pieces come.
export const eachFrame = (show) => {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; show(); });
  };
};

// What can be read out of blocks: words as they are, code by its length.
export const heard = (blocks) => blocks.map((block) => (block.kind === "code" ? `Code, ${block.source.split("\n").length} lines.` : block.source)).join(" ");
