"""Read YAML as take files use it, without surprising conversions, and with the line of every value.

YAML 1.1 turns `no` into false, `010` into 8 and `1:30` into 90, keeps the last of two equal keys, and builds Python
objects from tags. Here a value is a text where a text is wanted, numbers are decimal, times keep their colons, equal
keys and foreign tags are refused, and the number of values that aliases add is limited.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

import yaml

from streaming.take.text_file import LINE_END, TakeError

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]

MOST_COPIES = 5_000  # values that aliases may add to those that are written
MOST_DEPTH = 20
_PLAIN, _TEXT, _MERGE = "plain", "tag:yaml.org,2002:str", "<<"
_TRUE, _FALSE, _NOTHING = ("true", "yes", "on"), ("false", "no", "off"), ("", "~", "null")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FRACTION = re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", re.ASCII)
_OTHER_NUMBER = re.compile(r"[-+]?0([xX][0-9a-fA-F_]+|[oO]?[0-9_]+|[bB][01_]+)|[-+]?[0-9][0-9_]*_[0-9_]*", re.ASCII)


def needs_quotes(text: str) -> bool:
    """Return whether a text without quotes would be read as another value or refused, such as 12e3, 010 and tRue."""
    return text.lower() in (*_TRUE, *_FALSE, *_NOTHING) or any(
        form.fullmatch(text) for form in (_NUMBER, _FRACTION, _OTHER_NUMBER)
    )


class _Loader(yaml.SafeLoader):
    """Compose nodes; a scalar without quotes or a tag is tagged `plain`."""

    def resolve(self, kind: type, value: str | None, implicit: object) -> str:
        """Return the tag of a node that has none."""
        if kind is yaml.ScalarNode:
            return _PLAIN if isinstance(implicit, tuple) and implicit[0] else _TEXT
        return str(super().resolve(kind, value, implicit))


class YamlText:
    """Hold the values of a YAML text, and their lines."""

    def __init__(self, text: str, name: str, texts: Collection[str] = ()) -> None:
        """Read the one document of a text; TakeError with file and line for anything that is not plain data.

        The values of keys in `texts`, nested ones too, are texts exactly as written, even if they look like numbers.
        """
        self._name, self._texts = name, texts
        self._copies, self._seen = 0, set[int]()
        # YAML 1.1 breaks lines at these characters; YAML 1.2 and editors do not
        unused = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
        separators: dict[int, str | int | None] = dict(zip((0x85, 0x2028, 0x2029), unused, strict=False))
        self._restored = {ord(str(stand_in)): separator for separator, stand_in in separators.items()}
        self._root = self._composed(text.translate(separators))
        self.data: Data = None if self._root is None else self._value(self._root, (), text=False)

    def line(self, path: Sequence[object]) -> int:
        """Return the line, from 1, of the value at a path of keys and indexes, or of the nearest value around it."""
        node, line = self._root, 1
        for part in path:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == part), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    def _composed(self, text: str) -> yaml.Node | None:
        try:
            documents = [node for node in yaml.compose_all(text, Loader=_Loader) if not _empty(node)]
        except yaml.reader.ReaderError as e:
            line = len(LINE_END.split(text[: e.position]))
            what = f"the character U+{ord(text[e.position]):04X}, which YAML does not allow"
            raise self._wrong(line, f"{what}; remove it") from e
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            where = f"{self._name}:{mark.line + 1}" if mark else self._name
            raise TakeError(f"{where}: not valid YAML ({_problem(e)})") from e
        except (yaml.YAMLError, ValueError, OverflowError) as e:
            raise TakeError(f"{self._name}: not valid YAML ({str(e).splitlines()[0][:120]})") from e
        except RecursionError as e:
            raise TakeError(f"{self._name}: not valid YAML (values are nested too deeply)") from e
        if len(documents) > 1:
            line = documents[1].start_mark.line + 1
            raise self._wrong(line, f"a second document begins; a file holds one take, this one {len(documents)}")
        return documents[0] if documents else None

    def _value(self, node: yaml.Node, around: tuple[yaml.Node, ...], *, text: bool) -> Data:
        line = node.start_mark.line + 1
        if node in around:
            raise self._wrong(line, "an alias stands inside what it stands for")
        if len(around) > MOST_DEPTH:
            raise self._wrong(line, f"values are nested more than {MOST_DEPTH} deep")
        self._copies += id(node) in self._seen
        self._seen.add(id(node))
        if self._copies > MOST_COPIES:
            raise self._wrong(line, f"aliases repeat more than {MOST_COPIES} values; write them out, or fewer")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line, text=text)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self._tagged(node, line)
        around = (*around, node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, around, text=text) for item in node.value]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, around, text=text)

    def _mapping(self, node: yaml.MappingNode, around: tuple[yaml.Node, ...], *, text: bool) -> dict[str, Data]:
        merged: dict[str, Data] = {}
        own: dict[str, Data] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in (_PLAIN, _TEXT):
                raise self._wrong(line, "a key is one word, not a value of several parts or with a tag")
            key = str(key_node.value)
            if key == _MERGE and key_node.tag == _PLAIN:
                value = self._value(value_node, around, text=text)
                for part in value if isinstance(value, list) else [value]:
                    if not isinstance(part, dict):
                        raise self._wrong(line, "<<: merges mappings, such as an alias of one")
                    merged = part | merged  # of equal keys the first counts
                continue
            if key in lines:
                raise self._wrong(line, f"{key}: stands twice, on line {lines[key]} as well; leave one of them out")
            lines[key] = line
            own[key] = self._value(value_node, around, text=text or key in self._texts)
        return merged | own

    def _scalar(self, node: yaml.ScalarNode, line: int, *, text: bool) -> Data:
        written = str(node.value)
        if node.tag == _TEXT:
            return self._joined(written, line)
        if node.tag != _PLAIN:
            raise self._tagged(node, line)
        lower = written.lower()
        if lower in _NOTHING:
            if text:
                word = written or "nothing"
                raise self._wrong(line, f"{word} stands where a text is wanted; write it in quotes, or leave it out")
            return None
        if text:
            return self._joined(written, line)
        if lower in (*_TRUE, *_FALSE):
            return lower in _TRUE
        if _NUMBER.fullmatch(written):
            if len(written) > 30:
                raise self._wrong(line, f"a number of {len(written)} digits is too large")
            return int(written)
        if _OTHER_NUMBER.fullmatch(written):
            raise self._wrong(
                line, f"{written[:40]} may be decimal or not; write the decimal number, without zeros before"
            )
        if _FRACTION.fullmatch(written):
            return float(written)
        return self._joined(written, line)

    def _joined(self, text: str, line: int) -> str:
        r"""Return a text with surrogate pairs, as in "\ud83d\ude00" of JSON, joined to characters."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16").translate(self._restored)
        except UnicodeDecodeError:
            raise self._wrong(line, "half a character stands alone (a surrogate, as in \\ud83d)") from None

    def _tagged(self, node: yaml.Node, line: int) -> TakeError:
        tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
        return self._wrong(line, f"the tag {tag[:60]} has no meaning in a take; leave it out")

    def _wrong(self, line: int, what: str) -> TakeError:
        return TakeError(f"{self._name}:{line}: {what}")


def nearest(word: str, known: Collection[str]) -> str:
    """Return a hint with the known word that is spelled most like `word`, or with all of them."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN and not node.value


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = (error.problem or str(error)).splitlines()[0][:120]
    return "a tab indents; YAML wants spaces" if "'\\t'" in problem else problem
