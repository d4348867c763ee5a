// Speaks with the server: JSON, and answers that come as a stream of events. The key is kept for this tab alone, never in an address.
let key = "";
try { key = sessionStorage.getItem("codetune-key") ?? ""; } catch { /* no storage: asked again after a reload */ }

let askForKey = () => Promise.reject(new Error("a key is needed"));
export const whenLocked = (ask) => { askForKey = ask; };

let asking = null; // several requests that are refused together ask once
const unlock = (refused) => {
  asking ??= askForKey(refused).then((given) => {
    key = given;
    try { sessionStorage.setItem("codetune-key", given); } catch { /* as above */ }
  }).finally(() => { asking = null; });
  return asking;
};

const reason = async (response) => {
  try { return (await response.json()).error.message; } catch { return `the server answered ${response.status}: see its own output`; }
};

const request = async (method, path, body, signal) => {
  for (let tried = 0; ; tried += 1) {
    const headers = { Accept: "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const sent = key;
    let response;
    try {
      response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("the server does not answer: is codetune serve still running?", { cause: error });
    }
    if (response.ok) return response;
    if (response.status !== 401) throw Object.assign(new Error(await reason(response)), { status: response.status });
    if (sent === key) await unlock(Boolean(sent));
  }
};

export const call = async (method, path, body) => {
  const response = await request(method, path, body);
  return response.status === 204 ? null : response.json();
};
export const text = async (path) => (await request("GET", path)).text();

// Gives every event to `tell` as it comes. Aborting `signal` gives the answer up; the server keeps what was written.
export const stream = async (path, body, tell, signal) => {
  const response = await request("POST", path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") tell(JSON.parse(data));
    }
  }
};
