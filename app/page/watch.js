// @ts-check
// Runs the page of a share link: the picture, sound after a click, and what plays. Its address ends with the link;
// `?clean` shows the picture alone, for a second screen.

import { part, show } from "./elements.js";
import { drawIcons, icon } from "./icons.js";
import { LastFrame } from "./last_frame.js";
import { message, translate } from "./messages.js";
import { clock, frameOf } from "./scene_labels.js";
import { SessionClient } from "./session_client.js";
import { scenesOf } from "./scenes.js";

/** @import { TimelineEvent } from "./types.js" */

const SHOWN_FOR = 3500; // ms after the last movement
const COPY_EVERY = 500; // ms

const root = part(document, "watch", HTMLElement);
const video = part(document, "video", HTMLVideoElement);
const last = new LastFrame(
  video,
  part(document, "last", HTMLCanvasElement),
  part(document, "ambient", HTMLCanvasElement),
);
const statusLine = part(document, "status", HTMLElement);
const word = part(document, "word", HTMLElement);
const now = part(document, "now", HTMLElement);
const sound = part(document, "sound", HTMLButtonElement);
/** @type {TimelineEvent["cues"]} */
let cues = [];

translate(document);
drawIcons(document);
root.classList.toggle("clean", new URLSearchParams(location.search).has("clean"));

const client = new SessionClient(video, "../", "longtake.watched", {
  told: (text, bad) => show(statusLine, text, bad),
  changed: drawState,
  heard: (event) => {
    if (event.type === "hello") sound.hidden = !event.sound;
    if (event.type === "timeline") cues = scenesOf(event.cues);
    else if (event.type === "status") drawNow(event.playhead);
    else if (event.type === "phase") drawState();
  },
  opened: () => show(statusLine, ""),
  measured: ({ playedFps }) => {
    const words = [
      client.connection?.transport || message("line.connecting"),
      message("line.played", { fps: playedFps }),
    ];
    if (client.sound && video.muted) words.push(message("line.hear"));
    show(statusLine, words.join(" · "));
  },
});

function drawState() {
  const live = client.session && client.connection?.talk;
  const state = live ? (client.phase === "paused" ? "paused" : "live") : "";
  root.dataset.state = state;
  const away = client.outcome ? "ended" : client.opened ? "reconnecting" : "connecting";
  word.textContent = message(`state.${state || away}`);
  if (!live) last.keep();
  last.canvas.hidden = Boolean(live) || !last.kept;
}

/** @param {number} playhead latent */
function drawNow(playhead) {
  const cue = cues.findLast(({ landed }) => (landed ?? 0) <= playhead);
  now.textContent = cue?.prompt ?? "";
  now.title = cue ? message("deck.since", { time: clock(frameOf(cue.landed ?? 0) / (client.fps || 1)) }) : "";
  drawState();
}

// -- controls -----------------------------------------------------------------------------------------------------

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

function showControls() {
  clearTimeout(timer);
  root.classList.remove("quiet");
  timer = setTimeout(() => root.classList.add("quiet"), SHOWN_FOR);
}

function toggleSound() {
  video.muted = !video.muted;
  sound.ariaPressed = String(!video.muted);
  sound.querySelector("svg")?.replaceWith(icon(video.muted ? "silent" : "sound"));
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else root.requestFullscreen?.(); // not on every phone
}

const small = part(document, "pip", HTMLButtonElement);
small.hidden = !document.pictureInPictureEnabled;
small.onclick = () => {
  if (document.pictureInPictureElement) document.exitPictureInPicture();
  else video.requestPictureInPicture().catch(() => {}); // refused before the first frame
};
part(document, "full", HTMLButtonElement).onclick = toggleFullScreen;
sound.onclick = toggleSound;
video.onclick = () => {
  if (client.sound) toggleSound();
};
for (const kind of ["pointermove", "pointerdown", "keydown", "focusin"])
  document.addEventListener(kind, showControls);
document.addEventListener("keydown", (e) => {
  if (e.key === "f" && !e.ctrlKey && !e.metaKey && !e.altKey) toggleFullScreen();
});
setInterval(() => {
  if (!client.connection?.talk || document.hidden) return;
  last.keep();
  last.tint(video);
}, COPY_EVERY);
showControls();
client.watch({ id: location.pathname.split("/").pop() ?? "", key: null, ice: null, sound: true });
