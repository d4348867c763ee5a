// A question in a dialog of the browser's own: it holds the focus, Escape closes it, and the focus goes back to where it was.
import { button, field, make, newId } from "./make.js";

// Gives what was written (true where nothing is asked for), or null where it was closed.
export const ask = ({ title, text = "", words = "", value = "", type = "text", confirm = "OK", danger = false, required = true }) => new Promise((resolve) => {
  const heading = make("h2", { id: newId("dialog"), textContent: title });
  const input = words ? make("input", { type, value, required, autocomplete: "off", maxLength: 500 }) : null;
  const dialog = make("dialog", { aria: { labelledby: heading.id } });
  const form = make("form", { method: "dialog", noValidate: false }, heading, text ? make("p", { className: "muted", textContent: text }) : null,
    input ? field(words, input) : null,
    make("div", { className: "dialog-row" }, button("Cancel", () => dialog.close()),
      make("button", { type: "submit", className: danger ? "danger" : "main", textContent: confirm })));
  const before = document.activeElement;
  let answer = null;
  form.addEventListener("submit", (event) => { event.preventDefault(); answer = input ? input.value.trim() : true; dialog.close(); });
  dialog.addEventListener("close", () => { dialog.remove(); before?.isConnected && before.focus(); resolve(answer); });
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  if (input) input.select(); else form.querySelector("button[type=submit]").focus();
});
