// @ts-check
// Holds the German texts of the pages that stand alone: while the server starts, and for the token.

export const MESSAGES = {
  "opening.title": "Longtake startet",
  "opening.loading": "lädt {what}",
  "opening.progress": "lädt",
  "opening.server": "den Server",
  "opening.page": "die Seite",
  "opening.model": "das Modell {name}",
  "opening.silent": "Der Server antwortet nicht; neuer Versuch.",
  "opening.seconds": "{n} s",
  "login.token": "Token",
  "login.open": "Öffnen",
  "login.logout": "Diesen Browser abmelden",
};
