import re
from pathlib import Path

from gallery import table

PAGE = Path(__file__).parents[4] / "docs/why.md"
PLACE = re.compile(r"(?<=gallery.py -->\n).*(?=<!-- end of faults)", re.DOTALL)


def test_the_docs_have_the_table_of_what_the_tests_require(update_golden: bool) -> None:
    made = "".join(f"{line}\n" for line in table())
    text = PAGE.read_text()
    if update_golden:
        PAGE.write_text(PLACE.sub(lambda _: made, text))
    assert PLACE.findall(PAGE.read_text()) == [made]
