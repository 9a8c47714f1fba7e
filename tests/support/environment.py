"""A clean environment: the developer's keys, addresses and proxies are none of the tests' business."""

import os

OURS = (
    "MOA_",
    "OPENAI_",
    "ANTHROPIC_",
    "MISTRAL_",
    "TOGETHER_",
    "GROQ_",
    "OPENROUTER_",
    "CEREBRAS_",
    "VLLM_",
    "OLLAMA_",
    "LOCAL_",
    "LLAMA_",
    "LM_STUDIO_",
    "JAN_",
    "MODEL_PROXY_",
)
REAL = os.environ.get("LOCAL_BASE_URL", "")  # where `make real` has a model; tests/real asks it, and nobody else
KEPT = ("MOA_BROWSER", "MOA_CHROMIUM")  # they steer the browser tests


def clean():
    """Take away what steers the package, and have it run offline and fast."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or (name.upper().startswith(OURS) and not name.upper().startswith(KEPT)):
            del os.environ[name]
    os.environ |= {"MOA_MODE": "offline", "MOA_OFFLINE_SPEED": "20", "OLLAMA_HOST": "127.0.0.1:9"}
