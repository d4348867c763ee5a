
// Tables are sorted by a click on a heading, each group of rows by itself.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.lastElementChild.querySelectorAll("th.num").forEach((head, index) => {
    let down = true;
    const sort = () => {
      const key = (row) => parseFloat(row.querySelectorAll("td")[index].dataset.sort);
      const worst = down ? -Infinity : Infinity;
      const value = (row) => (Number.isNaN(key(row)) ? worst : key(row));
      for (const body of table.tBodies) {
        if (body.classList.contains("title")) continue;
        [...body.rows].sort((a, b) => (down ? value(b) - value(a) : value(a) - value(b)) || 0).forEach((row) => body.append(row));
      }
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      down = !down;
    };
    head.tabIndex = 0;
    head.classList.add("can-sort");
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}
// A link into something folded opens it; printing opens what belongs on paper.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.block:not([open])")];
  for (const folded of opened) folded.open = true;
});
addEventListener("afterprint", () => { for (const folded of opened) folded.open = false; });
