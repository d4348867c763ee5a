// A unified diff as lines with their sign: removed and added can be told apart without colours, and by ear.
import { make } from "./make.js";

const KINDS = { "+": ["added", "+", "added: "], "-": ["removed", "−", "removed: "], " ": ["same", " ", ""], "@": ["place", "", ""] };

export const diffView = (text, label) => {
  const rows = text.split("\n").filter((line) => line && !/^(?:--- |\+\+\+ |\\ )/.test(line));
  const lines = rows.map((line) => {
    const [className, sign, heard] = KINDS[line[0]] ?? KINDS[" "];
    const words = className === "place" ? "…" : line.slice(1) || " ";
    return make("span", { className: `line ${className}` }, make("i", { textContent: sign, aria: { hidden: "true" } }),
      heard ? make("span", { className: "hidden", textContent: heard }) : null, make("span", { textContent: `${words}\n` }));
  });
  if (lines[0]?.classList.contains("place")) lines.shift(); // where a diff begins needs no mark
  return make("pre", { className: "diff", tabIndex: 0, role: "region", label }, make("code", {}, ...lines));
};
