
(() => {
  const root = document.documentElement;
  const keep = (value) => { try { localStorage.setItem("codetune-theme", value); } catch { /* a page opened from a file may have no storage */ } };
  try { const kept = localStorage.getItem("codetune-theme"); if (kept) root.dataset.theme = kept; } catch { /* as above */ }
  const asked = new URLSearchParams(location.search).get("theme");
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    keep(root.dataset.theme);
  });
})();
