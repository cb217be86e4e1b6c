"""Speed of llama.cpp, measured as `lockstep bench` measures ours, by the parts of its `--only` and with its keys: the best of
three, one JSON line for each number of threads.

usage: llama.py FILE.gguf THREADS,... PART,...
"""

import ctypes
import json
import sys
import time

import llama_cpp as llama
import numpy as np

RUNS = 3
EIGHT = 8
STORY = [6403, 1980, 253, 655]  # "Once upon a time"


@llama.llama_log_callback
def quiet(level, text, data):
    pass


class Context:
    def __init__(self, model, threads):
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 4096, 512, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(model, params)
        self.memory = llama.llama_get_memory(self.context)
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

        self.model, self.params = model, params

    def close(self):
        llama.llama_free(self.context)

    def read(self, ids):
        """Reads tokens, and is done when the logits of the last one are there."""
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            array = (llama.llama_token * len(part))(*part)  # the batch only points to it
            if llama.llama_decode(self.context, llama.llama_batch_get_one(array, len(part))) != 0:
                raise SystemExit(f"llama.cpp could not read {len(part)} tokens")
        llama.llama_synchronize(self.context)

    def forget(self, start):
        llama.llama_memory_seq_rm(self.memory, 0, start, -1)

    def choice(self):
        return int(np.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, -1), shape=(self.vocab,)).argmax())

    def prefill(self, count):
        def run():
            self.forget(0)
            return lambda: self.read(ids(count))

        return count / best(run)

    def decode(self, prompt, count):
        """Greedy tokens after a prompt, which is read once."""
        self.forget(0)
        self.read(prompt)
        first = self.choice()

        def run():
            self.forget(len(prompt))

            def tokens():
                token = first
                for _ in range(count):
                    self.read([token])
                    token = self.choice()

            return tokens

        return count / best(run)


    def decode_eight(self, count):
        """Greedy tokens of eight texts that advance together, in a context of their own, all counted."""
        params = self.params
        params.n_ctx, params.n_seq_max = 256 * EIGHT, EIGHT
        context = llama.llama_init_from_model(self.model, params)
        memory = llama.llama_get_memory(context)
        batch = llama.llama_batch_init(EIGHT * len(STORY), 0, 1)

        def choices(rows):
            """The choices after those of the rows (token, position, text, whether it is a text's last) that are a text's last."""
            batch.n_tokens = len(rows)
            for i, (token, position, text, last) in enumerate(rows):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, last
                batch.seq_id[i][0] = text
            if llama.llama_decode(context, batch) != 0:
                raise SystemExit(f"llama.cpp could not read {len(rows)} tokens of {EIGHT} texts")
            wanted = [i for i, (*_, last) in enumerate(rows) if last]
            logits = (np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), shape=(self.vocab,)) for i in wanted)
            return [int(row.argmax()) for row in logits]

        end = len(STORY) - 1
        prompts = [(token, at, text, at == end) for text in range(EIGHT) for at, token in enumerate(STORY)]

        def run():
            llama.llama_memory_clear(memory, True)
            first = choices(prompts)

            def tokens():
                chosen = first
                for step in range(count):
                    chosen = choices([(token, end + 1 + step, text, True) for text, token in enumerate(chosen)])

            return tokens

        speed = EIGHT * count / best(run)
        llama.llama_batch_free(batch)
        llama.llama_free(context)
        return speed


def ids(count):
    return [(i * 37) % 40000 + 20 for i in range(count)]


def best(run):
    """The shortest time in seconds; what `run` does before it returns its work is not counted."""
    shortest = float("inf")
    for _ in range(RUNS):
        work = run()
        begin = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest


PARTS = {
    "prefill": lambda context: context.prefill(256),
    "prefill-long": lambda context: context.prefill(2048),
    "decode": lambda context: context.decode(STORY, 64),
    "decode-eight": lambda context: context.decode_eight(64),
    "decode-short": lambda context: context.decode(ids(8), 16),
    "decode-long": lambda context: context.decode(ids(3992), 16),
}

path, threads, parts = sys.argv[1:]
llama.llama_backend_init()
llama.llama_log_set(quiet, ctypes.c_void_p(0))
model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
for count in map(int, threads.split(",")):
    context = Context(model, count)
    figures = {f"{part.replace('-', '_')}_tokens_per_second": PARTS[part](context) for part in parts.split(",")}
    context.close()
    print(json.dumps({"threads": count, **figures}), flush=True)
