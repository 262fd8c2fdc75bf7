"use strict";
const scenes = JSON.parse(document.getElementById("data").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

for (const article of document.querySelectorAll(".scene")) {
  const pictures = scenes[article.dataset.scene];
  const stage = article.querySelector(".stage");
  const range = article.querySelector("input");

  const move = () => stage.style.setProperty("--at", `${range.value}%`);
  const show = (side) => {
    const shown = pictures[article.querySelector(`select[data-side=${side}]`).value];
    const image = stage.querySelector(`img[data-side=${side}]`);
    image.src = shown.picture;
    image.alt = `The fifth frame, ${side}: ${shown.label}`;
    stage.querySelector(`.tag.${side}`).textContent = shown.label;
    showClip(article.querySelector(`video[data-side=${side}]`), shown);
  };
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    range.value = Math.round(100 * Math.min(1, Math.max(0, share)));
    move();
  };

  for (const select of article.querySelectorAll("select")) {
    select.addEventListener("change", () => show(select.dataset.side));
    show(select.dataset.side);
  }
  range.addEventListener("input", move);
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  // A browser would begin to drag the picture itself, and tell of no more moves.
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons) drag(event);
  });
  move();
}

function showClip(video, shown) {
  const figure = video.parentElement;
  figure.hidden = !shown.clip;
  if (!shown.clip) {
    video.removeAttribute("src");
    return;
  }
  video.src = shown.clip;
  video.setAttribute("aria-label", `Clip of ${shown.label}`);
  figure.querySelector("figcaption").textContent = shown.label;
  video.controls = still;
  video.autoplay = !still;
}
