// @ts-check
// Runs the page of a share link: picture, sound after a click, and timeline. Its address ends with the link.

import { part, show } from "./elements.js";
import { SessionClient } from "./session_client.js";
import { filmStatus } from "./status_words.js";
import { Timeline } from "./timeline.js";

const video = part(document, "video", HTMLVideoElement);
const statusLine = part(document, "status", HTMLElement);
const timeline = new Timeline(part(document, "timeline", HTMLElement));

const client = new SessionClient(video, "../", "longtake.watched", {
  told: (text, bad) => show(statusLine, text, bad),
  changed: () => {},
  heard: (event) => {
    if (event.type === "timeline") timeline.cues = event.cues;
    else if (event.type === "status") timeline.status = event;
    else return;
    timeline.draw();
  },
  opened: () => {},
  measured: (figures) => show(statusLine, filmStatus(client, figures)),
});

video.onclick = () => {
  video.muted = !video.muted;
};
show(statusLine, "ready");
client.watch({ id: location.pathname.split("/").pop() ?? "", key: null, ice: null, sound: true });
