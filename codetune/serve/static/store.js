// What this browser keeps: settings, drafts, tests of a conversation. A browser without storage keeps them until the page is closed.
const held = new Map();
const name = (key) => `codetune-${key}`;

export const recall = (key, fallback) => {
  if (held.has(key)) return held.get(key);
  try { const kept = localStorage.getItem(name(key)); return kept === null ? fallback : JSON.parse(kept); } catch { return fallback; }
};

export const keep = (key, value) => {
  if (value === null) held.delete(key); else held.set(key, value);
  try {
    if (value === "" || value === null) localStorage.removeItem(name(key));
    else localStorage.setItem(name(key), JSON.stringify(value));
  } catch { /* no storage, or full: kept while the page is open */ }
};
