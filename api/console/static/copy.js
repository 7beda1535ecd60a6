// A button that copies what is shown this once. Where the browser has no clipboard for us the text stays selectable.

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    const told = button.parentElement.querySelector(".copied");
    try {
      await navigator.clipboard.writeText(text.textContent);
      told.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
      told.textContent = "selected; copy it by keyboard";
    }
  });
}
