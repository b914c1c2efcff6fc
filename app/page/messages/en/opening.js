// @ts-check
// Holds the English texts of the pages that stand alone: while the server starts, and for the token.

export const MESSAGES = {
  "opening.title": "Longtake is starting",
  "opening.loading": "loading {what}",
  "opening.progress": "loading",
  "opening.server": "the server",
  "opening.page": "the page",
  "opening.model": "the model {name}",
  "opening.silent": "The server does not answer; trying again.",
  "opening.seconds": "{n} s",
  "login.token": "token",
  "login.open": "Open",
  "login.logout": "Log this browser out",
};
