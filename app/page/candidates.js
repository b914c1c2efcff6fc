// @ts-check
// Tells the server the ICE candidates that are found after the offer was sent (RFC 8840).

export class Candidates {
  /** @param {RTCPeerConnection} peer that has not gathered yet */
  constructor(peer) {
    /** @type {string[]} lines that wait */
    this.lines = [];
    this.address = "";
    this.etag = "";
    this.sending = false;
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.lines.push(`a=${candidate.candidate}`);
      this.#send();
    };
    peer.onicecandidateerror = ({ url, errorCode, errorText }) => {
      if (errorCode < 700) console.warn(`${url} refused: ${errorCode} ${errorText}`); // 701: it does not answer
    };
  }

  /**
   * Send what has been found and what is found from now on.
   *
   * @param {string} address of the connection on the server
   * @param {string} etag of its ICE session
   */
  sendTo(address, etag) {
    this.address = address;
    this.etag = etag;
    this.#send();
  }

  async #send() {
    if (!this.address || !this.lines.length || this.sending) return;
    this.sending = true;
    const body = this.lines.splice(0).join("\r\n") + "\r\n";
    const headers = { "content-type": "application/trickle-ice-sdpfrag", "if-match": this.etag };
    await fetch(this.address, { method: "PATCH", headers, body }).catch(() => {}); // the connection is made again
    this.sending = false;
    this.#send();
  }
}
