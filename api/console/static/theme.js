// The chosen theme before anything is drawn. A small classic script, so that the page never flashes in the other one.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("holdfast-theme");
  } catch {
    // A browser that keeps nothing: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
document.documentElement.classList.add("js");
