"""Check the catalogs of messages: the languages agree, no text stands outside of them, and none is left over."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "app" / "page"
MESSAGES = PAGE / "messages"
PARTS = ("common", "studio", "studio_later", "avatar", "opening")
LANGUAGES = sorted(folder.name for folder in MESSAGES.iterdir())
SCRIPTS = sorted(PAGE.glob("*.js"))
MARKUP = ("studio.html", "avatar.html", "watch.html", "login.html", "opening.html")
STANDING = {"login": "opening", "opening": "opening"}  # pages that stand alone -> their catalog
ATTRIBUTES = {"aria-label": "data-lt-label", "title": "data-lt-title", "placeholder": "data-lt-placeholder"}
ATTRIBUTES["alt"] = "data-lt-alt"
TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""", re.DOTALL)
WORDS = re.compile(r"[A-Za-z]{2,}[,;:.]? [A-Za-z]{2,}")
SHOWN = re.compile(r"\b(textContent|title|ariaLabel|ariaValueText|placeholder|alt|badge|label)\s*[:=]\s*$")
NAMES = {"aria-label", "title", "placeholder", "alt"}  # of attributes, in messages.js
# what comes before a text that no person reads
CODE = re.compile(r"(class(Name|List)\b.*|[cC]loset\(|closest\(|matches\(|querySelector(All)?\(|console\.warn\(.*)$")
# texts of several words that no person reads, or that are said to the model, which reads English
NO_MESSAGES = re.compile(
    r"a an the of in |a large [a-z]+ |the page has no \$|[a-z]+:not\(|longtake set list$|midi \$|pad \$"
    r"|\[role=|button, |a\[href\]|input:|type=|\(prefers-|popup,|\[data-|asked to$|cut off$"
)


def catalog(language: str, part: str) -> dict[str, str | dict[str, str]]:
    """Read one catalog: key -> message, or the forms of its plural."""
    text = (MESSAGES / language / f"{part}.js").read_text(encoding="utf-8")
    table = text[text.index("export const MESSAGES = {") + len("export const MESSAGES = ") : text.rindex("}") + 1]
    table = re.sub(r"(?<=[{,\s])(one|other):", r'"\1":', table)
    return json.loads(re.sub(r",(\s*})", r"\1", table))


def english(*parts: str) -> dict[str, str | dict[str, str]]:
    return {key: text for part in parts for key, text in catalog("en", part).items()}


def placeholders(message: str | dict[str, str]) -> set[frozenset[str]]:
    """Return the names in braces of each form of a message."""
    forms = [message] if isinstance(message, str) else list(message.values())
    return {frozenset(re.findall(r"\{(\w+)\}", form)) for form in forms}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_a_language_has_the_keys_placeholders_and_plurals_of_english(language: str, part: str) -> None:
    ours, theirs = catalog("en", part), catalog(language, part)
    assert theirs.keys() == ours.keys()
    for key, message in ours.items():
        assert placeholders(theirs[key]) == placeholders(message), key
        assert isinstance(theirs[key], dict) == isinstance(message, dict), key
        assert all(form.strip() for form in ([message] if isinstance(message, str) else message.values())), key


class Texts(HTMLParser):
    """Collects the texts and attributes of a page that a person reads, and what names them in the catalog."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str | None] = []
        self.found: list[tuple[str, str | None]] = []  # text and key; None: it has none
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [(given[name] or "", given.get(key)) for name, key in ATTRIBUTES.items() if name in given]
        if tag not in ("input", "img", "meta", "link", "br", "path"):
            self.open.append(given.get("data-lt-text"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [(given[name] or "", given.get(key)) for name, key in ATTRIBUTES.items() if name in given]

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        in_code = self.cdata_elem is not None  # a style or a script
        if re.search("[A-Za-z]", text) and text != "Longtake" and not in_code:
            self.found.append((text, self.open[-1]))


@pytest.mark.parametrize("name", MARKUP)
def test_every_text_of_the_markup_is_the_english_message_of_its_key(name: str) -> None:
    page = name.removesuffix(".html")
    part = STANDING.get(page, page)
    known = english("common", *([part] if part in PARTS else []))
    texts = Texts()
    texts.feed((PAGE / name).read_text(encoding="utf-8"))
    assert len(texts.found) > 2
    for text, key in texts.found:
        assert key is not None, f"{text!r} has no key: {name}"
        assert known.get(key) == text, f"{key} of {name}"


def literals(script: str) -> list[tuple[str, str]]:
    """Return the string literals of a script, each with the code before it on its line or in its call."""
    found = []
    for token in TOKEN.finditer(script):
        text = token.group()
        if text.startswith("/"):
            continue
        before = TOKEN.sub("", script[max(0, token.start() - 80) : token.start()])
        found.append((re.sub(r"\$\{[^}]*\}", "$", text[1:-1]), before))
    return found


def is_shown(text: str, before: str) -> bool:
    """Tell whether a person may read a literal."""
    if text in NAMES or NO_MESSAGES.match(text) or CODE.search(before):
        return False
    return bool(WORDS.search(text) or (SHOWN.search(before) and re.search("[A-Za-z]{2,}", text)))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_holds_no_text_that_a_person_reads(script: Path) -> None:
    found = [text for text, before in literals(script.read_text(encoding="utf-8")) if is_shown(text, before)]
    assert not found, "put these into messages/ and write them by message(): see messages.js"


def scripts_of(name: str) -> dict[str, str]:
    """Return the scripts that are loaded with one of them, with their code."""
    found: dict[str, str] = {}
    coming = [name]
    while coming:
        script = coming.pop()
        found[script] = (PAGE / script).read_text(encoding="utf-8")
        imported = re.findall(r'^import\s[^;]*?"\./(\w+\.js)";', found[script], re.MULTILINE)
        coming += [other for other in imported if other not in found]
    return found


def test_the_studio_asks_for_no_text_before_its_catalog_is_loaded() -> None:
    later = catalog("en", "studio_later").keys()
    named = {"studio_keys.js"}  # it names keys for the help sheet, which is loaded later
    found = {
        script: [text for text, _ in literals(code) if text in later]
        for script, code in scripts_of("studio.js").items()
        if script not in named
    }
    assert len(found) > 30
    assert {script: keys for script, keys in found.items() if keys} == {}


def test_every_key_that_is_asked_for_is_there_and_every_message_is_asked_for() -> None:
    known = english(*PARTS)
    asked = {key for name in MARKUP for key in re.findall(r'data-lt-\w+="([\w.]+)"', (PAGE / name).read_text())}
    asked |= {key for name in STANDING for key in re.findall(r'"(opening\.\w+)"', (PAGE / f"{name}.html").read_text())}
    patterns = set()
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8")
        for text, before in literals(code):
            if re.fullmatch(r"[a-z]\w*(\.[\w$-]+)+", text) and text in known:
                asked.add(text)
            elif re.search(r"message\(\s*$", before):
                patterns.add(re.escape(text).replace(r"\$", r"[\w-]+"))
            elif re.search(r"named\(\s*$|REFUSALS = $", before):
                patterns.add(re.escape(text).replace(r"\$", r"[\w-]+") + r"\..+")
    matched = {key for key in known for pattern in patterns if re.fullmatch(pattern, key)}
    assert not [p for p in patterns if not any(re.fullmatch(p, key) for key in known)]
    assert sorted(known.keys() - asked - matched) == []
    assert sorted(asked - known.keys()) == []
