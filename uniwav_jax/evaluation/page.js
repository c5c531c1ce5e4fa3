// Of the pages that page.py writes. One sound plays at a time, and a line shows where it is; a click
// on its pictures plays from there. Plots show the values under the pointer.
const sounds = [...document.querySelectorAll("audio")];
document.getElementById("unplayed")?.toggleAttribute(
  "hidden", sounds.every(a => a.canPlayType("audio/ogg; codecs=opus"))
);
for (const audio of sounds) {
  const track = audio.closest("figure").querySelector(".track");
  const now = track.querySelector(".now");
  const show = () => {
    now.style.left = 100 * audio.currentTime / audio.duration + "%";
    now.style.visibility = audio.duration ? "visible" : "hidden";
    if (!audio.paused) requestAnimationFrame(show);
  };
  audio.addEventListener("play", () => {
    for (const other of sounds) if (other !== audio) other.pause();
    show();
  });
  audio.addEventListener("seeked", show);
  track.addEventListener("click", event => {
    const box = track.getBoundingClientRect();
    const seek = () => {
      audio.currentTime = (event.clientX - box.left) / box.width * audio.duration;
      audio.play();
    };
    if (audio.readyState) return seek();
    audio.addEventListener("loadedmetadata", seek, {once: true});
    audio.load();
  });
}
for (const svg of document.querySelectorAll(".plot svg")) {
  const [x, y] = [svg.dataset.x, svg.dataset.y].map(text => {
    const [low, high, first, last, log] = text.split(" ");
    const [from, to] = [low, high].map(end => log ? Math.log(end) : +end);
    return place => {
      const value = from + (place - first) / (last - first) * (to - from);
      return log ? Math.exp(value) : value;
    };
  });
  const shown = document.createElement("output");
  const pointer = document.createElementNS(svg.namespaceURI, "path");
  pointer.setAttribute("class", "pointer");
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const nearest = {}, distance = point => Math.abs(point.x - place);
    for (const line of svg.querySelectorAll("polyline"))
      for (const point of line.points) {
        const known = nearest[line.dataset.name];
        if (!known || distance(point) < distance(known)) nearest[line.dataset.name] = point;
      }
    shown.textContent = Object.entries(nearest).map(([name, point]) =>
      `${name} ${+y(point.y).toPrecision(4)} at step ${Math.round(x(point.x))}`).join("\n");
    const at = Object.values(nearest).reduce((a, b) => distance(a) <= distance(b) ? a : b).x;
    pointer.setAttribute("d", `M${at} 8V178`);
    svg.append(pointer);
    svg.parentNode.append(shown);
  });
  svg.addEventListener("pointerleave", () => { shown.remove(); pointer.remove(); });
}
