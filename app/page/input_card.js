// @ts-check
// Brings a person's own pictures, films and camera into the take, and shows what it began with and follows.

import { messageOf } from "./api.js";
import { make, show } from "./elements.js";
import { takeFiles } from "./file_drops.js";
import { FollowControls } from "./follow_controls.js";
import { InputChoice } from "./input_choice.js";
import { InputPicture } from "./input_picture.js";
import { inputsOf } from "./input_state.js";
import { loadLaterMessages, message } from "./messages.js";
import { SessionFiles } from "./session_files.js";

/** @import { ModelFacts } from "./api.js" */
/** @import { CameraFeed } from "./camera_feed.js" */
/** @import { FilmUse } from "./input_choice.js" */
/** @import { Box, RegionDrawer } from "./region_drawer.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { Stage } from "./stage.js" */
/** @import { CueLine, StatusEvent } from "./types.js" */

export class InputCard {
  /**
   * @param {HTMLElement} card
   * @param {SessionClient} client
   * @param {Stage} stage whose picture takes files that are dropped, and shows the part that is drawn
   * @param {(name: string) => void} lora called with the name of a LoRA that was uploaded
   */
  constructor(card, client, stage, lora) {
    this.client = client;
    this.files = new SessionFiles(client);
    this.lora = lora;
    this.take = ""; // id
    /** @type {CueLine[]} */
    this.cues = [];
    /** @type {File | null} a file that waits for a session */
    this.waits = null;
    this.had = false; // whether there was a session
    this.follows = false; // whether the camera is to be followed once its pictures arrive
    /** @type {CameraFeed | null} null until it is asked for, as few need its script */
    this.camera = null;
    /** @type {Promise<RegionDrawer> | null} likewise */
    this.region = null;
    this.choice = new InputChoice({
      file: (file) => this.bring(file),
      again: () => this.#again(),
      camera: () => this.#toggleCamera(),
      chosen: () => this.draw(),
    });
    this.controls = new FollowControls({
      change: (change) => {
        if (this.state.followed) client.send({ type: "source", ...change });
      },
      draw: async () => (await this.#drawer()).toggle(),
      show: (box) => this.#showRegion(box),
    });
    this.stage = stage;
    this.picture = new InputPicture(() => this.#stop());
    this.says = make("p", { className: "says help", role: "status" });
    this.says.dataset.lt = "input-says";
    card.append(
      make("h2", { textContent: message("input.title") }),
      this.choice.ways,
      this.picture.element,
      this.choice.element,
      this.controls.element,
      this.says,
    );
    takeFiles([stage.element, card], (file) => this.bring(file));
    this.draw();
  }

  /** Return what the take began with, and what it follows. */
  get state() {
    return inputsOf(this.cues);
  }

  /**
   * Offer what a model takes; the others are named where it takes less.
   *
   * @param {ModelFacts} model
   * @param {ModelFacts[]} models
   */
  offer(model, models) {
    this.choice.offer(model, models);
    if (model.strength) this.controls.offer(model.strength);
    this.draw();
  }

  /**
   * Follow the cues of a take.
   *
   * @param {string} take id
   * @param {CueLine[]} cues
   */
  follow(take, cues) {
    this.take = take;
    this.cues = cues;
    const { followed } = this.state;
    this.controls.follow(followed);
    if (!followed) this.#showRegion(null);
    this.draw();
  }

  /** Send what has waited for a session. */
  opened() {
    const { waits } = this;
    this.waits = null;
    if (waits) this.bring(waits);
    this.#attempt("", async () => this.camera?.publish());
  }

  /** Follow whether there is a session. */
  sessionChanged() {
    const { session, starting } = this.client;
    if (!session && this.had && !starting) this.#ended();
    this.had = Boolean(session) || (this.had && starting);
    this.draw();
  }

  #ended() {
    this.cues = [];
    this.follows = false;
    this.#showRegion(null);
    if (this.camera?.stream) this.camera.close();
    this.draw();
  }

  /** @param {StatusEvent} status */
  heardStatus(status) {
    if (!this.follows || !this.camera?.stream || !status.camera?.width) return;
    this.follows = false;
    this.client.send({ type: "source", source: "camera", ...this.controls.chosen });
  }

  /**
   * Use a picture, a film or a LoRA that a person has chosen, dropped or pasted.
   *
   * @param {File} file
   */
  async bring(file) {
    if (file.name.endsWith(".safetensors")) {
      await this.#bringLora(file);
      return;
    }
    const kind = file.type.startsWith("video/") ? "film" : "image";
    if (!this.choice.choose(kind)) {
      this.#say(this.choice.lacks(kind), true);
      return;
    }
    if (!this.client.session) {
      this.waits = file;
      this.draw();
      return;
    }
    await this.#attempt(message("input.sending", { name: file.name }), async () => {
      const got = await this.files.send(file);
      const found = got.kind === "film" ? "film" : "image";
      this.choice.choose(found);
      this.choice.brought = { name: got.name, kind: found };
      this.#use(got.name, found === "film" ? this.choice.use : "start");
      if (got.notes.length) this.#say(got.notes.join(" · "));
    });
  }

  /** @param {File} file */
  async #bringLora(file) {
    if (!this.client.session) {
      this.#say(message("input.lorafirst"), true);
      return;
    }
    await this.#attempt(message("input.sending", { name: file.name }), async () => {
      const got = await this.files.send(file);
      this.lora(got.name);
      if (got.notes.length) this.#say(got.notes.join(" · "));
    });
  }

  /** Use the file that was brought last in the way that is chosen now. */
  #again() {
    const { brought } = this.choice;
    if (brought) this.#use(brought.name, brought.kind === "film" ? this.choice.use : "start");
  }

  /**
   * @param {string} name of a file on the server
   * @param {FilmUse} use
   */
  #use(name, use) {
    const { fit } = this.choice;
    this.#say("");
    if (use === "source") this.client.send({ type: "source", source: name, fit, ...this.controls.chosen });
    else {
      this.#unfollow();
      this.client.send({ type: "start", file: name, fit });
    }
  }

  #unfollow() {
    this.follows = false;
    if (this.state.followed) this.client.send({ type: "source", source: "none" });
  }

  /** Stop what is followed, or forget the file that waits. */
  #stop() {
    this.waits = null;
    this.#unfollow();
    if (this.camera?.stream) this.camera.close();
    this.draw();
  }

  async #toggleCamera() {
    if (this.camera?.stream) {
      this.#stop();
      return;
    }
    this.follows = true;
    await this.#attempt("", async () => {
      await loadLaterMessages();
      const { CameraFeed } = await import("./camera_feed.js");
      this.camera ??= new CameraFeed(this.client, () => this.#cameraChanged());
      this.camera.open();
    });
  }

  /** @returns {Promise<RegionDrawer>} */
  #drawer() {
    this.region ??= import("./region_drawer.js").then(
      ({ RegionDrawer }) =>
        new RegionDrawer(this.stage.element, this.stage.video, (box) => this.controls.take(box)),
    );
    return this.region;
  }

  /** @param {Box | null} box */
  async #showRegion(box) {
    if (box || this.region) (await this.#drawer()).show(box);
  }

  #cameraChanged() {
    const { camera } = this;
    if (!camera) return;
    if (!camera.stream) {
      this.follows = false;
      if (this.state.followed?.camera) this.#unfollow();
    }
    if (camera.why) this.#say(camera.why, true);
    this.draw();
  }

  /**
   * @param {string} word shown meanwhile
   * @param {() => Promise<void>} act
   */
  async #attempt(word, act) {
    this.#say(word);
    try {
      await act();
      if (this.says.textContent === word) this.#say("");
    } catch (e) {
      this.#say(messageOf(e), true);
    } finally {
      this.draw();
    }
  }

  /** @param {string} text */
  #say(text, bad = false) {
    show(this.says, text, bad);
  }

  draw() {
    const { waits, camera, client } = this;
    const { begun, followed } = this.state;
    this.choice.draw({ live: Boolean(client.session), filming: Boolean(camera?.stream) });
    this.controls.element.hidden = !followed && !this.choice.steers;
    this.picture.draw({
      stream: camera?.stream ?? null,
      camera: camera?.label ?? "",
      arrives: camera?.peer?.connectionState === "connected",
      waits,
      begun,
      followed,
      label: (name) => this.files.label(name),
      address: (name) => this.files.address(name, this.take),
    });
  }
}
