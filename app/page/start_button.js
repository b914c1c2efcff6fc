// @ts-check
// Runs the button that begins a session, leaves the line, or ends the session.

/** @import { SessionClient } from "./session_client.js" */

export class StartButton {
  /**
   * @param {HTMLButtonElement} button
   * @param {SessionClient} client
   * @param {() => void} begin begins a session
   */
  constructor(button, client, begin) {
    this.button = button;
    this.client = client;
    button.onclick = () => {
      if (client.session) client.end();
      else if (client.leaveLine()) client.on.told("left the line");
      else begin();
    };
  }

  /** Label the button with what a click does now. */
  draw() {
    const { session, line } = this.client;
    this.button.textContent = session ? "End" : line.waiting ? "Cancel" : "Start";
  }
}
