// The takes that lie on the server, also those that were cut off: download, continue, render.
(() => {
  "use strict";

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  class Takes {
    constructor(player) {
      this.player = player;
      this.panel = player.root.querySelector("[data-lt=takes]");
      this.list = player.root.querySelector("[data-lt=list]");
      this.panel.addEventListener("toggle", () => this.draw());
      setInterval(() => this.draw(), 1000);
    }

    async draw() {
      if (!this.panel.open || this.asking || document.hidden) return;
      this.asking = true;
      try {
        const takes = await (await fetch("api/takes")).json();
        const shown = JSON.stringify(takes);
        if (shown === this.shown) return; // what a person is about to click must not be replaced
        this.shown = shown;
        this.list.replaceChildren(...(takes.length ? takes.map((take) => this.row(take)) : ["No takes yet."]));
      } catch { /* the server is away; the status line says so */ } finally {
        this.asking = false;
      }
    }

    row(take) {
      const when = new Date(1000 * take.changed).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      const facts = [when, take.seconds === null ? "" : `${take.seconds} s`, take.state === "ended" ? "" : take.state];
      const url = `api/takes/${take.id}`;
      const buttons = [make("a", { className: "button", href: url, download: "", textContent: "Take" })];
      if (take.sound) buttons.push(make("a", { className: "button", href: `${url}/sound`, download: "", textContent: "Sound" }));
      else if (take.state !== "live") buttons.push(this.button("Continue", () => this.player.goOn(take.id)));
      take.recordings.forEach((n) =>
        buttons.push(make("a", { className: "button", href: `${url}/recordings/${n}`, download: "", textContent: `Recording ${n}` })));
      buttons.push(...this.renderButtons(take, url));
      return make("div", { className: "take" },
        make("div", { className: "what", textContent: take.prompts.join(" → "), title: take.prompts.join("\n") }),
        make("div", { className: "when", textContent: facts.filter(Boolean).join(" · ") }),
        make("div", { className: "row" }, ...buttons));
    }

    renderButtons(take, url) {
      const render = take.render, buttons = [];
      if (render && render.film) buttons.push(make("a", { className: "button", href: `${url}/film`, download: "", textContent: "Film" }));
      if (render && ["waiting", "rendering", "held"].includes(render.state)) {
        const words = { waiting: "waits for its turn", held: "waits while somebody watches", rendering: "renders" };
        buttons.push(make("progress", { max: render.chunks, value: render.done }),
          make("span", { textContent: `${words[render.state]}, ${render.done} of ${render.chunks} chunks` }),
          this.button("Cancel", () => this.ask(`${url}/render`, "DELETE")));
      } else {
        buttons.push(this.button(render && render.state !== "done" ? "Go on rendering" : "Render", () => this.render(take.id)));
        if (render && render.why) buttons.push(make("span", { className: "bad", textContent: render.why }));
      }
      return buttons;
    }

    button(text, what) { return make("button", { textContent: text, onclick: what }); }

    render(take) {
      this.panel.open = true;
      return this.ask(`api/takes/${take}/render`, "POST");
    }

    async ask(url, method) {
      const answer = await fetch(url, { method });
      if (!answer.ok) this.player.tell((await answer.json()).error, true);
      await this.draw();
    }
  }

  window.longtake.Takes = Takes;
})();
