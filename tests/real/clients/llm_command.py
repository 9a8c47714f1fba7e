"""The ``llm`` command line, told of the server by its file of further OpenAI-compatible models."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from asked import BRIEF, SEASONS, SKY, URL, left, refused, tell

COMMAND = [str(Path(sys.executable).with_name("llm"))]
MODELS = "".join(
    f"- model_id: {name}\n  model_name: {name}\n  api_base: {URL}/v1\n"
    for name in ("panel", "broken", "nothing", "silent")
)


def llm(*arguments, code=0):
    """What the command writes; where it fails, the error."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


with tempfile.TemporaryDirectory() as folder:
    os.environ |= {"LLM_USER_PATH": folder, "OPENAI_API_KEY": "any"}
    Path(folder, "extra-openai-models.yaml").write_text(MODELS, encoding="utf-8")
    tell("whole", llm("-m", "panel", "--no-stream", SKY))
    tell("system", llm("-m", "panel", "-s", BRIEF, SKY))
    llm("-m", "panel", SEASONS)
    tell("conversation", llm("-c", SKY))
    for case, model in (("unknown", "nothing"), ("all fail", "broken")):
        refused(case, llm("-m", model, SKY, code=1))
    with subprocess.Popen([*COMMAND, "-m", "silent", SKY], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1)
        process.terminate()
    left("hang-up")
