"""What the person who marks sees: pictures that are too large, characters that cannot be seen, code out of sight."""

import base64
import io
import struct
import zlib

import nbformat
import pytest
from PIL import Image

from grader.authoring.fill_in import fill_in
from grader.display import characters
from grader.display.pictures import MAX_NOTEBOOK_PIXELS, Pictures
from grader.errors import PictureError
from grader.grading.outputs import cell_outputs
from grader.submission.read import grade_id_of
from grader.submission.repair import repair
from grader.submission.sanitize import sanitize_cell
from tests import ROOT

NAME = "custom_layers"
HIDDEN = {
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}",
    "isolate": "\N{LEFT-TO-RIGHT ISOLATE}",
    "mark": "\N{RIGHT-TO-LEFT MARK}",
    "zero width": "\N{ZERO WIDTH SPACE}",
    "joiner": "\N{ZERO WIDTH JOINER}",
    "tag": "\N{TAG LATIN SMALL LETTER A}",
    "selector": "\N{VARIATION SELECTOR-16}",
    "selector 256": "\N{VARIATION SELECTOR-256}",
    "soft hyphen": "\N{SOFT HYPHEN}",
    "filler": "\N{HANGUL FILLER}",
    "braille": "\N{BRAILLE PATTERN BLANK}",
    "separator": "\N{LINE SEPARATOR}",
    "form feed": "\f",
    "nothing": "\0",
    "escape": "\x1b",
    "byte-order mark": "\ufeff",
}


def png(width, height, *chunks):
    """A PNG in which all pixels are the same, as small as it can be."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *(chunk(*each) for each in chunks), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )


def jpeg(width, height, **how):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG", **how)
    return file.getvalue()


def problem(mime, data, pictures=None):
    try:
        (pictures or Pictures()).add(mime, base64.b64encode(data).decode())
    except PictureError as error:
        return str(error)
    return None


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"optimize": True, "comment": b"\xff\xc0" * 50}])
def test_pictures_of_a_usual_size_are_shown(how):
    assert problem("image/png", png(1200, 900)) is None
    assert problem("image/jpeg", jpeg(1200, 900, **how)) is None
    assert "4,000 × 3,000 pixels" in problem("image/jpeg", jpeg(4000, 3000, **how))


def test_a_picture_that_is_much_larger_than_its_file_is_not_shown():
    bomb = png(16_000, 16_000)
    assert len(bomb) < 50_000
    assert "16,000 × 16,000 pixels" in problem("image/png", bomb)


def test_pictures_together_have_a_limit():
    pictures, picture = Pictures(), png(2000, 2000)
    said = [problem("image/png", picture, pictures) for _ in range(20)]
    shown = MAX_NOTEBOOK_PIXELS // 4_000_000
    assert said[:shown] == [None] * shown
    assert all("the pictures of the notebook" in each for each in said[shown:])


@pytest.mark.parametrize(
    ("mime", "data"),
    [
        ("image/png", b""),
        ("image/png", b"GIF89a" + bytes(100)),
        ("image/png", jpeg(10, 10)),
        ("image/png", png(10, 10, (b"acTL", struct.pack(">II", 1000, 0)))),
        ("image/png", png(10, 10)[:8] + png(10, 10)[33:]),
        ("image/jpeg", png(10, 10)),
        ("image/jpeg", b"\xff\xd8" + b"\xff" * 1000),
        ("image/jpeg", b"\xff\xd8" + b"\xff\xe0\x00\x00" * 1000),
        ("image/jpeg", b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10"),
    ],
    ids=range(9),
)
def test_what_is_no_picture_is_not_shown(mime, data):
    assert problem(mime, data)


def test_outputs_and_attachments_are_counted():
    bomb, small = (base64.b64encode(png(size, size)).decode() for size in (16_000, 10))
    answer = {"outputs": [{"output_type": "display_data", "data": {"image/png": each}} for each in (bomb, small)]}
    first, second = cell_outputs(answer, 1, Pictures())
    assert list(first.data) == ["text/plain"]
    assert "a picture is not shown: it has 16,000 × 16,000 pixels" in first.data["text/plain"]
    assert second.data == {"image/png": small}
    cell = nbformat.v4.new_markdown_cell("![](attachment:bomb.png) ![](attachment:a.png)")
    cell.attachments = {"bomb.png": {"image/png": bomb}, "a.png": {"image/png": [small]}}
    shown = sanitize_cell(cell, "added-1", Pictures())
    assert shown.attachments == {"a.png": {"image/png": small}}
    assert "The picture bomb.png is not shown: it has 16,000 × 16,000 pixels" in shown.source


@pytest.mark.parametrize("character", HIDDEN.values(), ids=HIDDEN)
def test_characters_that_cannot_be_seen_are_shown_as_numbers(character):
    number = f"⟨U+{ord(character):04X}⟩"
    for show in (characters.code, characters.text):
        assert show(f"a{character}b") == f"a{number}b"
        assert show(f"ж{character * 5}b").count(number) >= 3
    (remark,) = characters.remarks(f"a{character}b")
    assert "cannot be seen" in remark


@pytest.mark.parametrize(
    "text", ["größe 你好 🧱 e\u0301", "❤\ufe0f\u200d🔥", "نامه\u200cای", "👩\u200d💻", "a\tb\nc", "∀ε>0 ∃δ"]
)
def test_what_people_write_stays_as_it_is(text):
    assert characters.text(text) == text
    assert characters.code(text) == text


def test_colours_and_progress_bars_of_outputs_stay():
    text = "\x1b[31mred\x1b[0m\r50 %"
    (output,) = cell_outputs({"outputs": [{"output_type": "stream", "name": "stdout", "text": text}]}, 1, Pictures())
    assert output.text == text


def test_code_out_of_sight_is_brought_into_sight():
    source = "x = 1" + " " * 3000 + "; y = 2\n" + "\n \n" * 300 + "z = '" + "a" * 1000 + "b'\n" + "\t" * 500 + "# w"
    shown = characters.code(source)
    assert max(map(len, shown.splitlines())) < 350
    assert len(shown.splitlines()) < 15
    for part in ("x = 1⟨3,000 blanks⟩; y = 2", "⟨600 empty lines⟩", "⟨the line goes on⟩", "⟨500 blanks⟩# w"):
        assert part in shown
    assert list(characters.remarks(source)) == [
        "there is code below 600 empty lines",
        "line 1 goes on at column 3,006, behind 3,000 blanks",
    ]
    assert "line 1 has 1,000 characters" in next(characters.remarks("a" * 1000))
    assert "right to left" in next(characters.remarks("admin = 'א' # x"))


@pytest.mark.parametrize(
    "part", ["\u202e", "a\u200b", " ", "\n", " \n", "x" + " " * 79, "א", "\u200d", "ж\u200d\u200d"]
)
def test_it_takes_a_moment_and_little_room(part):
    """A cell of the largest size; 20 of them would be shown in a second or two."""
    source = (part * 200_000)[:200_000]
    assert len(characters.code(source)) < 250_000
    assert len(characters.text(source)) < 250_000
    assert len(list(characters.remarks(source))) <= 4


def test_what_is_written_in_ordinary_answers_is_shown_as_it_is():
    for path in [*(ROOT / "exercises").glob("*/*.ipynb"), *(ROOT / "solutions").glob("*/*.ipynb")]:
        for cell in nbformat.read(path, as_version=4).cells:
            assert characters.text(cell.source) == cell.source
            if cell.cell_type == "code":
                assert characters.code(cell.source) == cell.source
                assert not list(characters.remarks(cell.source))


def test_the_notes_say_in_which_cell(tmp_path):
    release = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    hidden = "class MyLinear:\n    pass  # \N{RIGHT-TO-LEFT OVERRIDE}"
    notebook = fill_in(release, {"my_linear": hidden})
    notebook.cells += [nbformat.v4.new_code_cell("x" + " " * 3000 + "y") for _ in range(10)]
    result = repair(release, notebook, defines={"my_linear": "MyLinear"})
    assert result.notes[0].startswith("In the cell 'my_linear', characters that cannot be seen")
    assert "In your cell 21, line 1 goes on at column 3,002" in result.notes[1]
    assert result.notes[-1] == "There are 6 more places like these."
    (cell,) = (cell for cell in result.notebook.cells if grade_id_of(cell) == "my_linear")
    assert cell.source == hidden  # this is what is run
