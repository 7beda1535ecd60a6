// Times in the viewer's zone: every <time> of the page, and those that come later.

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const since = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "narrow" });

/** How far the server's clock is ahead of this one, ms. Set by live.js. */
export const server = { aheadMs: 0 };

export function now() {
  return Date.now() + server.aheadMs;
}

/** Seconds as 1:05:09, 5:09 or 0:09. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = parts.map((part, place) => (place ? String(part).padStart(2, "0") : String(part)));
  return parts[0] ? text.join(":") : `${parts[1]}:${text[2]}`;
}

function ago(ms) {
  const seconds = Math.round(ms / 1000);
  if (Math.abs(seconds) < 60) return since.format(-seconds, "second");
  if (Math.abs(seconds) < 3600) return since.format(-Math.round(seconds / 60), "minute");
  if (Math.abs(seconds) < 86400) return since.format(-Math.round(seconds / 3600), "hour");
  return since.format(-Math.round(seconds / 86400), "day");
}

function show(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const style = element.dataset.style;
  let text = day.format(moment);
  if (style === "ago") text = ago(now() - moment.getTime());
  if (style === "time") text = clock.format(moment);
  if (style === "left") {
    const left = (moment.getTime() - now()) / 1000;
    text = left > 0 ? duration(left) : "ended";
  }
  if (element.textContent !== text) element.textContent = text;
  if (!element.title) element.title = exact.format(moment);
}

/** Put every time below `root` into the viewer's words. */
export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) show(element);
}

/** Keep those that depend on now up to date. */
export function keepTimes() {
  showTimes();
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll('time[data-style="left"], time[data-style="ago"]')) show(element);
  }, 1000);
}
