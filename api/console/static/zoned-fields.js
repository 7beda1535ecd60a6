// Moments in a filter: shown and typed in the viewer's zone, kept in UTC in the address, so that a link means the same
// everywhere. Without script the fields are in UTC, as their labels say.

const two = (number) => String(number).padStart(2, "0");

function local(moment) {
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  return `${day}T${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

for (const field of document.querySelectorAll("input[data-utc]")) {
  const sent = document.createElement("input");
  sent.type = "hidden";
  sent.name = field.name;
  field.removeAttribute("name");
  field.after(sent);
  const zone = document.querySelector(`label[for="${field.id}"] [data-zone]`);
  if (zone) zone.textContent = "optional";
  if (field.defaultValue) field.value = local(new Date(`${field.defaultValue}Z`));
  field.form.addEventListener("submit", () => {
    const moment = new Date(field.value);
    sent.value = Number.isNaN(moment.getTime()) ? "" : moment.toISOString().replace(".000Z", "Z");
    sent.disabled = !sent.value;
  });
}
