// Lists that no event of the ledger tells about (deliveries, jobs): fetched again every few seconds while looked at.

import { refresh } from "./app.js";

setInterval(() => {
  if (!document.hidden) refresh();
}, 3000);
