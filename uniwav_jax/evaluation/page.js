// Of the pages that page.py writes. One sound plays at a time, and a line shows where it is; a click
// on its pictures plays from there.
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
