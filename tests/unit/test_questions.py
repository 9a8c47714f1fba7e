"""Questions of one's own, from a file."""

import json

import pytest

import moa_helpers as moa

GOOD = [
    ("q.jsonl", '{"id": "a", "prompt": "Why?"}\n\n{"id": 2, "prompt": "Who,\\nthen?", "reference": "He."}\n'),
    ("q.csv", 'id,prompt,reference,notes\na,Why?, ,x\n2,"Who,\nthen?",He.,y\n'),
    ("q.csv", '\ufeffprompt,id,reference\nWhy?,a,\n"Who,\nthen?",2,He.\n'),
]
# What spreadsheets and hurried hands write; all hold the same two questions.
TABLE = 'id,prompt,reference\na,"Why; so?",\n2,"Who,\nthen?",Zoë.\n'
SEMICOLONS = 'id;prompt;reference\na;"Why; so?";\n2;"Who,\nthen?";Zoë.\n'
FROM_SPREADSHEETS = [
    ("q.CSV", TABLE.encode()),
    ("q.csv", TABLE.replace(',"', ', "').encode()),  # a space before a quote
    ("q.csv", SEMICOLONS.encode("utf-8-sig")),
    ("q.csv", ("sep=;\n" + SEMICOLONS).replace("\n", "\r\n").replace("Who,\r", "Who,").encode("utf-8-sig")),
    ("q.csv", SEMICOLONS.replace("Zoë", "Zo\xeb").encode("cp1252")),
    ("q.csv", SEMICOLONS.replace(";", "\t").replace("Why\t", "Why;").encode("utf-16")),
    (
        "q.tsv",
        TABLE.replace(',"', '\t"').replace('",', '"\t').replace("id,prompt,", "id\tprompt\t").encode("utf-16-le"),
    ),
    ("q.csv", TABLE.replace("id,prompt,reference", " ID , Prompt,REFERENCE ,").encode("utf-16-be")),
    ("q.csv", ("\n\n" + TABLE + " , ,\n,,,,\n\n  \n").encode()),
    (
        "Q.JSONL",
        '\ufeff{"id": "a", "prompt": "Why; so?"}\r\n \r\n'
        '{"id": 2, "prompt": "Who,\\nthen?", "reference": "Zoë."}'.encode(),
    ),
]
BAD = [
    ("q.txt", "Why?", "no file of questions"),
    ("q.jsonl", '{"id": "a"}\n', "Question 1 in .* has no id or no prompt"),
    ("q.jsonl", '{"id": "a", "prompt": "1?"}\n"Why?"\n', "Question 2 in .* has no id or no prompt"),
    ("q.jsonl", "Why?\n", "Question 1 in .* cannot be read"),
    ("q.jsonl", '{"id": 1, "prompt": "1?"}\n\n{"id": 2, "prompt" "2?"}\n', "Question 2 in .* cannot be read"),
    ("q.csv", "id,prompt\na,1?\nb,What is 2, plus 2?\n", "Question 2 in .* comma outside of quotes"),
    ("q.csv", 'id,prompt\na,"1?\nb,2?\nc,3?\n', "Question 1 in .* cannot be read"),
    ("q.csv", "question\nWhy?\n", "Question 1 in .* has no id or no prompt. It has: question"),
    ("q.csv", "id|prompt\na|Why?\n", r"It has: id\|prompt"),
    ("q.csv", "# mine\nid,prompt\na,Why?\n", r"It has: # mine\.$"),
    ("q.csv", "id,prompt\n  ,Why?\n", "Question 1 in .* has no id or no prompt"),
    ("q.csv", "id,prompt\na,1?\n a ,2?\n", "'a' appears twice"),
    ("q.csv", "id;prompt\na;Why?;how?\n", "Question 1 in .* too many cells"),
    ("q.csv", "id,prompt\na,1?\na,2?\n", "'a' appears twice"),
]


def test_read_questions(tmp_path):
    for name, content in GOOD:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        wanted = [moa.Question("a", "Why?"), moa.Question("2", "Who,\nthen?", "He.")]
        assert moa.read_questions(path) == wanted, content


def test_questions_from_spreadsheets(tmp_path):
    for name, written in FROM_SPREADSHEETS:
        path = tmp_path / name
        path.write_bytes(written)
        wanted = [moa.Question("a", "Why; so?"), moa.Question("2", "Who,\nthen?", "Zoë.")]
        assert moa.read_questions(path) == wanted, written


def test_a_text_in_no_known_letters_is_refused(tmp_path):
    (tmp_path / "q.csv").write_bytes(b"id,prompt\na,Why \x81?\n")
    with pytest.raises(ValueError, match="save it as UTF-8"):
        moa.read_questions(tmp_path / "q.csv")


def test_questions_that_cannot_be_read(tmp_path):
    for name, content, words in BAD:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            moa.read_questions(path)


def test_a_cell_of_a_megabyte(tmp_path):
    (tmp_path / "long.csv").write_text(f'id,prompt\na,"{"Why? " * 200_000}"\n')
    (question,) = moa.read_questions(tmp_path / "long.csv")
    assert len(question.prompt) == 1_000_000


def test_a_conversation_in_json_lines(tmp_path):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    (tmp_path / "said.jsonl").write_text(json.dumps({"id": "a", "prompt": said}) + "\n")
    assert moa.read_questions(tmp_path / "said.jsonl") == [moa.Question("a", said)]
    for none in ([], {}, 7, None, " "):
        (tmp_path / "said.jsonl").write_text(json.dumps({"id": "a", "prompt": none}) + "\n")
        with pytest.raises(ValueError, match=r"Question 1 .* no prompt"):
            moa.read_questions(tmp_path / "said.jsonl")
