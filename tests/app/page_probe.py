"""Record what a page sends and receives, what it captures and what its note says; wait for what it shows."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

PROBE = """
(() => {
  const probe = { events: [], sent: new Map(), waits: [], peers: [], ways: [], asked: [], streams: [], analysers: [] };
  window.probe = probe;
  probe.latest = (type) => probe.events.findLast((event) => event.type === type);
  probe.phase = () => probe.events.findLast((event) => event.phase)?.phase;
  probe.breakLine = () => {
    const peer = probe.peers.at(-1);
    Object.defineProperty(peer, "connectionState", { value: "failed" });
    peer.dispatchEvent(new Event("connectionstatechange"));
  };

  // events and commands on data channels and sockets
  const watched = (way) => {
    const send = way.send.bind(way);
    way.send = (text) => {
      probe.sent.set(JSON.parse(text).id, performance.now());
      send(text);
    };
    way.addEventListener("message", ({ data }) => {
      if (typeof data === "string") probe.events.push(JSON.parse(data));
    });
    probe.ways.push(way);
    return way;
  };
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...given) {
      super(...given);
      probe.peers.push(this);
    }
    createDataChannel(...given) {
      return watched(super.createDataChannel(...given));
    }
  };
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      watched(this);
    }
  };

  // requests for a microphone
  if (navigator.mediaDevices) {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (what) => {
      probe.asked.push(what);
      const stream = await ask(what);
      probe.streams.push(stream);
      return stream;
    };
  }

  // ms from prompt to screen, as the page reports them
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const wait = /^on screen after ([0-9]+) ms/.exec(target.textContent);
      if (target instanceof Element && target.matches("[data-lt=note]") && wait) probe.waits.push(Number(wait[1]));
    }
  }).observe(document, { subtree: true, childList: true });

  // the level that the page's first meter measures, in dBFS over the last 43 ms
  window.AnalyserNode = class extends AnalyserNode {
    constructor(...given) {
      super(...given);
      probe.analysers.push(this);
    }
  };
  const samples = new Float32Array(2048);
  probe.level = () => {
    probe.analysers[0].getFloatTimeDomainData(samples);
    return 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length + 1e-6);
  };
})();
"""


def until(page: Page, condition: str, seconds: float = 20) -> None:
    """Wait until a JavaScript condition is true."""
    page.wait_for_function(condition, timeout=1000 * seconds)


def until_ready(page: Page) -> None:
    """Wait until the page knows its model, also where it shows no facts of it."""
    until(page, "document.querySelector('[data-lt=facts]')?.textContent", 30)


def until_says(page: Page, name: str, text: str, seconds: float = 20) -> None:
    """Wait until the element of that name contains a text."""
    until(page, f"document.querySelector('[data-lt={name}]').textContent.includes({text!r})", seconds)


def until_seen(page: Page, prompts: int = 1) -> None:
    """Wait until the page has measured so many prompts from Enter to screen."""
    until(page, f"probe.waits.length >= {prompts}")


def latest(page: Page, kind: str) -> dict[str, Any]:
    """Return the newest event of a kind that the page received."""
    return page.evaluate(f"probe.latest('{kind}')")


def take_of(page: Page) -> str:
    """Return the id of the take that is played."""
    return latest(page, "timeline")["take"]


def shared_link(page: Page) -> str:
    """Make a share link of the session on the page, and return its whole address."""
    page.click("[data-lt=share]")
    page.wait_for_selector("[data-lt=shared]", state="visible")
    return str(page.evaluate("document.querySelector('[data-lt=shared]').href"))


def end(page: Page) -> None:
    """End the session, or leave the line, so that the device is free for the next test, and close the page."""
    for button in ("end", "leave"):
        if page.is_visible(f"[data-lt={button}]"):
            page.click(f"[data-lt={button}]")
    until(page, "document.querySelector('[data-lt=end]').hidden")
    page.wait_for_timeout(100)
    page.close()
