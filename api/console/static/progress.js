// How far an import has come: asked twice a second while somebody works on it, then the page is brought up to date.

import { refresh } from "./app.js";

async function follow() {
  const place = document.querySelector("[data-progress]");
  if (!place || place.dataset.followed) return;
  place.dataset.followed = "yes";
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    if (!place.isConnected) return;
    const answer = await fetch(place.dataset.progress, { headers: { accept: "application/json" } }).catch(() => null);
    if (!answer?.ok) continue;
    const { told, share, working } = await answer.json();
    if (!working) break;
    place.querySelector("progress").value = share;
    place.querySelector("[data-progress-text]").textContent = told;
  }
  await refresh();
}

document.addEventListener("holdfast:fresh", follow);
follow();
