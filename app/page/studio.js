// @ts-check
// Runs the studio page: a prompt, and a take that follows it.

import { ask } from "./api.js";
import { part, show } from "./elements.js";
import { offerControllers } from "./controllers.js";
import { STUDIO_KEYS, actOf } from "./studio_keys.js";
import { obeyKeys } from "./hotkeys.js";
import { drawIcons } from "./icons.js";
import { InputCard } from "./input_card.js";
import { Later, once } from "./later.js";
import { offerLogout } from "./logout.js";
import { message, translate } from "./messages.js";
import { ModelChoice } from "./model_choice.js";
import { NoteLine } from "./note_line.js";
import { Panels } from "./panels.js";
import { CUT, PLAIN, PromptBar } from "./prompt_bar.js";
import { clock } from "./scene_labels.js";
import { SessionOptions } from "./session_options.js";
import { SessionClient } from "./session_client.js";
import { Slots } from "./slots.js";
import { Stage } from "./stage.js";
import { StudioView } from "./studio_view.js";
import { TakeActions } from "./take_actions.js";
import { TakePictures } from "./take_pictures.js";
import { applyTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { TimelineControl } from "./timeline_control.js";
import { Toast } from "./toast.js";
import { Transport } from "./transport.js";
import { Tune, withPhrase } from "./tune.js";
import { WaitingCues } from "./waiting_cues.js";

/** @import { ModelFacts, TakeSummary } from "./api.js" */
/** @import { Phrases } from "./scene_labels.js" */
/** @import { ServerEvent } from "./types.js" */

class Studio {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    translate(root);
    drawIcons(root);
    applyTheme(part(root, "theme", HTMLButtonElement));
    this.note = new NoteLine(root, {
      say: (text, how) => this.act.say(text, how),
      cut: () => this.act.say(this.view.now, CUT),
      details: (prompt, why) => this.#tellAll(prompt, why),
    });
    this.stage = new Stage(root);
    const missing = () => this.note.tell(message("note.unloaded"), true);
    // they are measured again and again, and nobody has asked for them
    this.figures = new Later(async () => new (await import("./figures.js")).FigureTable(root), once(missing));
    this.toast = new Toast(part(root, "toast", HTMLElement));
    this.client = new SessionClient(this.stage.video, "", "longtake.session", {
      told: (text) => {
        this.view.told = text;
        this.view.draw();
      },
      changed: () => this.#sessionChanged(),
      heard: (event) => this.#heard(event),
      opened: () => this.#opened(),
      measured: (figures) => this.figures.use((table) => table.draw(this.client, figures)),
      seen: (wait) => this.note.tell(message("note.onscreen", { ms: Math.round(wait) })),
    });
    this.options = new SessionOptions(this.client);
    this.waiting = new WaitingCues(this.client);
    this.transport = new Transport(root, this.client);
    this.prompt = new PromptBar(root, (text, how) => this.act.say(text, how));
    this.slots = new Slots(part(root, "slots", HTMLElement), {
      play: (text) => this.act.say(text, PLAIN),
      offer: () => this.view.offerToSlot(),
      kept: (text) => this.client.send({ type: "prepare", text }, { quiet: true }),
    });
    this.pictures = new TakePictures();
    /** @type {Phrases} phrases that the chosen model understands */
    this.known = {};
    this.takes = new Later(async () => {
      const { TakeList } = await import("./take_list.js");
      const list = new TakeList(
        root,
        this.pictures,
        (take) => this.act.goOn(take),
        (text, bad) => this.note.tell(text, bad),
        (takes) => this.#listed(takes),
      );
      list.known = this.known;
      return list;
    }, missing);
    this.present = new Later(async () => {
      const { PresentTake } = await import("./present_take.js");
      return new PresentTake(root, this);
    }, missing);
    this.panels = new Panels(root, (name) => {
      if (name === "takes") this.takes.use((list) => list.draw());
    });
    this.tune = new Tune(part(root, "tune", HTMLElement), {
      set: (name, value) => this.options.change(name, value),
      seed: (seed) => {
        this.options.seed = seed;
      },
      phrase: (phrase, ways) => {
        this.prompt.text = withPhrase(this.prompt.textOrPlaying, ways, phrase);
        this.prompt.focus();
      },
    });
    this.inputs = new InputCard(part(root, "inputs", HTMLElement), this.client, this.stage, (name) =>
      this.loras.use((sliders) => sliders.use(name)),
    );
    this.loras = new Later(async () => {
      const { LoraSliders } = await import("./lora_sliders.js");
      return new LoraSliders(part(root, "loras", HTMLElement), {
        send: (command) => this.client.send(command),
        file: (file) => this.inputs.bring(file),
        label: (name) => this.inputs.files.label(name),
      });
    }, missing);
    this.models = new ModelChoice(root, (model) => this.#chose(model));
    this.timeline = new Timeline(root);
    this.scenes = new TimelineControl(root, this.timeline, {
      recall: (latent) => this.client.send({ type: "recall", latent }),
      branch: (latent) => this.act.branch(latent),
      edit: (text) => {
        this.prompt.text = text;
        this.prompt.focus();
      },
      planned: (act) => this.planned.use(act),
    });
    this.planned = new Later(async () => {
      const { CuesToCome } = await import("./cues_to_come.js");
      const { timeline, client, note } = this;
      const typed = () => this.prompt.textOrPlaying;
      return new CuesToCome(part(root, "scene", HTMLDialogElement), { timeline, client, note, typed });
    }, missing);
    this.links = new Later(async () => {
      const { ShareLinks } = await import("./share_links.js");
      return new ShareLinks(root, this.client, (text, bad) => {
        this.note.tell(text, bad);
        this.toast.show(text);
      });
    }, missing);
    this.moments = new Later(async () => {
      const { SavedMoments } = await import("./saved_moments.js");
      return new SavedMoments(root, this.client, (text, bad) => this.note.tell(text, bad));
    }, missing);
    this.details = new Later(async () => {
      const { FailureDetails } = await import("./failure_details.js");
      return new FailureDetails(root, this.client);
    }, missing);
    this.missing = missing;
    this.help = new Later(async () => {
      const { HelpSheet } = await import("./help_sheet.js");
      return new HelpSheet(part(root, "sheet", HTMLDialogElement), STUDIO_KEYS);
    }, missing);
    this.view = new StudioView(root, this);
    this.act = new TakeActions(root, this);
    this.#listen();
    this.view.draw();
    offerLogout(root, "").catch(() => {}); // without an answer there is nothing to offer
    this.#load();
  }

  #listen() {
    /** @type {Record<string, () => void>} */
    const clicks = {
      start: () => this.act.begin(),
      retry: () => this.act.begin(),
      new: () => this.act.begin(),
      why: () => this.#tellAll(this.prompt.textOrPlaying, this.client.outcome?.why ?? ""),
      last10: () => this.moments.use((saved) => saved.saveFilm()),
      gif10: () => this.moments.use((saved) => saved.saveGif()),
      leave: () => this.client.leaveLine(),
      stop: () => this.client.end(),
      end: () => this.client.end(),
      resume: () => this.client.send({ type: "resume" }),
      socket: () => this.client.connection?.fallBack().catch(() => {}), // a socket that closes is opened again
      continue: () => this.act.goOn(this.view.take),
      render: () => {
        this.panels.view("takes");
        this.takes.use((list) => list.render(this.view.take));
      },
      help: () => this.help.use((sheet) => sheet.toggle()),
      keep: () => {
        const { text, picture } = this.view.offerToSlot();
        if (text) this.note.tell(message("note.kept", { slot: this.slots.keepAnywhere(text, picture) }));
      },
    };
    for (const [name, act] of Object.entries(clicks)) part(this.root, name, HTMLButtonElement).onclick = act;
    obeyKeys(
      (key) => {
        const kept = /^[1-9]$/.test(key) && this.slots.textOf(Number(key));
        return kept ? () => this.act.say(kept, PLAIN) : actOf(this, key);
      },
      (slot) => {
        const { text, picture } = this.view.offerToSlot();
        if (text) this.slots.keep(slot, text, picture);
      },
    );
  }

  async #load() {
    await this.models.load((why) => show(this.stage.facts, message("stage.nomodels", { why }), true));
    // below what the model knows, which would move it
    offerControllers(part(this.root, "tune", HTMLElement), this, this.missing);
    this.#lookAtTakes();
    await this.client.resume().catch(() => {}); // the server has gone meanwhile; Start says so
  }

  /** @param {ModelFacts} model */
  #chose(model) {
    const known = model.understands;
    this.prompt.readBy(Object.keys(known).length ? model.name : "");
    this.tune.offer(model);
    this.inputs.offer(model, this.models.models);
    this.known = this.timeline.known = this.slots.known = known;
    this.takes.follow((list) => {
      list.known = known;
    });
    this.slots.draw();
    if (this.client.session && this.client.model && model.name !== this.client.model) {
      this.toast.show(
        message("model.next", { model: model.name, present: this.client.model }),
        message("model.next.now"),
        () => {
          this.client.end();
          this.act.begin();
        },
      );
    }
  }

  /**
   * Tell all that is known of a failure.
   *
   * @param {string} prompt
   * @param {string} why
   */
  #tellAll(prompt, why) {
    const status = this.client.session ? undefined : this.client.outcome?.status;
    const { take } = this.view;
    const model = this.client.model || this.models.name;
    this.details.use((details) => details.open({ why, prompt, model, take, status }));
  }

  async #lookAtTakes() {
    this.#listed(await ask("api/takes").catch(() => [])); // the server has gone meanwhile; Start says so
  }

  /** @param {TakeSummary[]} takes of the server */
  #listed(takes) {
    part(this.root, "takecount", HTMLElement).textContent = takes.length ? String(takes.length) : "";
    this.present.follow((present) => present.know(takes));
  }

  #opened() {
    this.waiting.flush();
    this.details.fetch();
    this.inputs.opened();
    // the server encodes the texts of the slots before they are played
    for (const text of this.slots.kept) this.client.send({ type: "prepare", text }, { quiet: true });
  }

  #otherTake() {
    this.view.name = "";
    this.present.use(() => this.#lookAtTakes());
  }

  #sessionChanged() {
    const { session } = this.client;
    this.timeline.goesOn = Boolean(session);
    if (!session) this.timeline.toCome = [];
    this.transport.draw();
    part(this.root, "end", HTMLButtonElement).hidden = !session;
    if (session) this.links.use((links) => links.draw());
    else this.links.follow((links) => links.draw());
    this.inputs.sessionChanged();
    if (!session) {
      part(this.root, "viewers", HTMLElement).hidden = true;
      this.loras.follow((sliders) => sliders.offer(null));
      if (!this.client.starting) {
        this.#lookAtTakes();
        this.waiting.clear();
        this.view.keepPicture();
      }
    }
    this.view.follow();
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    const waited = event.type === "refused" ? this.waiting.of(event.id) : undefined;
    this.waiting.heard(event);
    this.note.follow(event, (latent) => clock(this.timeline.seconds(latent), 1));
    switch (event.type) {
      case "hello":
        this.loras.use((sliders) => sliders.offer(event.loras));
        this.timeline.fps = event.fps;
        this.timeline.chunk = event.chunk;
        this.timeline.firstChunk = event.first_chunk;
        this.prompt.offerBlends((4 * event.chunk) / event.fps);
        break;
      case "timeline":
        this.loras.follow((sliders) => sliders.follow(event.cues));
        if (event.take !== this.view.take) this.#otherTake();
        this.view.take = event.take;
        part(this.root, "take", HTMLAnchorElement).href = `api/takes/${event.take}`;
        this.timeline.follow(event);
        if (event.to_come?.length) this.planned.use(() => {});
        this.inputs.follow(event.take, event.cues);
        this.scenes.drawList();
        break;
      case "status":
        this.view.heardStatus(event);
        this.inputs.heardStatus(event);
        this.act.tempo?.hear(event, this.timeline);
        this.present.made?.draw();
        break;
      case "refused":
        if (waited) this.note.refuse(waited, event.why);
        if (waited && !this.prompt.text) this.prompt.text = waited.text; // to mend it
        break;
      case "slot":
        this.act.say(this.slots.textOf(event.slot), PLAIN);
        break;
      case "recording":
        this.transport.drawRecord(event.on ? 0 : null);
        break;
    }
    this.view.follow();
  }
}

/**
 * Bring the studio's markup to life.
 *
 * @param {HTMLElement} root
 */
export function mount(root) {
  new Studio(root);
  root.inert = false; // until now a click would have done nothing
}
