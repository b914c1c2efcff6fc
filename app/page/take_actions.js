// @ts-check
// Begins and continues takes on the studio page, branches them, and sends prompts to them.

import { message } from "./messages.js";
import { clock } from "./scene_labels.js";

/** @import { ModelChoice } from "./model_choice.js" */
/** @import { NoteLine } from "./note_line.js" */
/** @import { How, PromptBar } from "./prompt_bar.js" */
/** @import { SessionClient } from "./session_client.js" */
/** @import { SessionOptions } from "./session_options.js" */
/** @import { Stage } from "./stage.js" */
/** @import { StudioView } from "./studio_view.js" */
/** @import { Tempo } from "./tempo.js" */
/** @import { Timeline } from "./timeline.js" */
/** @import { Toast } from "./toast.js" */
/** @import { WaitingCues } from "./waiting_cues.js" */

/**
 * @typedef {object} Parts of the page
 * @property {SessionClient} client
 * @property {ModelChoice} models
 * @property {NoteLine} note
 * @property {SessionOptions} options
 * @property {PromptBar} prompt
 * @property {Stage} stage
 * @property {Timeline} timeline
 * @property {Toast} toast
 * @property {StudioView} view
 * @property {WaitingCues} waiting
 */

export class TakeActions {
  /**
   * @param {HTMLElement} root
   * @param {Parts} parts
   */
  constructor(root, parts) {
    this.root = root;
    this.client = parts.client;
    this.models = parts.models;
    this.note = parts.note;
    this.options = parts.options;
    this.prompt = parts.prompt;
    this.stage = parts.stage;
    /** @type {Tempo | null} null until a person has looked at it */
    this.tempo = null;
    this.timeline = parts.timeline;
    this.toast = parts.toast;
    this.view = parts.view;
    this.waiting = parts.waiting;
  }

  /** Begin a take with what is typed, or with what plays. */
  begin() {
    const model = this.models.name;
    const text = () => this.prompt.textOrPlaying;
    if (!text()) {
      this.prompt.focus();
      return;
    }
    const body = () => ({ prompt: text(), model, ...this.options.body });
    this.waiting.clear();
    this.client.begin(
      "api/sessions",
      body,
      this.models.loaded ? message("line.starting") : message("line.loading", { model }),
      ({ note }) => {
        this.prompt.remember(text());
        this.prompt.text = "";
        if (note) this.note.tell(note, true);
      },
    );
  }

  /**
   * Continue a take that lies on the server.
   *
   * @param {string} take id
   */
  async goOn(take) {
    this.client.end();
    if (take !== this.view.take) this.stage.last.kept = false; // the newest frame is another take's
    await this.client.begin(
      `api/takes/${take}/continue`,
      () => ({ look_ahead: this.options.lookAhead }),
      message("stage.goingon"),
    );
    this.root.scrollIntoView();
  }

  /**
   * Go back to a latent, and offer the way back to the line that is left.
   *
   * @param {number} latent
   */
  branch(latent) {
    const old = this.view.take;
    if (this.client.send({ type: "rewind", latent }) === null) return;
    const time = clock(this.timeline.seconds(latent));
    this.toast.show(message("scene.branched", { time }), message("scene.branched.back"), () =>
      this.goOn(old),
    );
  }

  /**
   * Send a prompt to the running take, or begin or continue one with it.
   *
   * @param {string} text
   * @param {How} how
   */
  say(text, how) {
    if (!text) return;
    this.note.begin();
    const state = this.stage.state;
    if (this.client.session) {
      const wait = this.tempo?.wait;
      if (wait) setTimeout(() => this.waiting.say(text, how), wait);
      else this.waiting.say(text, how);
    } else if (state === "ended") {
      this.goOn(this.view.take);
      this.waiting.say(text, how);
    } else {
      this.prompt.text = text;
      this.begin();
      return;
    }
    this.prompt.remember(text);
    if (this.prompt.text === text) this.prompt.text = "";
    this.view.follow();
  }
}
