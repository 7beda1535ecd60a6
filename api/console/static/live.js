// One stream a page. It rests while the tab is hidden and goes on, without a reload, when it is looked at again.

import { server } from "./times.js";

const listeners = new Set();
let source = null;
let resting = null;
let last = null;

/** Call `listener(tick)` once a second, and at once with the last tick if there is one. */
export function onTick(listener) {
  listeners.add(listener);
  if (last) listener(last);
}

function mark(state, text) {
  const element = document.querySelector("[data-connection]");
  if (!element || element.dataset.connection === state) return;
  element.dataset.connection = state;
  element.querySelector("[data-connection-text]").textContent = text;
}

function address() {
  const skus = new Set([...document.querySelectorAll("[data-sku]")].map((element) => element.dataset.sku));
  const query = [...skus].slice(0, 200).map((sku) => `sku=${encodeURIComponent(sku)}`);
  return `${document.body.dataset.live}${query.length ? `?${query.join("&")}` : ""}`;
}

async function lost() {
  mark("lost", "not connected");
  source?.close();
  source = null;
  let wait = 2000;
  try {
    const answer = await fetch("/console/session", { headers: { accept: "application/json" } });
    if (answer.status === 401) {
      location.href = `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
      return;
    }
  } catch {
    wait = 3000; // The service is away: the page says so, and tries again.
  }
  resting = setTimeout(open, wait);
}

function open() {
  clearTimeout(resting);
  if (source || document.hidden || !document.body.dataset.live) return;
  source = new EventSource(address());
  source.onmessage = (message) => {
    const tick = JSON.parse(message.data);
    server.aheadMs = tick.at - Date.now();
    mark("live", "live");
    last = tick;
    for (const listener of listeners) listener(tick);
  };
  source.onerror = lost;
}

/** Listen again: the page shows other SKUs now. */
export function reopen() {
  source?.close();
  source = null;
  open();
}

export function begin() {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
      mark("waiting", "paused");
    } else {
      open();
    }
  });
  addEventListener("pagehide", () => source?.close());
  open();
}
