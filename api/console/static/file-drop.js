// A file dragged onto the form is its file; it is sent in the background, so that a refusal takes nothing away.

import { leadOn } from "./app.js";

for (const form of document.querySelectorAll("[data-file-drop]")) {
  const field = form.querySelector('input[type="file"]');
  const name = form.querySelector("[data-file-name]");
  const button = form.querySelector('[type="submit"]');
  const named = () => {
    name.textContent = field.files.length ? `${field.files[0].name}, ${Math.ceil(field.files[0].size / 1024)} kB` : "";
  };
  field.addEventListener("change", named);

  let inside = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  form.addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    inside += 1;
    form.classList.add("dragged");
  });
  form.addEventListener("dragleave", () => {
    inside = Math.max(0, inside - 1);
    form.classList.toggle("dragged", inside > 0);
  });
  form.addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  form.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    inside = 0;
    form.classList.remove("dragged");
    const dropped = new DataTransfer();
    dropped.items.add(event.dataTransfer.files[0]);
    field.files = dropped.files;
    named();
    form.querySelector('[name="reason"]').focus();
  });

  const refuse = (message) => {
    let place = form.querySelector(".form-error");
    if (!place) {
      place = document.createElement("p");
      place.className = "form-error";
      place.setAttribute("role", "alert");
      form.prepend(place);
    }
    place.textContent = message;
    place.scrollIntoView({ block: "nearest" });
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { accept: "application/json" },
      });
      const told = await answer.json();
      if (answer.ok) leadOn(told);
      else refuse(told.detail ?? told.title);
    } catch {
      refuse("The service did not answer, or took no file of this size. Sending it again is safe.");
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}
