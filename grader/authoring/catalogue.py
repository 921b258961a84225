"""The catalogue of an exercise: `solutions/<assignment>/<exercise>.md`, read into wrong and right answers.

In: a Markdown file of this form, and nothing else in it. Out: a `Catalogue`.

    # `MyLinear`: known answers

    ## Mistakes

    ### `weight.data` in `forward`

    - id: `weight_data`
    - fails: `gradients`
    - read: `custom_layers.html#custom-layers-weight-data`

    ```python
    class MyLinear(nn.Module):
        ...
    ```

    **What happens.** Two sentences, which the student is told.

    **Why.** How the mistake comes about.

    **What to do.** How to correct it.

    ## Right answers

    ### by_hand

    ```python
    class MyLinear(nn.Module):
        ...
    ```

Between the first heading and `## Mistakes` there may be text. No mark depends on a catalogue: it is there for the
messages, for the page of common mistakes, and for the tests of the grader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from markdown_it import MarkdownIt
from markdown_it.token import Token

from grader.errors import CatalogueError

MISTAKES, RIGHT_ANSWERS = "Mistakes", "Right answers"
FIELDS = ("id", "fails", "read")
MESSAGE, WHY, REMEDY = "What happens.", "Why.", "What to do."


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that is known.

    Attributes:
        id: short name, unique within the exercise.
        title: its heading in the catalogue and on the book's page of common mistakes, as Markdown.
        source: the wrong code, as a student would write it. It needs the imports of the notebook's first cell.
        fails: the checks (by id) that it must fail; it must pass all the others.
        message: what a student who makes it is told, as Markdown: two sentences, what happens and where to look.
        why: for the page: how it comes about.
        remedy: for the page: how to correct it.
        see: the section of the book that explains it: ``"custom_layers.html#custom-layers-weight-data"``.
    """

    id: str
    title: str
    source: str
    fails: frozenset[str]
    message: str
    why: str
    remedy: str
    see: str


@dataclass(frozen=True)
class Catalogue:
    """The answers to an exercise that its author knows.

    Attributes:
        mistakes: wrong answers, in the order of the file.
        right_answers: the sources of right answers besides the worked one, by name.
    """

    mistakes: tuple[Mistake, ...]
    right_answers: dict[str, str]


def read_catalogue(path: Path) -> Catalogue:
    """Read the catalogue of an exercise.

    Raises:
        CatalogueError: there is no such file, or it does not have the form above.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CatalogueError(
            f"there is no {path}; it holds the known answers to the exercise. `python -m grader new` makes an example"
        ) from None
    return _Reader(path, MarkdownIt("commonmark").parse(text)).catalogue()


class _Reader:
    """Goes through the blocks of a catalogue from top to bottom."""

    def __init__(self, path: Path, tokens: Sequence[Token]) -> None:
        self.path = path
        self._tokens = tokens
        self._next = 0
        self._line = 1
        self._entry = ""  # its heading, for error messages

    def catalogue(self) -> Catalogue:
        """The whole file."""
        self._heading("h1", "the title of the page, like: # `MyLinear`: known answers")
        while not self._is("heading_open", "h2"):
            if self._is_end() or self._is("heading_open"):
                self._fail(f"the heading `## {MISTAKES}` is missing here; add it")
            self._skip_block()
        self._section(MISTAKES)
        mistakes = tuple(self._mistakes())
        self._section(RIGHT_ANSWERS)
        right = dict(self._right_answers())
        if not self._is_end():
            self._fail(f"after the code of a right answer comes the next heading; remove {self._shown()}")
        return Catalogue(mistakes, right)

    def _section(self, name: str) -> None:
        what = f"the heading `## {name}`"
        if self._heading("h2", what) != name:
            self._fail(f"this heading must be `## {name}`")
        self._entry = ""

    def _mistakes(self) -> Iterator[Mistake]:
        known: set[str] = set()
        while self._is("heading_open", "h3"):
            title = self._entry = self._heading("h3", "a heading")
            fields = self._fields()
            (name,), (see,) = fields["id"], fields["read"]
            if name in known:
                self._fail(f"two mistakes have the id `{name}`; give one of them another id")
            known.add(name)
            source = self._code()
            message, why, remedy = (self._labelled(label) for label in (MESSAGE, WHY, REMEDY))
            yield Mistake(name, title, source, frozenset(fields["fails"]), message, why, remedy, see)

    def _right_answers(self) -> Iterator[tuple[str, str]]:
        known: set[str] = set()
        while self._is("heading_open", "h3"):
            name = self._entry = self._heading("h3", "a heading")
            if name in known:
                self._fail("two right answers have this heading; give one of them another one")
            known.add(name)
            yield name, self._code()

    # --- parts of an entry ------------------------------------------------------------------------------------------

    def _fields(self) -> dict[str, list[str]]:
        """The list below a mistake's heading."""
        example = "- id: `weight_data`"
        self._expect("bullet_list_open", f"the list with {', '.join(FIELDS)}, like: {example}")
        found: dict[str, list[str]] = {}
        while self._is("list_item_open"):
            self._expect("list_item_open", "a list item")
            self._expect("paragraph_open", f"a line like: {example}")
            children = self._expect("inline", f"a line like: {example}").children or []
            name = children[0].content.strip().removesuffix(":") if children[0].type == "text" else ""
            between = [child.content.strip(" ,") for child in children[1:] if child.type == "text"]
            values = [child.content for child in children if child.type == "code_inline"]
            if name not in FIELDS or name in found or not values or any(between):
                self._fail(f"a line of this list is one of {', '.join(FIELDS)}, each once, like: {example}")
            if name != "fails" and len(values) > 1:
                self._fail(f"`{name}` has one value, not {len(values)}")
            found[name] = values
            self._expect("paragraph_close", "one line")
            self._expect("list_item_close", "one line")
        self._expect("bullet_list_close", "a list")
        if missing := [name for name in FIELDS if name not in found]:
            self._fail(f"the list lacks {', '.join(missing)}; add a line like: - {missing[0]}: `…`")
        return found

    def _code(self) -> str:
        block = self._expect("fence", "the code, in a block that begins with ```python")
        if block.info != "python":
            self._fail("the code stands in a block that begins with ```python")
        return block.content

    def _labelled(self, label: str) -> str:
        """The text of the paragraph that begins with a label in bold."""
        what = f"a paragraph that begins with **{label}**"
        self._expect("paragraph_open", what)
        text = self._expect("inline", what).content
        start, _, rest = text.partition("** ")
        if start != f"**{label}" or not rest:
            self._fail(f"this must be {what}")
        self._expect("paragraph_close", what)
        return rest.replace("\n", " ")

    def _heading(self, level: str, what: str) -> str:
        if not self._is("heading_open", level):
            self._fail(f"here must be {what}, not {self._shown()}")
        self._expect("heading_open", what)
        text = self._expect("inline", what).content
        self._expect("heading_close", what)
        return text

    # --- tokens -----------------------------------------------------------------------------------------------------

    def _is_end(self) -> bool:
        return self._next == len(self._tokens)

    def _is(self, kind: str, tag: str = "") -> bool:
        token = None if self._is_end() else self._tokens[self._next]
        return token is not None and token.type == kind and (not tag or token.tag == tag)

    def _expect(self, kind: str, what: str) -> Token:
        if not self._is(kind):
            self._fail(f"here must be {what}, not {self._shown()}")
        token = self._tokens[self._next]
        self._next += 1
        if token.map:
            self._line = token.map[0] + 1
        return token

    def _skip_block(self) -> None:
        depth = 0
        while True:
            depth += self._tokens[self._next].nesting
            self._next += 1
            if not depth:
                return

    def _shown(self) -> str:
        """What stands at the place that is read next."""
        for token in self._tokens[self._next :]:
            if token.map:
                self._line = token.map[0] + 1
            if token.content:
                return repr(token.content.splitlines()[0][:60])
        return "the end of the file"

    def _fail(self, problem: str) -> NoReturn:
        entry = f" ({self._entry})" if self._entry else ""
        raise CatalogueError(f"{self.path}, line {self._line}{entry}: {problem}")
