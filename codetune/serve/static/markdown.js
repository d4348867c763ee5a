// A small part of Markdown as DOM nodes: what is no part of it, HTML above all, stays the text that it is.
import { make } from "./make.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.+?)[ \t#]*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])[ \t]+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const MOST = 20000; // characters of a paragraph that are searched for marks: longer ones are shown as they are

// Lines that begin a program, and lines that stand in one: code models answer without a fence.
const START = /^(?:async def |def |class |import \w|from \S+ import |@\w)/;
const LINE = /^(?:\s+\S|#|[)\]}]|"""|'''|(?:elif|else|except|finally|try|if|for|while|with|match)\b.*:\s*(?:#.*)?$|(?:return|raise|assert|print|pass|yield|del|global|lambda)\b|[A-Za-z_][\w.]*(?:\[.*\])?(?:\s*,\s*[\w.]+)*(?:\s*:\s*[\w[\], .|]+)?\s*(?:[-+*/%|&^@]|\/\/|\*\*|<<|>>)?=(?!=)|[A-Za-z_][\w.]*\(.*\)?\s*(?:#.*)?$)/;
const LOOK = 300; // characters of a line that tell what it is
const isCode = (line) => START.test(line) || LINE.test(line.slice(0, LOOK));
const mostlyCode = (lines) => { const full = lines.filter((line) => line.trim()); return full.length > 0 && full.filter(isCode).length >= 0.75 * full.length; };

// Where code without a fence begins and ends, as line numbers; null where the text is none.
const bareCode = (lines) => {
  const first = lines.findIndex((line) => line.trim());
  if (first < 0) return null;
  let from = lines.findIndex((line) => START.test(line));
  if (from < 0 || mostlyCode(lines.slice(first, from).filter((line) => !/^#\s/.test(line)))) from = isCode(lines[first]) && !ITEM.test(lines[first]) ? first : from;
  if (from < 0) return null;
  let to = lines.length; // words after the program are no part of it
  for (let end = to; end > from; end -= 1) if (!lines[end - 1].trim() && !mostlyCode(lines.slice(end, to)) && mostlyCode(lines.slice(from, end))) to = end;
  return mostlyCode(lines.slice(from, to)) ? [from, to] : null;
};

// Cuts a text into blocks; those of code know where in the text their code stands, so that it can be exchanged.
export const blocksOf = (text) => {
  const lines = text.split("\n");
  const starts = [0];
  for (const line of lines) starts.push(starts.at(-1) + line.length + 1);
  const bare = lines.some((line) => FENCE.test(line)) ? null : bareCode(lines);
  if (!bare) return cut(lines, 0, lines.length, starts, text);
  const [from, to] = bare;
  const end = Math.min(starts[to], text.length);
  const code = text.slice(starts[from], end).trimEnd();
  const block = { kind: "code", language: "python", fenced: false, source: code, start: starts[from], end: starts[from] + code.length };
  return [...cut(lines, 0, from, starts, text), block, ...cut(lines, to, lines.length, starts, text)];
};

const cut = (lines, from, to, starts, text) => {
  const blocks = [];
  for (let at = from; at < to;) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    let end = at + 1;
    if (fence) {
      while (end < to && !(lines[end].trim().startsWith(fence[1]) && !lines[end].trim().replaceAll(fence[1][0], ""))) end += 1;
      const [start, stop] = [Math.min(starts[at + 1], text.length), Math.max(Math.min(starts[at + 1], text.length), Math.min(starts[end], text.length + 1) - 1)];
      blocks.push({ kind: "code", language: fence[2].toLowerCase(), fenced: true, source: text.slice(start, stop), start, end: stop });
      end += 1;
    } else if (!line.trim()) { at = end; continue; } else if (HEADING.test(line)) {
      const [, marks, words] = HEADING.exec(line);
      blocks.push({ kind: "heading", level: marks.length, source: words });
    } else if (ITEM.test(line)) {
      while (end < to && lines[end].trim() && (ITEM.test(lines[end]) || /^\s/.test(lines[end])) && !FENCE.test(lines[end])) end += 1;
      blocks.push({ kind: "list", source: lines.slice(at, end).join("\n") });
    } else {
      const quoted = QUOTE.test(line);
      while (end < to && lines[end].trim() && QUOTE.test(lines[end]) === quoted && ![FENCE, HEADING, ITEM].some((form) => form.test(lines[end]))) end += 1;
      const body = lines.slice(at, end);
      blocks.push(quoted ? { kind: "quote", source: body.map((one) => QUOTE.exec(one)[1]).join("\n") } : { kind: "paragraph", source: body.join("\n") });
    }
    at = end;
  }
  return blocks;
};

// A block that is no code as an element. Headings of an answer stand below those of the page.
export const render = (block) => {
  if (block.kind === "heading") return make(`h${Math.min(6, block.level + 3)}`, {}, ...inline(block.source));
  if (block.kind === "list") return list(block.source.split("\n"));
  return make(block.kind === "quote" ? "blockquote" : "p", {}, ...inline(block.source));
};

const list = (lines) => {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const ordered = /\d/.test(mark);
  const node = make(ordered ? "ol" : "ul", ordered && parseInt(mark, 10) !== 1 ? { start: parseInt(mark, 10) } : {});
  let item = [];
  const close = () => {
    if (!item.length) return;
    const below = item.findIndex((line, number) => number > 0 && ITEM.test(line));
    const own = below < 0 ? item : item.slice(0, below);
    node.append(make("li", {}, ...inline(own.map((line) => line.trim()).join("\n")), below < 0 ? null : list(item.slice(below))));
    item = [];
  };
  for (const line of lines) {
    const found = ITEM.exec(line);
    if (found && found[1].length <= indent.length) { close(); item.push(found[3]); } else item.push(line);
  }
  close();
  return node;
};

const INLINE = /(`{1,3})(?!`)(.{1,800}?)\1(?!`)|\*\*(?=\S)([^\n]{1,800}?\S)\*\*|(?<!\w)__(?=\S)([^\n]{1,800}?\S)__(?!\w)|\*(?=[^\s*])([^*\n]{1,800}?)\*|(?<!\w)_(?=\S)([^_\n]{1,800}?)_(?!\w)|\[([^\][\n]{1,400})\]\((\S{1,1000}?)\)/g;

const inline = (text) => {
  if (text.length > MOST) return [text];
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    nodes.push(text.slice(at, found.index));
    const [whole, , code, bold, strong, italic, slanted, words, address] = found;
    if (code !== undefined) nodes.push(make("code", { textContent: code.trim() || code }));
    else if (bold ?? strong) nodes.push(make("strong", {}, ...inline(bold ?? strong)));
    else if (italic ?? slanted) nodes.push(make("em", {}, ...inline(italic ?? slanted)));
    else if (/^https?:\/\//i.test(address)) nodes.push(make("a", { href: address, rel: "noopener noreferrer", target: "_blank", textContent: words, title: address }));
    else nodes.push(whole);
    at = found.index + whole.length;
  }
  nodes.push(text.slice(at));
  return nodes.filter((node) => node !== "");
};
