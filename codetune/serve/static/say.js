// What is said: to a screen reader as it happens, and in one line where something went wrong.
import { make } from "./make.js";

const place = document.getElementById("said");
const waiting = [];
let timer = 0;

// Sayings that come close together are said together: a screen reader would drop all but the last.
export const announce = (text) => {
  if (!text) return;
  waiting.push(text);
  timer ||= setTimeout(() => { timer = 0; place.replaceChildren(make("p", { textContent: waiting.splice(0).join(" ") })); }, 150);
};

export const fault = (error) => make("p", { className: "fault", role: "alert", textContent: error.message ?? String(error) });

export const note = (text, className = "note") => make("p", { className, textContent: text });

const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
export const since = (written) => {
  const time = typeof written === "number" ? written * 1000 : Date.parse(written);
  const seconds = (Date.now() - time) / 1000;
  for (const [unit, size] of units) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}${seconds >= 2 * size ? "s" : ""} ago`;
  return "just now";
};
export const dayOf = (written) => new Date(typeof written === "number" ? written * 1000 : written);

export const duration = (seconds) => {
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
};
export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
