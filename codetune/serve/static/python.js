// Colours Python: one pass over the text, each token a span of text. What is not recognised stays plain.
import { make } from "./make.js";

const KEYWORDS = new Set("False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield".split(" "));
const BUILTINS = new Set("abs all any bool bytes callable chr dict dir divmod enumerate filter float format frozenset getattr hasattr hash hex id input int isinstance issubclass iter len list map max min next object open ord pow print property range repr reversed round self set setattr slice sorted staticmethod classmethod str sum super tuple type vars zip Exception ValueError TypeError KeyError IndexError RuntimeError StopIteration".split(" "));
const TOKEN = /(#[^\n]*)|((?:[rRbBuUfF]{0,2})(?:"""(?:\\[\s\S]|[^\\])*?(?:"""|$)|'''(?:\\[\s\S]|[^\\])*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))|(@[A-Za-z_][\w.]*)|((?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?j?|\.\d[\d_]*))|([A-Za-z_]\w*)/g;
const MOST = 50000; // characters: longer code is shown without colours

const kind = (found, before) => {
  if (found[1]) return "c";
  if (found[2]) return "s";
  if (found[3] || found[4]) return "n";
  if (KEYWORDS.has(found[5])) return "k";
  return /(?:def|class)\s+$/.test(before) || BUILTINS.has(found[5]) ? "f" : "";
};

export const coloured = (source, language = "python") => {
  const code = make("code");
  if (!/^(?:|py|python3?|pycon)$/.test(language) || source.length > MOST) { code.textContent = source; return code; }
  let at = 0;
  for (const found of source.matchAll(TOKEN)) {
    const className = kind(found, source.slice(Math.max(0, found.index - 8), found.index));
    if (!className) continue;
    code.append(source.slice(at, found.index), make("span", { className, textContent: found[0] }));
    at = found.index + found[0].length;
  }
  code.append(source.slice(at));
  return code;
};
