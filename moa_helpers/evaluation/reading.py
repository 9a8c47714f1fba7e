"""Read the final answer in a text, and the number in it: through Markdown, LaTeX and thoughts before it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from unicodedata import normalize

from moa_helpers.steps.ranking import spoken

READ = 10_000  # characters at the end of an answer
_SAID = re.compile(  # "the answer is", "**Answer:**", {"answer": …}, a heading, <answer>, ####
    r"(?im)(?:\b(?:answer|correct (?:option|choice|letter))\b(?:\s*\([^()\n]{0,40}\))?"
    r"[\"'*_\s]*(?::|=|(?:is|was|would be)\b(?!\s+not\b))|^[#*_ ]*(?:final )?answer[*_ ]*$|<answer>|^\s*####)"
    r"[\"'*_:\s]*"
)
_NUMBER = re.compile(
    r"""
    (?<![^\W_])(?<![^\W\d_]-)(?<!\^)(?<!\^-)  # not within a word, as in H2O or GPT-4, and no exponent, as in m^2
    (?P<sign>(?<![\w)])[-+])?
    (?: (?P<mixed>\d+)\ (?=\d+/\d+(?![\d/])) )?
    (?P<digits>
        (?P<english>(?!0)\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?(?!\d|,\d))           # 1,234,567.8 and 12,34,567
      | (?P<german>\d{1,3}(?:(?:\.\d{3}){2,}(?:,\d+)?|(?:\.\d{3})+,\d+)(?!\d))    # 1.234.567 and 1.234,5
      | \d{1,3}(?:['’_ ]\d{3})+(?:[.,]\d+)?(?!\d)                                  # 1 234 567,8
      | (?<!\d,)\d+,\d+(?![\d,]) | \d+(?:\.\d+)? | (?<!\d)\.\d+                   # 3,14 and 3.14
    )
    (?P<e>[eE][-+]?\d{1,3}(?!\w))?
    (?:\s?[×x*·]\s?10\^\(?(?P<ten>[-+]?\d{1,3})\)?|\^\(?(?P<power>[-+]?\d{1,3})\)?)?
    (?:\s?/\s?(?P<below>\d+(?:\.\d+)?)(?!\s?/))?
    (?:\s?(?P<percent>%|percent\b|per\ cent\b)|\s(?P<scale>thousand|million|billion|trillion)\b)?
    """,
    re.VERBOSE,
)
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_REWRITTEN = (  # several spellings, and the one to read
    (r"[⁰¹²³⁴-⁹⁺⁻]+", lambda found: "^" + normalize("NFKC", found[0])),
    (r"(?<=\d)(?=[¼-¾⅐-⅞])", " "),
    (r"[−–‑]", "-"),
    (r"(?<=\d)\s*(?=\\[dtc]?frac)", " "),
    (r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2"),
    (r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\(?:times|cdot)\b\s*", "× "),
    (r"\{,\}", ","),
    (r"\\[,;: ]|~", " "),
    (r"\\[!()\[\]]|\\(?:left|right)\b|\*\*", ""),
    (r"\\(?=[%$])", ""),
    (r"\^\{([^{}]*)\}", r"^\1"),
    (r"(?i)\bminus (?=\d)", "-"),
    (r"(?<=[-+])\s?[$€£¥₹]\s?(?=\.?\d)", ""),
    (r"[$€£¥₹]", " "),
)


@dataclass(frozen=True)
class Number:
    """A number, whether it is a percentage, and how it was written."""

    value: float
    percent: bool
    text: str


def final(answer: str) -> str | None:
    r"""A text's final answer: the last ``\boxed{}``, or the text after the last "answer:"; None if it has neither."""
    text = spoken(answer)[-READ:]
    start, depth = text.rfind("\\boxed{") + len("\\boxed{"), 1
    for place in range(start, len(text)) if "\\boxed{" in text else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    *_, last = [None, *_SAID.finditer(text)]
    return re.split(r"[.!?](?:[*_\s]|$)|\n|</", text[last.end() :])[0] if last else None


def number(answer: str) -> Number | None:
    """The number in a text's final answer, or else the last number of all."""
    if (said := final(answer)) is not None:
        result = re.sub(r"\A(?:[^\W\d]\b|\W|\d)*[=≈]", "", plain(said))  # of a sum
        if numbers := [*_numbers(result)]:
            return numbers[0]
    *_, last = [None, *_numbers(spoken(answer)[-READ:])]
    return last


def plain(text: str) -> str:
    """A text with one spelling for what LaTeX and Unicode can write in several ways."""
    for written, instead in _REWRITTEN:
        text = re.sub(written, instead, text)
    return normalize("NFKC", text).replace("⁄", "/")


def bare(text: str) -> str:
    """A text without markup, marks at its ends, case and repeated spaces."""
    text = re.sub(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", normalize("NFKC", text))
    return re.sub(r"[*`$\"“”]|\\[(),]", "", " ".join(text.casefold().split())).strip(" .,;:!?(){}[]'’")


def _numbers(text: str) -> Iterator[Number]:
    for found in _NUMBER.finditer(plain(text)):
        between = "," if found["english"] else "." if found["german"] else ""
        digits = re.sub(rf"['’_ {between}]", "", found["digits"]).replace(",", ".")
        try:
            value = float(digits + (found["e"] or "")) * 10.0 ** int(found["ten"] or 0)
            value = value ** int(found["power"] or 1) / float(found["below"] or 1) + int(found["mixed"] or 0)
        except (OverflowError, ValueError, ZeroDivisionError):
            continue
        value *= _SCALES.get(found["scale"], 1.0) * (-1 if found["sign"] == "-" else 1)
        if math.isfinite(value):
            yield Number(value, bool(found["percent"]), found[0])
