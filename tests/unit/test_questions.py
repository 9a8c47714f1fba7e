"""Questions of one's own, from a file."""

import pytest

import moa_helpers as moa

GOOD = [
    ("q.jsonl", '{"id": "a", "prompt": "Why?"}\n\n{"id": 2, "prompt": "Who,\\nthen?", "reference": "He."}\n'),
    ("q.csv", 'id,prompt,reference,notes\na,Why?, ,x\n2,"Who,\nthen?",He.,y\n'),
    ("q.csv", '\ufeffprompt,id,reference\nWhy?,a,\n"Who,\nthen?",2,He.\n'),
]
BAD = [
    ("q.txt", "Why?", "neither .jsonl nor .csv"),
    ("q.jsonl", '{"id": "a"}\n', "Question 1 in .* has no id or no prompt"),
    ("q.jsonl", '{"id": "a", "prompt": "1?"}\n"Why?"\n', "Question 2 in .* has no id or no prompt"),
    ("q.jsonl", "Why?\n", "Question 1 in .* cannot be read"),
    ("q.jsonl", '{"id": 1, "prompt": "1?"}\n\n{"id": 2, "prompt" "2?"}\n', "Question 2 in .* cannot be read"),
    ("q.csv", "id,prompt\na,1?\nb,What is 2, plus 2?\n", "Question 2 in .* comma outside of quotes"),
    ("q.csv", 'id,prompt\na,"1?\nb,2?\nc,3?\n', "Question 1 in .* cannot be read"),
    ("q.csv", "question\nWhy?\n", "Question 1 in .* has no id or no prompt. It has: question"),
    ("q.csv", "id;prompt\na;Why?\n", "It has: id;prompt"),
    ("q.csv", "id,prompt\na,1?\na,2?\n", "'a' is there twice"),
]


def test_read_questions(tmp_path):
    for name, content in GOOD:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        wanted = [moa.Question("a", "Why?"), moa.Question("2", "Who,\nthen?", "He.")]
        assert moa.read_questions(path) == wanted, content


def test_questions_that_cannot_be_read(tmp_path):
    for name, content, words in BAD:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            moa.read_questions(path)
