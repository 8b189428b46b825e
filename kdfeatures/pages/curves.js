for (const curves of document.querySelectorAll(".curves")) {
  for (const button of curves.querySelectorAll(".key button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      for (const line of curves.querySelectorAll(`polyline[data-group="${button.dataset.group}"]`)) line.classList.toggle("off", !on);
    });
  }
}
