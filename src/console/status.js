
"use strict";
const live = document.getElementById("live");
const stale = document.getElementById("stale");
async function refresh() {
  try {
    const answer = await fetch("/status?part=tree", { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    live.innerHTML = await answer.text();
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
  setTimeout(refresh, document.hidden ? 5000 : 1000);
}
setTimeout(refresh, 1000);
